"""Context of the stages: the store, the pool, KSeF by tenant, the settings and the clock."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import anyio

from app.checking.service import CheckService
from app.clock import Clock
from app.domain.history import HistoryAction, HistoryOutcome
from app.errors import DispatchError, TryLater
from app.ksef.client import KsefClient
from app.ksef.errors import AuthFailed, Outcome
from app.ksef.keys import PublicKeys
from app.ksef.latarnia import Latarnia
from app.ksef.login.auth import Authenticator
from app.ksef.login.certificates import load_certificate
from app.ksef.login.login import AuthContext, TokenCredentials, XadesCredentials
from app.ksef.login.tokens import StoredTokens
from app.ksef.storage import StorageClient
from app.ksef.transport import BeforeCall, KsefTransport
from app.observability.logs import get_logger
from app.process.fair_slots import FairSemaphore
from app.process.owner import process_owner
from app.settings import Settings
from app.store.database import Database
from app.store.sessions.session import Session
from app.store.store import Store
from app.store.tenants.tenants import TenantStore
from workers.job_names import JobNames
from workers.ksef.health_monitor import KsefHealthMonitor
from workers.ksef.quota_gate import Quota
from workers.sessions.ownership import FIRST_SECONDS, Ownership, boot_time
from workers.sessions.processing_times import ProcessingTimeEstimator

_RENEWAL_PATIENCE_SECONDS: Final = 150.0
"""Longer than a login may take, including the check of a qualified certificate."""
_RENEWAL_RETRY_SECONDS: Final = 0.2
_RELEASE_SECONDS: Final = 5.0

log = get_logger(__name__)


class RetryLater(DispatchError):
    """The job must be run again after a pause; its work so far is kept."""

    def __init__(
        self,
        detail: str | None = None,
        *,
        seconds: float = 5.0,
        growing: bool = False,
        exact: bool = False,
        priority: int | None = None,
    ) -> None:
        """Take the pause in `seconds`, or with `growing` the first of pauses that double up to five minutes.

        `exact`: the quota has reserved a slot at that time, so add almost no jitter. `priority` (of `app.store.jobs`) replaces the
        priority of the job.
        """
        super().__init__(detail)
        self.seconds = seconds
        self.growing = growing
        self.exact = exact
        self.priority = priority


class TenantTokens:
    """Encrypted tokens of one tenant in the database, shared by all workers."""

    def __init__(self, database: Database, tenants: TenantStore, tenant_id: int, clock: Clock) -> None:
        self._database = database
        self._tenants = tenants
        self._tenant_id = tenant_id
        self._clock = clock

    async def load(self) -> StoredTokens | None:
        """Return the tokens that any worker saved last."""
        raw = await self._tenants.load_tokens(self._tenant_id)
        return _read_tokens(json.loads(raw)) if raw else None

    async def save(self, tokens: StoredTokens) -> None:
        """Save tokens for all workers."""
        raw = json.dumps(asdict(tokens), default=_plain).encode()
        await self._tenants.save_tokens(self._tenant_id, raw, now=self._clock())

    @asynccontextmanager
    async def renewing(self) -> AsyncIterator[None]:
        """Run one renewal of the tenant's tokens at a time, across all workers. Waiting holds no connection of the pool."""
        deadline = anyio.current_time() + _RENEWAL_PATIENCE_SECONDS
        while True:
            async with self._database.exclusively(f"login:{self._tenant_id}") as mine:
                if mine:
                    yield
                    return
            if anyio.current_time() >= deadline:
                raise AuthFailed("another worker's login takes too long", outcome=Outcome.TRY_AGAIN)
            await anyio.sleep(_RENEWAL_RETRY_SECONDS)


class KsefClients:
    """Clients of KSeF, one for each tenant. They share connections and public keys; requests are counted by tenant."""

    def __init__(
        self,
        store: Store,
        transport: KsefTransport,
        storage: StorageClient,
        keys: PublicKeys,
        quota: Quota,
        clock: Clock,
    ) -> None:
        self._database = store.database
        self._tenants = store.tenants
        self._quota = quota
        self._transport = transport
        self._storage = storage
        self._keys = keys
        self._clock = clock
        self._clients: dict[int, KsefClient] = {}
        self._lock = anyio.Lock()
        self._before_call: BeforeCall | None = None

    def guarded(self, before_call: BeforeCall) -> "KsefClients":
        """Return the same clients, which call a function right before each of their requests."""
        other = copy(self)
        other._before_call = before_call
        return other

    async def of(self, tenant_id: int) -> KsefClient:
        """Return a tenant's client, after asking KSeF for the tenant's limits if ours are old.

        Raises ConfigurationError when its credential cannot be used.
        """
        async with self._lock:
            if tenant_id not in self._clients:
                self._clients[tenant_id] = await self._make(tenant_id)
            client = self._clients[tenant_id]
        await self._quota.refresh_limits(tenant_id, client)
        return client if self._before_call is None else client.guarded(self._before_call)

    async def probe(self) -> None:
        """Make the cheapest call of the API to find out whether KSeF answers. Raises a KsefError."""
        await self._keys.refresh()

    async def _make(self, tenant_id: int) -> KsefClient:
        tenant = await self._tenants.get(tenant_id)
        kind, credential = await self._tenants.credential(tenant_id)
        transport = self._transport.behind(self._quota.gate(tenant_id))
        return KsefClient(
            transport=transport,
            storage=self._storage,
            keys=self._keys,
            authenticator=Authenticator(
                transport,
                self._keys,
                AuthContext(tenant.nip),
                read_credential(kind, credential),
                now=self._clock,
                store=TenantTokens(self._database, self._tenants, tenant_id, self._clock),
            ),
        )


def read_credential(kind: str, credential: dict[str, str]) -> XadesCredentials | TokenCredentials:
    """Turn a stored credential into the one of a login."""
    if kind == "ksef_token":
        return TokenCredentials(credential["token"])
    return XadesCredentials(load_certificate(credential["certificate"].encode(), credential["key"].encode()))


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """Store, clients, settings and clock of one worker, for its stages."""

    settings: Settings
    store: Store
    pool: CheckService
    ksef: KsefClients
    quota: Quota
    ksef_health: KsefHealthMonitor
    latarnia: Latarnia | None
    """None: this environment has no status service."""
    clock: Clock
    part_uploads: anyio.CapacityLimiter
    """Limits the parts that are sent to KSeF at the same time, for all sessions of this worker."""
    chunk_slots: FairSemaphore
    """Memory slots for chunks, by tenant: one is held from before its chunk is read until the chunk is stored."""
    check_nip_checksums: bool
    receipts: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))
    """Limits the receipts that are parsed at the same time, since each one takes much memory."""
    processing_times: ProcessingTimeEstimator = field(default_factory=ProcessingTimeEstimator)
    owner: str = field(default_factory=process_owner)
    """Name of this process, under which it owns sessions."""
    boot_time: Callable[[], float] = boot_time
    names: JobNames = field(default_factory=JobNames)
    """Log fields of jobs."""

    async def record_step(
        self, session: Session, action: HistoryAction, outcome: HistoryOutcome | int, detail: Mapping[str, Any]
    ) -> None:
        """Add an entry to a session's history. An int is KSeF's status code of the session. Raises OwnershipLost."""
        await self.store.sessions.note_for_job(session, action, outcome, now=self.clock(), detail=detail)

    async def seal_soon(self, lane_id: int, *, at: datetime | None = None) -> None:
        """Defer the job that seals a lane, see `JobQueue.seal_soon`; for callers without a connection."""
        async with self.store.database.connection() as connection:
            await self.store.jobs.seal_soon(connection, lane_id, at=at)

    async def find_originals_soon(self, tenant_id: int) -> None:
        """Defer the job that searches for the originals of suspected duplicates. Call it after the commit of their rows."""
        async with self.store.database.connection() as connection:
            await self.store.jobs.find_originals_soon(connection, tenant_id)

    @asynccontextmanager
    async def owning(self, session_id: UUID) -> AsyncIterator[tuple["WorkerContext", Session] | None]:
        """Own a session, across all workers, and give its row and the context to advance it; None while another worker owns it.

        Each call that this context makes to KSeF is one that the ownership outlasts. The ownership of a process that is killed ends
        by itself.
        """
        taken_at = self.boot_time()
        session = await self.store.ownership.take(session_id, owner=self.owner, seconds=FIRST_SECONDS)
        if session is None:
            yield None
            return
        ownership = Ownership(self.store.ownership, session, taken_at, self.boot_time)
        try:
            yield replace(self, ksef=self.ksef.guarded(ownership.outlast)), session
        finally:
            with anyio.move_on_after(_RELEASE_SECONDS, shield=True):
                try:
                    await self.store.ownership.release(session)
                except TryLater as trouble:
                    log.info("session_not_released", session=session.public_id, reason=trouble.detail)


_TIMES: Final = ("access_valid_until", "obtained_at", "refresh_valid_until")


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else bytes(value).hex()


def _read_tokens(raw: dict[str, Any]) -> StoredTokens:
    times = {name: datetime.fromisoformat(raw[name]) for name in _TIMES}
    digest = bytes.fromhex(raw["document_sha256"]) if raw.get("document_sha256") else None
    return StoredTokens(**(raw | times | {"document_sha256": digest}))
