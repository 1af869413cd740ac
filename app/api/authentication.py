"""Authenticates API keys with the store, and caches its answer for three seconds."""

import hashlib
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from app.clock import Clock
from app.store.tenants.tenants import Tenant, TenantStore

REMEMBERED_FOR: Final = timedelta(seconds=3)
"""The longest time for which a process may accept a revoked key or a disabled tenant."""

_CAPACITY: Final = 10_000


class Authenticator:
    """Authenticates API keys. Only positive answers are cached, under the key's hash instead of the key."""

    def __init__(self, tenants: TenantStore, clock: Clock) -> None:
        self._tenants = tenants
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[Tenant, datetime]] = OrderedDict()

    async def authenticate(self, key: str) -> Tenant:
        """Return the tenant of a key. Raises Unauthorized."""
        now = self._clock()
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        remembered = self._known.get(digest)
        if remembered is not None and abs(now - remembered[1]) < REMEMBERED_FOR:
            return remembered[0]
        self._known.pop(digest, None)
        tenant = await self._tenants.authenticate(key, now=now)
        self._known[digest] = (tenant, now)
        while len(self._known) > _CAPACITY:
            self._known.popitem(last=False)
        return tenant
