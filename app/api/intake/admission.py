"""Refuses requests while too much work waits, before their bodies are read.

The waiting uploads, bytes and invoices of the whole installation are counted in the database, at most once a second; what this process
accepted since is added. A tenant at its own limit gets 429; at a limit of the installation every tenant gets 503.
"""

import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import anyio
from anyio.abc import TaskGroup

from app.api.http.errors import Busy, QueueFull, SpoolFull, TenantLimitReached
from app.api.http.rate_limits import limit_headers, limit_of_tenant
from app.api.intake.arrival import Arrival
from app.errors import DispatchError, TryLater, cause_fields
from app.observability.logs import get_logger
from app.observability.metrics import REFUSED_REQUESTS
from app.process.fair_slots import FairSemaphore
from app.settings import Settings
from app.store.disk import DiskLow, Reserve, Space
from app.store.store import Store
from app.store.uploads.admission import NOTHING, Usage, Waiting

CONCURRENT_BODIES: Final = 32
"""Bodies that this process receives at a time. Each may use some megabytes for buffers."""

CONCURRENT_BODIES_OF_A_TENANT: Final = 8
"""Limit for one tenant, so that its slow connections cannot use all of `CONCURRENT_BODIES`."""

WAIT_SECONDS: Final = 30.0
"""How long a request waits for a slot. Its body is not read meanwhile, so it uses no memory."""

SHARE_SECONDS: Final = 5.0
"""How long a tenant without a slot waits until the slowest body of a tenant with several slots is ended for it."""

UNREAD_UPLOADS: Final = 20_000
UNREAD_UPLOADS_OF_A_TENANT: Final = 5_000
"""Limits on uploads that are not read. Each is a job, and many jobs slow the queue; a tenant should put more invoices into a body."""

LIMITS_OF_UPLOADS: Final = ("concurrent_uploads", "unread_uploads", "spooled_bytes", "waiting_invoices")
"""Limits that answers to uploads name in their rate limit headers."""

GOOD_FOR_SECONDS: Final = 1.0
_COST_SHARE: Final = 20
"""A slow count is made less often, so that it takes at most a twentieth of one connection's time."""
_TOO_OLD: Final = 5
"""Multiple of the validity of a count. Up to this age a request uses an expired count while a new one is made."""

_MADE_OF_A_BYTE: Final = 2
"""Copies of a body that are written later: its ready entries, and the parts packed from them. Neither is larger than an archive."""

# Low estimates, so that a client that waits as long as Retry-After says finds room: bytes of archives that one small machine reads
# in a second, and invoices that one context may send (ksef-docs, limity/limity-api.md: 60 sessions of 10,000 an hour).
_READ_BYTES_A_SECOND: Final = 2_000_000
_SENT_A_SECOND: Final = 160
_LEAST_WAIT, _LONGEST_WAIT = 5, 600

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on waiting work."""

    uploads: int
    spooled_bytes: int
    invoices: int


class Admission:
    """Counts waiting work and checks it against the limits."""

    def __init__(self, store: Store, settings: Settings, tasks: TaskGroup) -> None:
        """Start without a count; `tasks` runs the counting and must outlive every call."""
        self._store = store
        self._settings = settings
        self._tasks = tasks
        self._bodies = FairSemaphore(CONCURRENT_BODIES, newcomers_first=True)
        self._arrivals: dict[int, list[Arrival]] = {}
        self._made_room_for: set[int] = set()
        self._usage: Usage | None = None
        self._space: Space | None = None
        self._counted_at = -math.inf
        self._good_for = GOOD_FOR_SECONDS
        self._counting = anyio.Lock()
        # Work that this process accepted after the last count began; during a count, separately before and after its beginning.
        self._taken_before: Counter[tuple[int, str]] = Counter()
        self._taken: Counter[tuple[int, str]] = Counter()

    @asynccontextmanager
    async def arrival(self, tenant_id: int, declared: int | None) -> AsyncIterator[Arrival]:
        """Count a body while it is received and acknowledged inside the block.

        `declared` is its length in bytes, None when it is unknown. Raises TenantLimitReached, SpoolFull, QueueFull, DiskLow
        and Busy before a byte is read.
        """
        others = self._arrivals.setdefault(tenant_id, [])
        arrival = Arrival(tenant_id, declared, self.check_growth)
        others.append(arrival)
        try:
            await self._refresh()
            if len(others) > CONCURRENT_BODIES_OF_A_TENANT:
                raise self._tenant_limit("concurrent_uploads", len(others) - 1, CONCURRENT_BODIES_OF_A_TENANT, 2)
            self._check_limits(tenant_id, body=True)
            # Acquired by hand: `fail_after` around `async with` would also limit the body of the block.
            try:
                with anyio.fail_after(WAIT_SECONDS):
                    slot = await self._bodies.acquire(
                        tenant_id, hurry_after=SHARE_SECONDS, hurry=lambda: self._make_room_for(tenant_id)
                    )
            except TimeoutError as error:
                raise self._refusal("busy", Busy("too many uploads are being received")) from error
            try:
                arrival.has_slot = True
                self._made_room_for.discard(tenant_id)
                yield arrival
                self._taken[tenant_id, "uploads"] += 1
                self._taken[tenant_id, "spooled_bytes"] += arrival.received
            finally:
                slot.release()
        finally:
            others.remove(arrival)
            if not others:
                self._arrivals.pop(tenant_id, None)
                self._made_room_for.discard(tenant_id)

    def _make_room_for(self, tenant_id: int) -> None:
        """End the slowest body of the tenants with several slots, unless the tenant has a slot or a body was ended for it."""
        receiving = {tenant: [one for one in arrivals if one.has_slot] for tenant, arrivals in self._arrivals.items()}
        if receiving.get(tenant_id) or tenant_id in self._made_room_for:
            return
        bodies = [one for arrivals in receiving.values() if len(arrivals) > 1 for one in arrivals]
        if not bodies:
            return
        now = anyio.current_time()
        slowest = min(bodies, key=lambda one: one.pace.bytes_a_second(now))
        self._made_room_for.add(tenant_id)
        # The line has the tenant that waits; the request that is ended has a line of its own.
        log.warning("slow_upload_ended", received=slowest.received)
        slowest.end_early()

    async def admit_invoice(self, tenant_id: int) -> None:
        """Count one invoice that is posted alone. Raises TenantLimitReached, QueueFull, DiskLow."""
        await self._refresh()
        self._check_limits(tenant_id, body=False)
        self._taken[tenant_id, "invoices"] += 1

    def check_growth(self, tenant_id: int) -> None:
        """Check the limits again for a body without a declared length that has grown."""
        if not self._is_fresh() and not self._counting.locked():
            self._tasks.start_soon(self._count_quietly, name="admission")
        self._check_limits(tenant_id, body=True)

    async def accepts(self, tenant_id: int) -> bool:
        """Return whether another body of unknown size would be accepted from the tenant."""
        await self._refresh()
        try:
            self._check_limits(tenant_id, body=True, asking=True)
        except TryLater:
            return False
        return True

    async def usage_of(self, tenant_id: int) -> dict[str, dict[str, int]]:
        """Return the tenant's limits and the used part of each, as `GET /v1/me` shows them."""
        await self._refresh()
        return {name: {"used": used, "most": most} for name, (used, most) in self._usage_by_name(tenant_id).items()}

    def rate_limits(self, tenant_id: int, *names: str) -> dict[str, str]:
        """Return the rate limit headers of an answer for some of the tenant's limits, by the last count."""
        usage = self._usage_by_name(tenant_id)
        return limit_headers([limit_of_tenant(name, used=usage[name][0], most=usage[name][1]) for name in names])

    def _usage_by_name(self, tenant_id: int) -> dict[str, tuple[int, int]]:
        most, used = self.limits_of_a_tenant(), self._used(tenant_id)
        return {
            "concurrent_uploads": (len(self._arrivals.get(tenant_id, ())), CONCURRENT_BODIES_OF_A_TENANT),
            "unread_uploads": (used.uploads, most.uploads),
            "spooled_bytes": (used.spooled_bytes, most.spooled_bytes),
            "waiting_invoices": (used.invoices, most.invoices),
        }

    def limits(self) -> Limits:
        """Return the installation's limits."""
        return Limits(UNREAD_UPLOADS, self._settings.spool_limit_bytes, self._settings.queue_limit_invoices)

    def limits_of_a_tenant(self) -> Limits:
        """Return the limits of one tenant: its share, or all while no other tenant has work. One upload of the largest size fits."""
        if self._usage is not None and self._usage.tenants <= 1:
            return Limits(UNREAD_UPLOADS_OF_A_TENANT, self.limits().spooled_bytes, self.limits().invoices)
        share = self._settings.tenant_share
        return Limits(
            UNREAD_UPLOADS_OF_A_TENANT,
            max(int(share * self._settings.spool_limit_bytes), self._settings.max_upload_bytes),
            max(1, int(share * self._settings.queue_limit_invoices)),
        )

    def _check_limits(self, tenant_id: int, *, body: bool, asking: bool = False) -> None:
        """Raise the first limit that is reached: those of the tenant first, since it can act on them.

        A body that is being received is in the count already. With `asking` none is, and nothing is counted as refused.
        """
        more = 1 if asking else 0
        own, used = self.limits_of_a_tenant(), self._used(tenant_id)
        most, all_used = self.limits(), self._all_used()
        if body and used.uploads >= own.uploads:
            raise self._tenant_limit("unread_uploads", used.uploads, own.uploads, 30, asking=asking)
        if body and own.spooled_bytes < most.spooled_bytes and used.spooled_bytes + more > own.spooled_bytes:
            wait = _seconds((used.spooled_bytes - own.spooled_bytes) / _READ_BYTES_A_SECOND)
            raise self._tenant_limit("spooled_bytes", used.spooled_bytes, own.spooled_bytes, wait, asking=asking)
        if own.invoices < most.invoices and used.invoices >= own.invoices:
            wait = _seconds((used.invoices - own.invoices) / _SENT_A_SECOND)
            raise self._tenant_limit("waiting_invoices", used.invoices, own.invoices, wait, asking=asking)
        if body and (all_used.uploads >= most.uploads or all_used.spooled_bytes + more > most.spooled_bytes):
            wait = _seconds((all_used.spooled_bytes - most.spooled_bytes) / _READ_BYTES_A_SECOND)
            detail = "too many bytes of uploads wait to be read; try again when some have been read"
            raise self._refusal("spool", SpoolFull(detail), wait, asking=asking)
        if all_used.invoices >= most.invoices:
            wait = _seconds((all_used.invoices - most.invoices) / _SENT_A_SECOND)
            detail = "too many invoices wait for KSeF; try again when some have been sent"
            raise self._refusal("queue", QueueFull(detail), wait, asking=asking)
        if self._space is not None and self._space.lacks(Reserve.UPLOADS, self._bytes_to_come(all_used)):
            detail = "the disk has no room for this body and for the parts made from it"
            raise self._refusal("disk", DiskLow(detail), asking=asking)

    def _tenant_limit(self, limit: str, used: int, most: int, seconds: int, *, asking: bool = False) -> DispatchError:
        what, remedy = _REMEDIES[limit]
        error = TenantLimitReached(
            f"{used} of {most} {what}; {remedy}",
            errors=[{"limit": limit, "used": used, "most": most}],
        )
        return self._refusal(f"tenant-{limit.replace('_', '-')}", error, seconds, asking=asking)

    def _refusal(self, reason: str, error: TryLater, seconds: int | None = None, *, asking: bool = False) -> TryLater:
        if not asking:
            REFUSED_REQUESTS.labels(reason=reason).inc()
        if seconds is not None:
            error.retry_after_seconds = seconds
        return error

    def _used(self, tenant_id: int) -> Waiting:
        counted = self._usage.of_tenants.get(tenant_id, NOTHING) if self._usage else NOTHING
        return counted + self._taken_of(tenant_id) + self._arriving(tenant_id)

    def _all_used(self) -> Waiting:
        counted = self._usage.total if self._usage else NOTHING
        tenants = {tenant for taken in (self._taken, self._taken_before) for tenant, _ in taken} | set(self._arrivals)
        return sum((self._taken_of(tenant) + self._arriving(tenant) for tenant in tenants), start=counted)

    def _taken_of(self, tenant_id: int) -> Waiting:
        def sum_of(what: str) -> int:
            return self._taken[tenant_id, what] + self._taken_before[tenant_id, what]

        return Waiting(sum_of("uploads"), sum_of("spooled_bytes"), sum_of("invoices"))

    def _arriving(self, tenant_id: int) -> Waiting:
        return Waiting(0, sum(arrival.booked for arrival in self._arrivals.get(tenant_id, ())), 0)

    def _bytes_to_come(self, all_used: Waiting) -> int:
        unwritten = sum(one.booked - one.received for arrivals in self._arrivals.values() for one in arrivals)
        return unwritten + _MADE_OF_A_BYTE * all_used.spooled_bytes

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._counted_at < self._good_for

    async def _refresh(self) -> None:
        """Renew an expired count: in the background if it is a little old, before returning if it is older."""
        self._space = await self._store.disk.space()
        if self._is_fresh():
            return
        if time.monotonic() - self._counted_at < _TOO_OLD * self._good_for:
            if not self._counting.locked():
                self._tasks.start_soon(self._count_quietly, name="admission")
            return
        await self._count()

    async def _count_quietly(self) -> None:
        try:
            await self._count()
        except Exception as error:
            # The next request counts again. When the count is too old, that request fails with the error.
            log.warning("waiting_not_counted", error=repr(error), **cause_fields(error))

    async def _count(self) -> None:
        async with self._counting:
            if self._is_fresh():
                return
            started = time.monotonic()
            self._taken_before.update(self._taken)
            self._taken.clear()
            self._usage = await self._store.admission.usage()
            self._taken_before.clear()
            self._space = await self._store.disk.space()
            self._counted_at = time.monotonic()
            self._good_for = max(GOOD_FOR_SECONDS, _COST_SHARE * (self._counted_at - started))


_REMEDIES: Final[dict[str, tuple[str, str]]] = {
    "concurrent_uploads": ("uploads of this tenant are being received", "send fewer at a time"),
    "unread_uploads": ("uploads of this tenant wait to be read", "put more invoices into each upload"),
    "spooled_bytes": ("bytes of this tenant's uploads wait to be read", "send more when some have been read"),
    "waiting_invoices": ("invoices of this tenant wait for KSeF", "send more when some have been sent"),
}


def _seconds(estimate: float) -> int:
    return max(_LEAST_WAIT, min(_LONGEST_WAIT, math.ceil(estimate)))
