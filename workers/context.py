"""What every stage is given: the store, the pool, KSeF by tenant, the settings and the clock."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import anyio

from app.clock import Clock
from app.errors import DispatchError
from app.ksef.auth import AuthContext, Authenticator, StoredTokens, TokenCredentials, XadesCredentials
from app.ksef.certificates import load_certificate
from app.ksef.client import KsefClient
from app.ksef.keys import PublicKeys
from app.ksef.storage import StorageClient
from app.ksef.transport import KsefTransport
from app.settings import Settings
from app.store.store import Store
from app.store.tenants import TenantStore
from workers.pool import CheckPool
from workers.webhooks import DeliveryContext


class RetryLater(DispatchError):
    """The job is to be run again after a pause; nothing is lost by it."""

    def __init__(self, detail: str | None = None, *, seconds: float = 5.0, growing: bool = False) -> None:
        """`seconds` is the pause, or with `growing` the first of pauses that double up to five minutes."""
        super().__init__(detail)
        self.seconds = seconds
        self.growing = growing


class TenantTokens:
    """Tokens of one tenant in the database, encrypted, shared by all workers."""

    def __init__(self, tenants: TenantStore, tenant_id: int, clock: Clock) -> None:
        self._tenants = tenants
        self._tenant_id = tenant_id
        self._clock = clock

    async def load(self) -> StoredTokens | None:
        """Give the tokens that any worker saved last."""
        raw = await self._tenants.load_tokens(self._tenant_id)
        return _read_tokens(json.loads(raw)) if raw else None

    async def save(self, tokens: StoredTokens) -> None:
        """Keep tokens for all workers."""
        raw = json.dumps(asdict(tokens), default=_plain).encode()
        await self._tenants.save_tokens(self._tenant_id, raw, now=self._clock())


class KsefClients:
    """KSeF as each tenant sees it; connections and public keys are shared."""

    def __init__(
        self, tenants: TenantStore, transport: KsefTransport, storage: StorageClient, keys: PublicKeys, clock: Clock
    ) -> None:
        self._tenants = tenants
        self._transport = transport
        self._storage = storage
        self._keys = keys
        self._clock = clock
        self._clients: dict[int, KsefClient] = {}
        self._lock = anyio.Lock()

    async def of(self, tenant_id: int) -> KsefClient:
        """Give a tenant's client. Raises ConfigurationError when its credential cannot be used."""
        async with self._lock:
            if tenant_id not in self._clients:
                self._clients[tenant_id] = await self._make(tenant_id)
            return self._clients[tenant_id]

    async def _make(self, tenant_id: int) -> KsefClient:
        tenant = await self._tenants.get(tenant_id)
        kind, credential = await self._tenants.credential(tenant_id)
        return KsefClient(
            transport=self._transport,
            storage=self._storage,
            keys=self._keys,
            authenticator=Authenticator(
                self._transport,
                self._keys,
                AuthContext(tenant.nip),
                read_credential(kind, credential),
                now=self._clock,
                store=TenantTokens(self._tenants, tenant_id, self._clock),
            ),
        )


def read_credential(kind: str, credential: dict[str, str]) -> XadesCredentials | TokenCredentials:
    """Turn a stored credential into what a login needs."""
    if kind == "ksef_token":
        return TokenCredentials(credential["token"])
    return XadesCredentials(load_certificate(credential["certificate"].encode(), credential["key"].encode()))


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The world as a stage sees it."""

    settings: Settings
    store: Store
    pool: CheckPool
    ksef: KsefClients
    deliveries: DeliveryContext
    clock: Clock
    part_uploads: anyio.CapacityLimiter
    """Parts on their way to KSeF at the same time, of all sessions of this worker."""
    check_nip_checksums: bool

    @asynccontextmanager
    async def exclusively(self, session_id: UUID) -> AsyncIterator[bool]:
        """Hold a session alone, across all workers; gives False when another one holds it.

        The lock belongs to a connection: it ends with the process that held it, however that ended.
        """
        async with self.store.database.connection() as connection:
            cursor = await connection.execute(
                "SELECT pg_try_advisory_lock(hashtextextended(%(name)s, 0)) AS held", {"name": f"session:{session_id}"}
            )
            row = await cursor.fetchone()
            held = bool(row and row["held"])
            try:
                yield held
            finally:
                if held and not connection.closed:
                    await connection.execute(
                        "SELECT pg_advisory_unlock(hashtextextended(%(name)s, 0))", {"name": f"session:{session_id}"}
                    )


_TIMES: Final = ("access_valid_until", "obtained_at", "refresh_valid_until")


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else bytes(value).hex()


def _read_tokens(raw: dict[str, Any]) -> StoredTokens:
    times = {name: datetime.fromisoformat(raw[name]) for name in _TIMES}
    digest = bytes.fromhex(raw["document_sha256"]) if raw.get("document_sha256") else None
    return StoredTokens(**(raw | times | {"document_sha256": digest}))
