"""Group commit: single posts that arrive within a few milliseconds share one blob, one sync and one transaction.

Posts are answered after their group is durable and committed; when that fails, no post of the group is acknowledged.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID, uuid4

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from app.api.http.errors import Busy, TenantLimitReached
from app.clock import Clock
from app.domain.ids import chunk_id, invoice_id, time_ordered_id
from app.errors import DispatchError, IdempotencyKeyReused, TryLater, cause_fields
from app.forms.registry import form_of_document
from app.observability.logs import get_logger
from app.observability.metrics import REFUSED_REQUESTS
from app.store.store import Store
from app.store.tenants.tenants import Tenant
from app.store.uploads.singles import NewSingle

LINGER_SECONDS: Final = 0.008
"""How long the first post of a group waits for more posts: about as long as a sync of a disk."""

GROUP_INVOICES: Final = 500
GROUP_BYTES: Final = 8_000_000
"""A group of this size is closed, so that its check is one task of the pool."""

WAITING_BYTES: Final = 64_000_000
"""Limit on the bytes of single posts in this process's memory; further posts get 503 or 429."""

WAITING_BYTES_FOR_NEWCOMERS: Final = 32_000_000
"""More bytes for tenants of which no post is being received, so that slow posts of a few tenants do not stop all others."""

WAITING_BYTES_OF_A_TENANT: Final = WAITING_BYTES // 2
"""Limit for one tenant, so that its slow connections cannot use all of `WAITING_BYTES`."""

CONCURRENT_GROUPS: Final = 2
DEADLINE_SECONDS: Final = 20.0
COMMIT_SECONDS: Final = 15.0

_HASH_INLINE_BYTES: Final = 500_000

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StoredSingle:
    """A durable invoice of a single post; a replay was stored by an earlier request with the same Idempotency-Key."""

    invoice: UUID
    sha256: bytes
    is_replay: bool = False


@dataclass(frozen=True, slots=True)
class _Lane:
    tenant: Tenant
    form_code: str
    offline_mode: bool

    @property
    def key(self) -> tuple[int, str, bool]:
        return self.tenant.id, self.form_code, self.offline_mode


@dataclass(eq=False, slots=True)
class _Group:
    """Posts that are committed together; `chunk` or `error` is set before `done`."""

    lane: _Lane
    documents: list[bytes] = field(default_factory=list)
    singles: list[NewSingle] = field(default_factory=list)
    size: int = 0
    full: anyio.Event = field(default_factory=anyio.Event)
    done: anyio.Event = field(default_factory=anyio.Event)
    chunk: UUID | None = None
    left_out: set[int] = field(default_factory=set)
    """Positions whose Idempotency-Key was in use when the group was committed."""
    error: Exception | None = None


class SinglesGrouping:
    """Collects single posts per tenant, form and offline flag and commits them in groups."""

    def __init__(self, store: Store, clock: Clock, tasks: TaskGroup) -> None:
        """Start without groups; `tasks` runs the commits and must outlive every call of `add`."""
        self._store = store
        self._clock = clock
        self._tasks = tasks
        self._open: dict[tuple[int, str, bool], _Group] = {}
        self._lanes: dict[tuple[int, str, bool, str], int] = {}
        self._commits = anyio.CapacityLimiter(CONCURRENT_GROUPS)
        self._reserved_of: Counter[int] = Counter()

    @contextmanager
    def room_for(self, tenant: Tenant, size: int) -> Iterator[None]:
        """Reserve memory for an invoice of at most `size` bytes while it is read and committed.

        Raises TenantLimitReached when the tenant has reserved half of the memory, Busy when none is left.
        """
        reserved = self._reserved_of[tenant.id]
        if reserved + size > WAITING_BYTES_OF_A_TENANT:
            REFUSED_REQUESTS.labels(reason="tenant-busy").inc()
            raise TenantLimitReached(
                f"{reserved} of {WAITING_BYTES_OF_A_TENANT} bytes of this tenant's single invoices are being received; send fewer at a time",
                errors=[{"limit": "bytes_under_way", "used": reserved, "most": WAITING_BYTES_OF_A_TENANT}],
            )
        most = WAITING_BYTES if reserved else WAITING_BYTES + WAITING_BYTES_FOR_NEWCOMERS
        if self._reserved_of.total() + size > most:
            REFUSED_REQUESTS.labels(reason="busy").inc()
            raise Busy("too many single invoices wait for the disk")
        self._reserved_of[tenant.id] += size
        try:
            yield
        finally:
            self._reserved_of[tenant.id] -= size
            if not self._reserved_of[tenant.id]:
                del self._reserved_of[tenant.id]

    async def add(
        self, tenant: Tenant, xml: bytes, *, name: str, offline_mode: bool, idempotency_key: str | None = None
    ) -> StoredSingle:
        """Store an invoice. Raises TryLater when it is not stored or that is not certain.

        A repeated Idempotency-Key with the same invoice returns the first one. Raises IdempotencyKeyReused when the key was used
        for another invoice.
        """
        if len(xml) > _HASH_INLINE_BYTES:
            digest = await anyio.to_thread.run_sync(lambda: hashlib.sha256(xml).digest())
        else:
            digest = hashlib.sha256(xml).digest()
        if idempotency_key is not None:
            earlier = await self._earlier(tenant, idempotency_key, digest, offline_mode)
            if earlier is not None:
                return StoredSingle(earlier, digest, is_replay=True)
        lane = _Lane(tenant, form_of_document(xml).code, offline_mode)
        group = self._open.get(lane.key)
        if group is None or group.full.is_set():
            group = self._open[lane.key] = _Group(lane)
            self._tasks.start_soon(self._commit_when_due, group, name="singles")
        position = len(group.singles)
        group.singles.append(NewSingle(name, digest, len(xml), group.size, idempotency_key))
        group.documents.append(xml)
        group.size += len(xml)
        if len(group.singles) >= GROUP_INVOICES or group.size >= GROUP_BYTES:
            group.full.set()
        with anyio.move_on_after(DEADLINE_SECONDS):
            await group.done.wait()
        if idempotency_key is not None and position in group.left_out:
            # The same key arrived twice at the same moment; the other request was first.
            earlier = await self._earlier(tenant, idempotency_key, digest, offline_mode)
            if earlier is None:
                raise TryLater("the Idempotency-Key expired at this moment; send the invoice again")
            return StoredSingle(earlier, digest, is_replay=True)
        if group.chunk is not None:
            return StoredSingle(invoice_id(group.chunk, position), digest)
        if isinstance(group.error, TryLater):
            raise type(group.error)(group.error.detail) from group.error
        raise TryLater("the invoice could not be made durable; it was not acknowledged") from group.error

    async def _commit_when_due(self, group: _Group) -> None:
        try:
            with anyio.move_on_after(LINGER_SECONDS):
                await group.full.wait()
            # While other groups are committed, this one still accepts posts: under load groups grow, and queues do not.
            async with self._commits:
                if self._open.get(group.lane.key) is group:
                    del self._open[group.lane.key]
                group.full.set()
                with anyio.fail_after(COMMIT_SECONDS):
                    group.chunk, group.left_out = await self._commit(group)
        except (DispatchError, TimeoutError) as error:
            group.error = error
            log.warning(
                "singles_not_committed", tenant=group.lane.tenant.public_id, error=repr(error), **cause_fields(error)
            )
        except Exception as error:
            # Without this, one unexpected error of the store would end the task group and with it the API.
            group.error = error
            log.exception("singles_not_committed", tenant=group.lane.tenant.public_id)
        finally:
            if self._open.get(group.lane.key) is group:
                del self._open[group.lane.key]
            group.full.set()
            group.done.set()

    async def _earlier(self, tenant: Tenant, idempotency_key: str, digest: bytes, offline_mode: bool) -> UUID | None:
        known = await self._store.singles.single_with_key(tenant.id, idempotency_key)
        if known is None:
            return None
        if (known.sha256, known.offline_mode) != (digest, offline_mode):
            raise IdempotencyKeyReused(
                f"Idempotency-Key {idempotency_key[:64]!r} was used for another invoice; choose a new key for a new one"
            )
        return known.invoice_id

    async def _commit(self, group: _Group) -> tuple[UUID, set[int]]:
        tenant, offline_mode = group.lane.tenant, group.lane.offline_mode
        now = self._clock()
        now_ms = int(now.timestamp() * 1000)
        chunk = chunk_id(now_ms, os.urandom(10))
        content = b"".join(group.documents)
        blob_key = f"singles/{uuid4().hex}"
        lane_id = await self._lane_id(group.lane)
        await self._store.blobs.put(blob_key, content)
        # After an error the blob stays, since the commit may have happened. Maintenance removes blobs that no row names.
        left_out = await self._store.singles.add_singles(
            tenant_id=tenant.id,
            lane_id=lane_id,
            upload_id=time_ordered_id(now_ms, os.urandom(10)),
            chunk_id=chunk,
            blob_key=blob_key,
            singles=group.singles,
            offline_mode=offline_mode,
            group_sha256=await anyio.to_thread.run_sync(lambda: hashlib.sha256(content).digest()),
            now=now,
        )
        return chunk, left_out

    async def _lane_id(self, lane: _Lane) -> int:
        key = (*lane.key, lane.tenant.compression)
        known = self._lanes.get(key)
        if known is None:
            known = self._lanes[key] = await self._store.tenants.ensure_lane(
                lane.tenant, form_code=lane.form_code, offline_mode=lane.offline_mode
            )
        return known
