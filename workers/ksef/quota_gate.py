"""Quota: counts each tenant's requests before they leave, and keeps the limits that KSeF reports up to date.

A wait of more than three seconds releases the worker's slot: the request is not sent, QuotaExhausted has the seconds to wait, and the
job is run again then. So a tenant that has used up its hour does not delay other tenants.
"""

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import anyio

from app.clock import Clock
from app.errors import DispatchError
from app.ksef.client import KsefClient
from app.ksef.errors import FrontLayerBlocked, KsefError, QuotaExhausted, RateLimited
from app.ksef.limits import RateLimit, RateLimits
from app.ksef.transport import LimitGroup
from app.observability.logs import get_logger
from app.store.ksef.quota import ADDRESS, EVERYTHING, PAD_SECONDS, SEARCH, QuotaStore, counting_time
from app.store.tenants.limits import KnownLimits, LimitsStore

log = get_logger(__name__)

PATIENCE_SECONDS: Final = 3.0
"""The longest wait inside a job; the window of a second ends within it."""
BLOCKED_PAUSE: Final = timedelta(minutes=30)
"""Pause after the front layer has blocked us; further requests prolong the block (ksef-api, issues 247, 617, 761)."""
_KEPT_SECONDS: Final = 30.0
"""How long a process uses the limits that it read from the database last."""
_RECORD_SECONDS: Final = 5.0
_DEFAULTS: Final = RateLimits({})


@dataclass(slots=True)
class _Kept:
    limits: KnownLimits
    until: float


class Quota:
    """Quota of all tenants in one worker process. The counts are in the database."""

    def __init__(
        self,
        counts: QuotaStore,
        limits: LimitsStore,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._limits = limits
        self._clock = clock
        self._sleep = sleep
        self._monotonic = monotonic
        self._kept: dict[int, _Kept] = {}

    def gate(self, tenant_id: int = ADDRESS) -> "TenantGate":
        """Return the gate for the requests of a tenant, or without a tenant for requests that need no login."""
        return TenantGate(self, self._counts, tenant_id, sleep=self._sleep, monotonic=self._monotonic)

    def counting_time(self) -> datetime | None:
        """Return the time to count requests at; see `app.store.ksef.quota.counting_time`."""
        return counting_time(self._clock)

    async def limits_of(self, tenant_id: int) -> KnownLimits:
        """Return the limits of a tenant that KSeF reported last; the documented ones before the first report."""
        kept = self._kept.get(tenant_id)
        if kept is None or kept.until <= self._monotonic():
            kept = _Kept(await self._limits.of(tenant_id), self._monotonic() + _KEPT_SECONDS)
            self._kept[tenant_id] = kept
        return kept.limits

    async def session_max_invoices(self, tenant_id: int) -> int | None:
        """Return the most invoices that KSeF accepts in a session of this tenant; None before KSeF reported it."""
        return (await self._limits.of(tenant_id)).session_max_invoices

    async def lower_session_limit(self, tenant_id: int, to: int) -> None:
        """Limit a session of this tenant to `to` invoices after KSeF refused a larger one (status 420), until KSeF reports more."""
        await self._limits.lower_session_limit(tenant_id, to)
        self._kept.pop(tenant_id, None)
        log.warning("session_limit_lowered", invoices=to)

    async def distrust_limits(self, tenant_id: int) -> None:
        """Have the limits read again before the next request: KSeF enforces limits other than those it reported."""
        await self._limits.distrust(tenant_id)
        self._kept.pop(tenant_id, None)

    async def book_search(self, tenant_id: int) -> None:
        """Book one status call for a search of originals: it takes at most half of what status polls leave. Raises QuotaExhausted.

        The call itself is booked in the counter of its group as always.
        """
        rates = (await self.limits_of(tenant_id)).rates
        counter = rates.counter_of(LimitGroup.SESSION_MISC.value)
        limit, now = rates.limit_of(counter), self.counting_time()
        used = await self._counts.used(tenant_id, counter, now=now)
        share = RateLimit(limit.per_second, _half(limit.per_minute, used.minute), _half(limit.per_hour, used.hour))
        waited = 0.0
        while True:
            booking = await self._counts.book(tenant_id, counter + SEARCH, share, now=self.counting_time())
            if booking.booked_at is not None:
                return
            wait = max(booking.wait_seconds, 0.01)
            if waited + wait > PATIENCE_SECONDS:
                detail = (
                    f"{counter}: a search takes at most half of what status polls leave; there is room in {wait:.0f} s"
                )
                raise QuotaExhausted(detail, wait_seconds=wait)
            await self._sleep(wait)
            waited += wait

    async def refresh_limits(self, tenant_id: int, client: KsefClient) -> None:
        """Ask KSeF for the tenant's limits if ours are old and no other worker asks. Without an answer the old ones stay."""
        if not (await self.limits_of(tenant_id)).is_old(self._clock()):
            return
        if not await self._limits.reserve_refresh(tenant_id, now=self._clock()):
            return
        try:
            rates, context = await client.rate_limits(), await client.context_limits()
        except KsefError as error:
            log.warning("limits_not_read", **error.as_dict())
            return
        await self._limits.save(tenant_id, rates, context, now=self._clock())
        self._kept.pop(tenant_id, None)


def _half(limit: int | None, polls: int) -> int | None:
    return None if limit is None else max(0, limit - max(0, polls)) // 2


class TenantGate:
    """Gate for the requests of one tenant: counts them, and records when KSeF refuses some for their number."""

    def __init__(
        self,
        quota: Quota,
        counts: QuotaStore,
        tenant_id: int,
        *,
        sleep: Callable[[float], Awaitable[None]],
        monotonic: Callable[[], float],
    ) -> None:
        self._quota = quota
        self._counts = counts
        self._tenant_id = tenant_id
        self._sleep = sleep
        self._monotonic = monotonic

    @asynccontextmanager
    async def passing(self, group: LimitGroup) -> AsyncIterator[None]:
        """Book a request of this group; see `app.ksef.transport.Gate`. Raises QuotaExhausted."""
        if group is LimitGroup.STORAGE:
            yield
            return
        rates = (await self._quota.limits_of(self._tenant_id)).rates if self._tenant_id != ADDRESS else _DEFAULTS
        owner = ADDRESS if group is LimitGroup.ANONYMOUS else self._tenant_id
        counter = rates.counter_of(group.value)
        # An opening must not use up what its own close needs.
        shared = rates.counter_of(LimitGroup.BATCH_SESSION_CLOSE.value) == LimitGroup.BATCH_SESSION.value
        reserves = shared and group is LimitGroup.BATCH_SESSION
        closes = shared and group is LimitGroup.BATCH_SESSION_CLOSE
        booked_at = await self._book(owner, counter, rates, reserves=reserves, closes=closes)
        started = self._monotonic()
        failure: BaseException | None = None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            took = self._monotonic() - started
            # An error of the count must not hide the answer to the request.
            with anyio.CancelScope(shield=True), anyio.move_on_after(_RECORD_SECONDS):
                await self._record_result(owner, counter, booked_at, took, failure, reserves=reserves)

    async def _book(self, owner: int, counter: str, rates: RateLimits, *, reserves: bool, closes: bool) -> datetime:
        waited = 0.0
        while True:
            booking = await self._counts.book(
                owner,
                counter,
                rates.limit_of(counter),
                pausers=(owner, self._tenant_id),
                reserves=reserves,
                closes=closes,
                now=self._quota.counting_time(),
            )
            if booking.booked_at is not None:
                return booking.booked_at
            wait = max(booking.wait_seconds, 0.01)
            if booking.reason is not None or waited + wait > PATIENCE_SECONDS:
                why = booking.reason or "the requests that KSeF's limits allow are used up"
                raise QuotaExhausted(f"{counter}: {why}; there is room again in {wait:.0f} s", wait_seconds=wait)
            await self._sleep(wait)
            waited += wait

    async def _record_result(
        self,
        owner: int,
        counter: str,
        booked_at: datetime,
        took: float,
        failure: BaseException | None,
        *,
        reserves: bool,
    ) -> None:
        now = self._quota.counting_time()
        try:
            if took > PAD_SECONDS / 2:
                await self._counts.made_later(owner, counter, booked_at, now=now)
            if reserves and failure is not None:
                # No session was opened, so none will be closed.
                await self._counts.release(owner, counter)
            if isinstance(failure, RateLimited):
                asked_for = float(failure.retry_after_seconds or 1)
                pause = timedelta(seconds=asked_for + min(asked_for / 10, 5.0) * random.random())  # noqa: S311
                await self._counts.block(owner, counter, pause, reason="KSeF answered 429", now=now)
                log.error("ksef_rate_limited", group=counter, seconds=asked_for)
                if self._tenant_id != ADDRESS:
                    await self._quota.distrust_limits(self._tenant_id)
            elif isinstance(failure, FrontLayerBlocked):
                reason = "the front layer of KSeF blocks our address"
                await self._counts.block(self._tenant_id, EVERYTHING, BLOCKED_PAUSE, reason=reason, now=now)
                log.error("ksef_front_layer_blocked", incident_id=failure.incident_id)
        except DispatchError as error:
            log.warning("quota_not_recorded", group=counter, error=error.detail)
