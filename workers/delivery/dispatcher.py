"""Webhooks: what is owed to endpoints goes out, many deliveries at a time, and what follows from each attempt is recorded.

    pending -> succeeded
            -> pending    (due again at the time of the next attempt)
            -> failed     (the schedule is used up, or the endpoint is gone, disabled or deleted)

Receivers get each event at least once and must expect repetitions: if this process dies between the request and its record,
nobody knows whether the request arrived. The event's id is the same in every attempt.

One loop claims what is due at all endpoints that this process holds, a task for each request sends it, and one loop records
what came of it; each of both serves as many deliveries as there are at that moment with a few statements. An endpoint has its
own connections and its own pace, and always a place for one request, however many others hang.
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
from app.domain.ids import public_id
from app.observability.logs import get_logger
from app.observability.metrics import WEBHOOK_DELIVERIES, WEBHOOK_LAG_SECONDS, WEBHOOKS_DISABLED
from app.settings import Settings
from app.store.database_errors import DatabaseError
from app.store.events.delivery_queue import AttemptResult, Body, Claim, EndpointLeases, Target
from app.store.store import Store
from app.webhooks.addresses import AddressRules
from app.webhooks.backoff import DISABLE_AFTER
from app.webhooks.delivery import DEADLINE_SECONDS, Attempt, Message, Outcome, Sender
from app.webhooks.network import GuardedBackend, Resolver, make_pool
from app.webhooks.pace import Pace
from workers.delivery.attempt_policy import classify_attempt, metric_of
from workers.delivery.payload_cache import Bodies

log = get_logger(__name__)

EARLY: Final = timedelta(seconds=1)
"""A delivery due this soon is due: the clocks of two machines are never quite alike."""

SHARED_PLACES: Final = 100
"""Requests under way in one process, besides the first one of each endpoint, which always has its place."""

HELD_AT_MOST: Final = 400
"""Endpoints that one process delivers to at the same time. When more are due, those in a pause give way."""

POOL_SECONDS: Final = 60.0
"""How long connections of an endpoint are used; after that its name is resolved and checked again."""

_LOOK_SECONDS: Final = 1.0
"""How often we look for work without being told of any: for what is due at last, and for endpoints of a process that died."""

_IDLE_SECONDS: Final = 5.0
"""How long an endpoint is held that is owed nothing: what comes next finds its connections open."""

_GRACE_SECONDS: Final = 2.5
_PATIENCE_SECONDS: Final = 1.0


def _random() -> float:
    return randomness.randbelow(1 << 32) / (1 << 32)


@dataclass(frozen=True, slots=True)
class DeliveryContext:
    """What deliveries need of the world."""

    store: Store
    rules: AddressRules
    clock: Clock
    random: Callable[[], float] = _random
    deadline_seconds: float = DEADLINE_SECONDS
    resolve: Resolver | None = None
    ssl_context: ssl.SSLContext | None = None


def delivery_context(store: Store, settings: Settings, clock: Clock) -> DeliveryContext:
    """Give the context of a service with these settings."""
    rules = AddressRules(allow_http=settings.webhook_allow_http, allow_private=settings.webhook_allow_private)
    return DeliveryContext(store=store, rules=rules, clock=clock)


@dataclass(slots=True)
class Line:
    """An endpoint that this process holds."""

    target: Target
    pace: Pace
    busy: dict[UUID, Claim] = field(default_factory=dict)
    is_due: bool = True
    used_at: float = field(default_factory=monotonic)
    pool: "PoolInUse | None" = None


@dataclass(slots=True)
class PoolInUse:
    """Connections of an endpoint, and how many requests are on them."""

    pool: httpcore.AsyncConnectionPool
    opened_at: float = field(default_factory=monotonic)
    users: int = 0


class Dispatcher:
    """Delivers what is owed. One for a worker process; any number of them share the endpoints of a database."""

    def __init__(self, context: DeliveryContext, *, held_at_most: int = HELD_AT_MOST) -> None:
        self._context = context
        self._held_at_most = held_at_most
        self._store = context.store.outgoing
        self._bodies = Bodies(context.store)
        self._backend = GuardedBackend(context.rules, resolve=context.resolve)
        self._ssl = context.ssl_context or ssl.create_default_context()
        self._lines: dict[UUID, Line] = {}
        # Of endpoints that are owed something, held or not: one that gave way in a pause is not met as a stranger again.
        self._paces: dict[UUID, Pace] = {}
        self._done: list[tuple[Line, AttemptResult, Attempt]] = []
        self._wake = anyio.Event()
        self._ended = anyio.Event()
        self._looked_at = 0.0
        self._told = True

    async def run(self) -> None:
        """Deliver for ever. Raises DatabaseError when the database is lost, and with it what is held."""
        async with self._at_work() as (holdings, tasks):
            tasks.start_soon(self._listen)
            while True:
                await self._turn(holdings, tasks)
                await self._wait()

    async def drain(self) -> None:
        """Deliver until nothing more is due by the clock and every attempt is recorded. For one-off use and for tests."""
        async with self._at_work() as (holdings, tasks):
            while True:
                self._told = True
                await self._turn(holdings, tasks)
                if not self._underway():
                    return
                await self._wait()

    @property
    def held(self) -> Mapping[UUID, int]:
        """The endpoints that this process holds, with the number of requests under way at each."""
        return {endpoint_id: len(line.busy) for endpoint_id, line in self._lines.items()}

    @asynccontextmanager
    async def _at_work(self) -> AsyncIterator[tuple[EndpointLeases, TaskGroup]]:
        async with self._store.holdings() as holdings, anyio.create_task_group() as tasks:
            tasks.start_soon(self._record)
            try:
                yield holdings, tasks
            finally:
                # Receivers have been asked; a shutdown should not make us forget their answers.
                with anyio.move_on_after(_GRACE_SECONDS, shield=True):
                    while self._underway():
                        await self._wait()
                tasks.cancel_scope.cancel()
                with anyio.move_on_after(_PATIENCE_SECONDS, shield=True):
                    for line in self._lines.values():
                        await _close(line.pool)
                self._lines.clear()

    def _underway(self) -> bool:
        return any(line.busy for line in self._lines.values())

    # --- what is due ---

    async def _listen(self) -> None:
        async with self._store.news() as connection:
            async for _ in connection.notifies():
                self._told = True
                self._wake.set()

    async def _wait(self) -> None:
        with anyio.move_on_after(self._pause()):
            await self._wake.wait()
        self._wake = anyio.Event()

    def _pause(self) -> float:
        now = self._context.clock()
        until = self._looked_at + _LOOK_SECONDS - monotonic()
        for line in self._lines.values():
            resumes_at = line.pace.resumes_at
            if line.is_due and resumes_at is not None and resumes_at > now:
                until = min(until, (resumes_at - now).total_seconds())
        return max(0.0, until)

    async def _turn(self, holdings: EndpointLeases, tasks: TaskGroup) -> None:
        """Take what can be taken now: endpoints first, then deliveries of theirs."""
        now = self._context.clock()
        if self._told or monotonic() - self._looked_at >= _LOOK_SECONDS:
            self._told, self._looked_at = False, monotonic()
            await self._look(holdings, now)
        wanted = self._wanted(now)
        if not wanted:
            return
        busy = [delivery_id for line in self._lines.values() for delivery_id in line.busy]
        claims = await self._store.claim(wanted, busy=busy, due=now + EARLY, now=now)
        bodies = await self._bodies.of(claim.event_sequence for claim in claims)
        await self._read_changed({claim.endpoint_id: claim.version for claim in claims})
        taken = dict.fromkeys(wanted, 0)
        for claim in claims:
            taken[claim.endpoint_id] += 1
            line = self._lines[claim.endpoint_id]
            line.busy[claim.delivery_id] = claim
            line.used_at = monotonic()
            tasks.start_soon(self._deliver, line, claim, bodies[claim.event_sequence], now)
        for endpoint_id, (slots, _) in wanted.items():
            if taken[endpoint_id] < slots:
                # Nothing more for now: the next look, or the end of an attempt under way, will tell.
                self._lines[endpoint_id].is_due = False

    async def _look(self, holdings: EndpointLeases, now: datetime) -> None:
        work = await self._store.work()
        for item in work:
            if item.closed is not None:
                given_up = await self._store.give_up(item.endpoint_id, reason=item.closed, now=now)
                WEBHOOK_DELIVERIES.labels(outcome="failed").inc(given_up)
        owed = sorted((item for item in work if item.closed is None), key=lambda item: item.due_at)
        due = {item.endpoint_id: item.version for item in owed if item.due_at <= now + EARLY}
        for line in self._lines.values():
            line.is_due = line.target.id in due
        known = {item.endpoint_id for item in owed} | self._lines.keys()
        self._paces = {endpoint_id: pace for endpoint_id, pace in self._paces.items() if endpoint_id in known}
        new = [endpoint_id for endpoint_id in due if endpoint_id not in self._lines and self._may_go(endpoint_id, now)]
        await self._let_go(holdings, now, is_crowded=len(self._lines) + len(new) > self._held_at_most)
        new = new[: self._held_at_most - len(self._lines)]
        if new:
            await self._hold(holdings, new)
        else:
            await holdings.check()
        await self._read_changed(due)

    def _may_go(self, endpoint_id: UUID, now: datetime) -> bool:
        pace = self._paces.get(endpoint_id)
        return pace is None or pace.allowed(now) > 0

    async def _hold(self, holdings: EndpointLeases, endpoint_ids: list[UUID]) -> None:
        taken = await holdings.take(endpoint_ids)
        targets = await self._store.targets(taken)
        for endpoint_id, target in targets.items():
            pace = self._paces.setdefault(endpoint_id, Pace(target.max_concurrency))
            pace.most = target.max_concurrency
            self._lines[endpoint_id] = Line(target, pace)
        if taken - targets.keys():
            await holdings.release(taken - targets.keys())

    async def _let_go(self, holdings: EndpointLeases, now: datetime, *, is_crowded: bool) -> None:
        """Release what has been owed nothing for a while, so that others can have it; in a crowd also what is in a pause."""
        before = monotonic() - _IDLE_SECONDS
        idle = [
            endpoint_id
            for endpoint_id, line in self._lines.items()
            if not line.busy
            and ((not line.is_due and line.used_at < before) or (is_crowded and not self._may_go(endpoint_id, now)))
        ]
        if idle:
            for endpoint_id in idle:
                await _close(self._lines.pop(endpoint_id).pool)
            await holdings.release(idle)

    async def _read_changed(self, versions: Mapping[UUID, int]) -> None:
        changed = [
            endpoint_id
            for endpoint_id, version in versions.items()
            if endpoint_id in self._lines and self._lines[endpoint_id].target.version < version
        ]
        if not changed:
            return
        for endpoint_id, target in (await self._store.targets(changed)).items():
            self._lines[endpoint_id].target = target
            self._lines[endpoint_id].pace.most = target.max_concurrency

    def _wanted(self, now: datetime) -> dict[UUID, tuple[int, bool]]:
        """Say how many deliveries each endpoint may have: its own place first, then of what is shared, turn by turn."""
        shared = SHARED_PLACES - sum(max(0, len(line.busy) - 1) for line in self._lines.values())
        wanted: dict[UUID, tuple[int, bool]] = {}
        # Those with the fewest requests under way choose first.
        for endpoint_id, line in sorted(self._lines.items(), key=lambda item: len(item[1].busy)):
            free = line.pace.allowed(now) - len(line.busy) if line.is_due else 0
            if free <= 0:
                continue
            own = 0 if line.busy else 1
            more = max(0, min(free - own, shared))
            shared -= more
            if own + more:
                wanted[endpoint_id] = (own + more, line.target.ordered)
        return wanted

    # --- one attempt ---

    async def _deliver(self, line: Line, claim: Claim, body: Body, now: datetime) -> None:
        target = line.target
        in_use = await self._pool_of(line)
        in_use.users += 1
        try:
            attempt = await self._send(in_use.pool, target, body, now)
        finally:
            in_use.users -= 1
        if in_use is not line.pool and not in_use.users:
            await _close(in_use)
        ended = self._context.clock()
        settled = classify_attempt(
            claim,
            attempt,
            size=len(body.content),
            ordered=target.ordered,
            jitter=self._context.random(),
            now=ended,
        )
        if settled.succeeded:
            WEBHOOK_LAG_SECONDS.observe(max(0.0, (ended - body.event_at).total_seconds()))
        self._done.append((line, settled, attempt))
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
            # Nothing that a receiver does comes here. A fault of ours with one delivery must not stop all others.
            log.exception("delivery_crashed", webhook=public_id("whk", target.id), event_id=body.event_id)
            return Attempt(Outcome.UNREACHABLE, 0, answer="not sent: an internal error, see the log")

    async def _pool_of(self, line: Line) -> PoolInUse:
        known = line.pool
        if known is None or monotonic() - known.opened_at >= POOL_SECONDS:
            line.pool = PoolInUse(make_pool(self._backend, self._ssl))
            if known is not None and not known.users:
                await _close(known)
        assert line.pool is not None  # noqa: S101 - it was made above
        return line.pool

    # --- what came of it ---

    async def _record(self) -> None:
        while True:
            await self._ended.wait()
            self._ended = anyio.Event()
            done, self._done = self._done, []
            if not done:
                continue
            now = self._context.clock()
            disabled = await self._settle([settled for _, settled, _ in done], now)
            for line, settled, attempt in done:
                line.busy.pop(settled.claim.delivery_id, None)
                line.is_due = True
                if settled.succeeded:
                    line.pace.succeeded()
                else:
                    line.pace.failed(now, jitter=self._context.random(), retry_after=attempt.retry_after)
                WEBHOOK_DELIVERIES.labels(outcome=metric_of(settled)).inc()
            for endpoint_id, reason in disabled.items():
                WEBHOOKS_DISABLED.labels(reason=reason).inc()
                log.warning("webhook_disabled", webhook=public_id("whk", endpoint_id), reason=reason)
            self._wake.set()

    async def _settle(self, settled: list[AttemptResult], now: datetime) -> dict[UUID, str]:
        while True:
            try:
                return await self._store.settle(settled, given_up_before=now - DISABLE_AFTER, now=now)
            except DatabaseError:
                # The answers are known to nobody else. If the database stays away, the loop that looks for work ends us.
                log.warning("attempts_not_recorded", attempts=len(settled))
                await anyio.sleep(_PATIENCE_SECONDS)


async def _close(in_use: PoolInUse | None) -> None:
    if in_use is not None:
        await in_use.pool.aclose()
