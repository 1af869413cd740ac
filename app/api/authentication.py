"""Authenticates API keys with the store, and caches its answers for three seconds.

Keys that are in no cache are found together, by one query at a time, so that a flood of wrong keys costs the database a few queries a
second. A wrong key counts against its client's address, which gets 429 after too many. A right key is always accepted: other clients of
that address, perhaps behind the same proxy, are not locked out.
"""

import hashlib
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import anyio
from anyio.abc import TaskGroup

from app.api.failed_keys import FailedKeys
from app.api.http.errors import TooManyFailedKeys
from app.client_addresses import counted_address
from app.clock import Clock
from app.errors import DispatchError, TenantDisabled, TryLater, Unauthorized
from app.observability.logs import get_logger
from app.store.tenants.tenants import Tenant, TenantStore

REMEMBERED_FOR: Final = timedelta(seconds=3)
"""The longest time for which a process may accept a revoked key or a disabled tenant, or refuse a new key that was tried before."""

_CAPACITY: Final = 10_000
_KEYS_OF_A_QUERY: Final = 1_000
_LEAST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1
"""Seconds between two queries while keys fail: the pause doubles with each query in which a key failed."""

log = get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Search:
    """A key that is being searched for; all requests with it wait for the same search."""

    key: str
    ended: anyio.Event = field(default_factory=anyio.Event)
    tenant: Tenant | None = None
    error: Exception | None = None


class Authenticator:
    """Authenticates API keys. The caches have the keys' hashes instead of the keys."""

    def __init__(self, tenants: TenantStore, clock: Clock, tasks: TaskGroup) -> None:
        """Start with empty caches; `tasks` runs the queries and must outlive every call."""
        self._tenants = tenants
        self._clock = clock
        self._tasks = tasks
        self._known: OrderedDict[bytes, tuple[Tenant | None, datetime]] = OrderedDict()
        self._failed = FailedKeys()
        self._searches: dict[bytes, _Search] = {}
        self._is_searching = False
        self._pause = 0.0

    async def authenticate(self, key: str, client: str | None) -> Tenant:
        """Return the tenant of a key that a client sent.

        Raises Unauthorized, TooManyFailedKeys when the client's address has sent too many wrong ones, and TenantDisabled.
        """
        now = self._clock()
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
        remembered = self._known.get(digest)
        if remembered is not None and abs(now - remembered[1]) < REMEMBERED_FOR:
            tenant = remembered[0]
        else:
            tenant = await self._search(digest, key)
        if tenant is None:
            raise self._refusal(client, now)
        if tenant.disabled_at is not None:
            raise TenantDisabled
        return tenant

    def _refusal(self, client: str | None, now: datetime) -> DispatchError:
        wait = self._failed.note(counted_address(client), now) if client is not None else None
        if wait is None:
            return Unauthorized("the API key is missing, unknown or revoked; send 'Authorization: Bearer <api key>'")
        error = TooManyFailedKeys()
        error.retry_after_seconds = math.ceil(wait)
        return error

    async def _search(self, digest: bytes, key: str) -> Tenant | None:
        search = self._searches.get(digest)
        if search is None:
            search = self._searches[digest] = _Search(key)
            if not self._is_searching:
                self._is_searching = True
                self._tasks.start_soon(self._search_all, name="keys")
        await search.ended.wait()
        if isinstance(search.error, DispatchError):
            raise type(search.error)(search.error.detail) from search.error
        if search.error is not None:
            raise TryLater("the API key could not be checked") from search.error
        return search.tenant

    async def _search_all(self) -> None:
        try:
            while self._searches:
                found = list(self._searches.items())[:_KEYS_OF_A_QUERY]
                await self._search_together(dict(found))
                await anyio.sleep(self._pause)
        finally:
            self._is_searching = False

    async def _search_together(self, searches: dict[bytes, _Search]) -> None:
        now = self._clock()
        try:
            tenants = await self._tenants.authenticate([search.key for search in searches.values()], now=now)
            for (digest, search), tenant in zip(searches.items(), tenants, strict=True):
                search.tenant = tenant
                self._remember(digest, tenant, now)
            failing = None in tenants
            self._pause = min(_LONGEST_PAUSE, max(_LEAST_PAUSE, 2 * self._pause)) if failing else 0.0
        except Exception as error:
            # Without this, one unexpected error of the store would end the task group and with it the API.
            if not isinstance(error, DispatchError):
                log.exception("keys_not_checked")
            for search in searches.values():
                search.error = error
        finally:
            for digest, search in searches.items():
                del self._searches[digest]
                search.ended.set()

    def _remember(self, digest: bytes, tenant: Tenant | None, now: datetime) -> None:
        self._known.pop(digest, None)
        self._known[digest] = (tenant, now)
        while len(self._known) > _CAPACITY:
            self._known.popitem(last=False)
