"""Webhook dispatcher: sends due deliveries to their endpoints, many at a time, and records the result of each attempt.

    pending -> succeeded
            -> pending    (due again at the time of the next attempt)
            -> failed     (the schedule is used up, or the endpoint is gone, disabled or deleted)

Receivers get each event at least once and must expect repetitions: if this process dies between the request and its record, no row
says whether the request arrived. The event's id is the same in every attempt.

One loop reserved_attempts the due deliveries of all endpoints that this process has leased, a task for each request sends it, and one loop
records the results; both loops serve all deliveries of that moment with a few statements. An endpoint has its own connections and its
own pace, and always a place for one request, also while requests to other endpoints hang.
"""

import secrets as randomness
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

import anyio
import httpcore
from anyio.abc import TaskGroup

from app.clock import Clock
from app.observability.logs import get_logger
from app.observability.metrics import WEBHOOK_DELIVERIES, WEBHOOK_LAG_SECONDS, WEBHOOKS_DISABLED
from app.settings import Settings
from app.store.database_errors import DatabaseError
from app.store.events.delivery_queue import AttemptResult, Body, EndpointLeases, ReservedAttempt, Target
from app.store.store import Store
from app.webhooks.addresses import AddressRules
from app.webhooks.backoff import DISABLE_AFTER
from app.webhooks.delivery import DEADLINE_SECONDS, Attempt, Message, Outcome, Sender
from app.webhooks.network import GuardedBackend, Resolver, make_pool
from app.webhooks.pace import Pace
from workers.delivery.attempt_policy import classify_attempt, metric_of
from workers.delivery.payload_cache import PayloadCache
from workers.job_names import JobNames

log = get_logger(__name__)

EARLY: Final = timedelta(seconds=1)
"""A delivery that is due this soon counts as due, since the clocks of two machines differ a little."""

SHARED_PLACES: Final = 100
"""Requests under way in one process, besides the first one of each endpoint, which always has its place."""

MAX_ACTIVE_ENDPOINTS: Final = 400
"""Endpoints that one process delivers to at the same time. When more are due, endpoints in a pause are released for them."""

POOL_SECONDS: Final = 60.0
"""How long connections of an endpoint are used; after that its name is resolved and checked again."""

_POLL_SECONDS: Final = 1.0
"""How often due work is searched without a notification: for deliveries after a pause, and for endpoints of a dead process."""

_IDLE_SECONDS: Final = 5.0
"""How long an endpoint without due deliveries stays leased, so that the next delivery finds its connections open."""

_GRACE_SECONDS: Final = 2.5
_RETRY_SECONDS: Final = 1.0


def _random() -> float:
    return randomness.randbelow(1 << 32) / (1 << 32)


@dataclass(frozen=True, slots=True)
class DeliveryContext:
    """Store, address rules, clock and limits of a dispatcher."""

    store: Store
    rules: AddressRules
    clock: Clock
    random: Callable[[], float] = _random
    deadline_seconds: float = DEADLINE_SECONDS
    resolve: Resolver | None = None
    ssl_context: ssl.SSLContext | None = None


def delivery_context(store: Store, settings: Settings, clock: Clock) -> DeliveryContext:
    """Return the context of a service with these settings."""
    rules = AddressRules(allow_http=settings.webhook_allow_http, allow_private=settings.webhook_allow_private)
    return DeliveryContext(store=store, rules=rules, clock=clock)


@dataclass(slots=True)
class ActiveEndpoint:
    """An endpoint that this process has leased and delivers to."""

    target: Target
    pace: Pace
    busy: dict[UUID, ReservedAttempt] = field(default_factory=dict)
    is_due: bool = True
    used_at: float = field(default_factory=monotonic)
    pool: "PoolInUse | None" = None


@dataclass(slots=True)
class PoolInUse:
    """Connections of an endpoint, and the number of requests on them."""

    pool: httpcore.AsyncConnectionPool
    opened_at: float = field(default_factory=monotonic)
    users: int = 0


class Dispatcher:
    """Sends due deliveries. A worker process has one; any number of them share the endpoints of a database by leases."""

    def __init__(self, context: DeliveryContext, *, max_active: int = MAX_ACTIVE_ENDPOINTS) -> None:
        self._context = context
        self._names = JobNames()
        self._max_active = max_active
        self._store = context.store.delivery_queue
        self._payloads = PayloadCache(context.store)
        self._backend = GuardedBackend(context.rules, resolve=context.resolve)
        self._ssl = context.ssl_context or ssl.create_default_context()
        self._endpoints: dict[UUID, ActiveEndpoint] = {}
        # Paces of all endpoints with due deliveries, leased or not, so that one that was released in a pause keeps its pace.
        self._paces: dict[UUID, Pace] = {}
        self._done: list[tuple[ActiveEndpoint, AttemptResult, Attempt]] = []
        self._wake = anyio.Event()
        self._ended = anyio.Event()
        self._polled_at = 0.0
        self._notified = True

    async def run(self) -> None:
        """Deliver without end. Raises DatabaseError when the database connection is lost, and with it the leases."""
        async with self._at_work() as (leases, tasks):
            tasks.start_soon(self._listen)
            while True:
                await self._reserve_due(leases, tasks)
                await self._wait()

    async def drain(self) -> None:
        """Deliver until no delivery is due by the clock and every attempt is recorded. For one-off use and for tests."""
        async with self._at_work() as (leases, tasks):
            while True:
                self._notified = True
                await self._reserve_due(leases, tasks)
                if not self._underway():
                    return
                await self._wait()

    @property
    def active(self) -> Mapping[UUID, int]:
        """Endpoints that this process has leased, with the number of requests under way at each."""
        return {endpoint_id: len(endpoint.busy) for endpoint_id, endpoint in self._endpoints.items()}

    @asynccontextmanager
    async def _at_work(self) -> AsyncIterator[tuple[EndpointLeases, TaskGroup]]:
        async with self._store.leases() as leases, anyio.create_task_group() as tasks:
            tasks.start_soon(self._record)
            try:
                yield leases, tasks
            finally:
                # Record the answers of receivers that were sent a request before the shutdown.
                with anyio.move_on_after(_GRACE_SECONDS, shield=True):
                    while self._underway():
                        await self._wait()
                tasks.cancel_scope.cancel()
                with anyio.move_on_after(_RETRY_SECONDS, shield=True):
                    for endpoint in self._endpoints.values():
                        await _close(endpoint.pool)
                self._endpoints.clear()

    def _underway(self) -> bool:
        return any(endpoint.busy for endpoint in self._endpoints.values())

    # --- due deliveries ---

    async def _listen(self) -> None:
        async for _ in self._store.notifications():
            self._notified = True
            self._wake.set()

    async def _wait(self) -> None:
        with anyio.move_on_after(self._pause()):
            await self._wake.wait()
        self._wake = anyio.Event()

    def _pause(self) -> float:
        now = self._context.clock()
        until = self._polled_at + _POLL_SECONDS - monotonic()
        for endpoint in self._endpoints.values():
            resumes_at = endpoint.pace.resumes_at
            if endpoint.is_due and resumes_at is not None and resumes_at > now:
                until = min(until, (resumes_at - now).total_seconds())
        return max(0.0, until)

    async def _reserve_due(self, leases: EndpointLeases, tasks: TaskGroup) -> None:
        """Lease endpoints with due deliveries, reserved as many deliveries as may be sent now, and start a task for each."""
        now = self._context.clock()
        if self._notified or monotonic() - self._polled_at >= _POLL_SECONDS:
            self._notified, self._polled_at = False, monotonic()
            await self._poll(leases, now)
        wanted = self._wanted(now)
        if not wanted:
            return
        busy = [delivery_id for endpoint in self._endpoints.values() for delivery_id in endpoint.busy]
        reserved_attempts = await self._store.reserve_attempts(wanted, busy=busy, due=now + EARLY, now=now)
        bodies = await self._payloads.of(reserved.event_sequence for reserved in reserved_attempts)
        await self._read_changed({reserved.endpoint_id: reserved.version for reserved in reserved_attempts})
        taken = dict.fromkeys(wanted, 0)
        for reserved in reserved_attempts:
            taken[reserved.endpoint_id] += 1
            endpoint = self._endpoints[reserved.endpoint_id]
            endpoint.busy[reserved.delivery_id] = reserved
            endpoint.used_at = monotonic()
            tasks.start_soon(self._deliver, endpoint, reserved, bodies[reserved.event_sequence], now)
        for endpoint_id, (slots, _) in wanted.items():
            if taken[endpoint_id] < slots:
                # No other delivery is due now; the next poll, or the end of an attempt under way, sets this again.
                self._endpoints[endpoint_id].is_due = False

    async def _poll(self, leases: EndpointLeases, now: datetime) -> None:
        work = await self._store.endpoints_with_work()
        for item in work:
            if item.closed is not None:
                given_up = await self._store.give_up(item.endpoint_id, reason=item.closed, now=now)
                WEBHOOK_DELIVERIES.labels(outcome="failed").inc(given_up)
        owed = sorted((item for item in work if item.closed is None), key=lambda item: item.due_at)
        due = {item.endpoint_id: item.version for item in owed if item.due_at <= now + EARLY}
        for endpoint in self._endpoints.values():
            endpoint.is_due = endpoint.target.id in due
        known = {item.endpoint_id for item in owed} | self._endpoints.keys()
        self._paces = {endpoint_id: pace for endpoint_id, pace in self._paces.items() if endpoint_id in known}
        new = [
            endpoint_id for endpoint_id in due if endpoint_id not in self._endpoints and self._may_go(endpoint_id, now)
        ]
        await self._release_idle(leases, now, is_crowded=len(self._endpoints) + len(new) > self._max_active)
        new = new[: self._max_active - len(self._endpoints)]
        if new:
            await self._lease(leases, new)
        else:
            await leases.check()
        await self._read_changed(due)

    def _may_go(self, endpoint_id: UUID, now: datetime) -> bool:
        pace = self._paces.get(endpoint_id)
        return pace is None or pace.allowed(now) > 0

    async def _lease(self, leases: EndpointLeases, endpoint_ids: list[UUID]) -> None:
        taken = await leases.take(endpoint_ids)
        targets = await self._store.targets(taken)
        for endpoint_id, target in targets.items():
            pace = self._paces.setdefault(endpoint_id, Pace(target.max_concurrency))
            pace.most = target.max_concurrency
            self._endpoints[endpoint_id] = ActiveEndpoint(target, pace)
        if taken - targets.keys():
            await leases.release(taken - targets.keys())

    async def _release_idle(self, leases: EndpointLeases, now: datetime, *, is_crowded: bool) -> None:
        """Release endpoints that had no due delivery for a while; if `is_crowded`, also those in a pause."""
        before = monotonic() - _IDLE_SECONDS
        idle = [
            endpoint_id
            for endpoint_id, endpoint in self._endpoints.items()
            if not endpoint.busy
            and (
                (not endpoint.is_due and endpoint.used_at < before)
                or (is_crowded and not self._may_go(endpoint_id, now))
            )
        ]
        if idle:
            for endpoint_id in idle:
                await _close(self._endpoints.pop(endpoint_id).pool)
            await leases.release(idle)

    async def _read_changed(self, versions: Mapping[UUID, int]) -> None:
        changed = [
            endpoint_id
            for endpoint_id, version in versions.items()
            if endpoint_id in self._endpoints and self._endpoints[endpoint_id].target.version < version
        ]
        if not changed:
            return
        for endpoint_id, target in (await self._store.targets(changed)).items():
            self._endpoints[endpoint_id].target = target
            self._endpoints[endpoint_id].pace.most = target.max_concurrency

    def _wanted(self, now: datetime) -> dict[UUID, tuple[int, bool]]:
        """Return how many deliveries each endpoint may reserved: its own place first, then a part of the shared places."""
        shared = SHARED_PLACES - sum(max(0, len(endpoint.busy) - 1) for endpoint in self._endpoints.values())
        wanted: dict[UUID, tuple[int, bool]] = {}
        # Endpoints with the fewest requests under way come first.
        for endpoint_id, endpoint in sorted(self._endpoints.items(), key=lambda item: len(item[1].busy)):
            free = endpoint.pace.allowed(now) - len(endpoint.busy) if endpoint.is_due else 0
            if free <= 0:
                continue
            own = 0 if endpoint.busy else 1
            more = max(0, min(free - own, shared))
            shared -= more
            if own + more:
                wanted[endpoint_id] = (own + more, endpoint.target.ordered)
        return wanted

    # --- one attempt ---

    async def _deliver(self, endpoint: ActiveEndpoint, reserved: ReservedAttempt, body: Body, now: datetime) -> None:
        target = endpoint.target
        in_use = await self._pool_of(endpoint)
        in_use.users += 1
        try:
            attempt = await self._send(in_use.pool, target, body, now)
        finally:
            in_use.users -= 1
        if in_use is not endpoint.pool and not in_use.users:
            await _close(in_use)
        ended = self._context.clock()
        result = classify_attempt(
            reserved,
            attempt,
            size=len(body.content),
            ordered=target.ordered,
            jitter=self._context.random(),
            now=ended,
        )
        if result.succeeded:
            WEBHOOK_LAG_SECONDS.observe(max(0.0, (ended - body.event_at).total_seconds()))
        self._done.append((endpoint, result, attempt))
        self._ended.set()

    async def _send(self, pool: httpcore.AsyncConnectionPool, target: Target, body: Body, now: datetime) -> Attempt:
        sender = Sender(pool, self._context.rules, deadline_seconds=self._context.deadline_seconds)
        try:
            return await sender.send(
                target.url,
                Message(body.event_id, body.content),
                target.keys,
                now=now,
                own_headers=target.headers.items,
            )
        except Exception:
            # A receiver cannot cause this. A defect of ours with one delivery must not stop the deliveries of all endpoints.
            async with self._names.logged(self._context.store, endpoint_id=target.id):
                log.exception("delivery_crashed", webhook_event=body.event_id)
            return Attempt(Outcome.UNREACHABLE, 0, answer="not sent: an internal error, see the log")

    async def _pool_of(self, endpoint: ActiveEndpoint) -> PoolInUse:
        known = endpoint.pool
        if known is None or monotonic() - known.opened_at >= POOL_SECONDS:
            endpoint.pool = PoolInUse(make_pool(self._backend, self._ssl))
            if known is not None and not known.users:
                await _close(known)
        assert endpoint.pool is not None  # noqa: S101 - it was made above
        return endpoint.pool

    # --- results ---

    async def _record(self) -> None:
        while True:
            await self._ended.wait()
            self._ended = anyio.Event()
            done, self._done = self._done, []
            if not done:
                continue
            now = self._context.clock()
            disabled = await self._record_results([result for _, result, _ in done], now)
            for endpoint, result, attempt in done:
                endpoint.busy.pop(result.reserved.delivery_id, None)
                endpoint.is_due = True
                if result.succeeded:
                    endpoint.pace.succeeded()
                else:
                    endpoint.pace.failed(now, jitter=self._context.random(), retry_after=attempt.retry_after)
                WEBHOOK_DELIVERIES.labels(outcome=metric_of(result)).inc()
            for endpoint_id, reason in disabled.items():
                WEBHOOKS_DISABLED.labels(reason=reason).inc()
                async with self._names.logged(self._context.store, endpoint_id=endpoint_id):
                    log.warning("webhook_disabled", reason=reason)
            self._wake.set()

    async def _record_results(self, results: list[AttemptResult], now: datetime) -> dict[UUID, str]:
        while True:
            try:
                return await self._store.record_results(results, given_up_before=now - DISABLE_AFTER, now=now)
            except DatabaseError:
                # Only this process has the answers. If the database stays unavailable, the loop that reserves work ends, and is started again.
                log.warning("attempts_not_recorded", attempts=len(results))
                await anyio.sleep(_RETRY_SECONDS)


async def _close(in_use: PoolInUse | None) -> None:
    if in_use is not None:
        await in_use.pool.aclose()
