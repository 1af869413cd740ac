"""Webhooks: one attempt to deliver one event to one receiver, and what follows from it.

    pending -> succeeded
            -> pending    (another job at the time of the next attempt, deferred with the attempt's row)
            -> failed     (the schedule is used up, or the endpoint is gone, disabled or deleted)

Receivers get each event at least once and must expect repetitions: if this process dies between the request and its record,
nobody knows whether the request arrived. The event's id is the same in every attempt.
"""

import secrets as randomness
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import anyio
import structlog

from app.clock import Clock
from app.domain.ids import public_id
from app.metrics import WEBHOOK_DELIVERIES, WEBHOOK_LAG_SECONDS
from app.settings import Settings
from app.store.store import Store
from app.store.webhooks import Claim, Settled
from app.webhooks.addresses import AddressRules
from app.webhooks.backoff import DISABLE_AFTER, next_delay
from app.webhooks.delivery import DEADLINE_SECONDS, Attempt, Message, Outcome, Sender, event_body
from app.webhooks.network import open_pool

log = structlog.get_logger(__name__)

LEASE: Final = timedelta(seconds=6 * DEADLINE_SECONDS)
"""How long a claimed attempt keeps others away. Far above an attempt's deadline, so that it ends only for a dead worker's."""

EARLY: Final = timedelta(seconds=1)
"""A delivery due this soon is due: the clocks of the database and of a worker are never quite alike."""

RESCUE_AFTER: Final = timedelta(minutes=10)
"""A delivery overdue by this much has lost its job; a queue that is merely long is not touched."""

HEALTHY_SLOTS: Final = 10
FAILING_SLOTS: Final = 3
"""Attempts at one endpoint at the same time, in one process: a slow or dead receiver must leave slots to the others."""

_PAUSE_SECONDS: Final = {False: 2.0, True: 15.0}
"""How long a delivery stands back when its endpoint has no slot free, by whether the endpoint is failing."""

_RECORD_SECONDS: Final = 10.0


class EndpointSlots:
    """Counts the attempts under way at each endpoint, in this process."""

    def __init__(self) -> None:
        self._busy: dict[UUID, int] = {}

    @contextmanager
    def take(self, endpoint_id: UUID, *, most: int) -> Iterator[bool]:
        """Hold a slot inside the block; gives False when `most` are taken already."""
        busy = self._busy.get(endpoint_id, 0)
        if busy >= most:
            yield False
            return
        self._busy[endpoint_id] = busy + 1
        try:
            yield True
        finally:
            left = self._busy[endpoint_id] - 1
            if left:
                self._busy[endpoint_id] = left
            else:
                del self._busy[endpoint_id]


def _random() -> float:
    return randomness.randbelow(1 << 32) / (1 << 32)


@dataclass(frozen=True, slots=True)
class DeliveryContext:
    """What the job is given. One for a worker process: the slots are counted across its jobs."""

    store: Store
    sender: Sender
    clock: Clock
    random: Callable[[], float] = _random
    slots: EndpointSlots = field(default_factory=EndpointSlots)


@asynccontextmanager
async def open_deliveries(store: Store, settings: Settings, clock: Clock) -> AsyncIterator[DeliveryContext]:
    """Open the connections that deliveries leave by, for as long as the worker runs."""
    rules = AddressRules(allow_http=settings.webhook_allow_http, allow_private=settings.webhook_allow_private)
    async with open_pool(rules) as pool:
        yield DeliveryContext(store=store, sender=Sender(pool, rules), clock=clock)


async def deliver_event(context: DeliveryContext, delivery_id: UUID) -> None:
    """Make the attempt that is due. Safe to repeat: a finished delivery is left alone, one that is not due is waited for."""
    webhooks, now = context.store.webhooks, context.clock()
    owed = await webhooks.owed(delivery_id)
    if owed is None or not owed.is_pending or owed.due_at is None:
        return
    if owed.closed is not None:
        await webhooks.give_up(delivery_id, reason=owed.closed, now=now)
        WEBHOOK_DELIVERIES.labels(outcome="failed").inc()
        return
    if owed.due_at > now + EARLY:
        # Another job came first, or the clocks differ. This job returns rather than ends: it may be the only one.
        await webhooks.come_back(delivery_id, at=owed.server_time + (owed.due_at - now))
        return
    most = FAILING_SLOTS if owed.is_failing else HEALTHY_SLOTS
    with context.slots.take(owed.endpoint_id, most=most) as taken:
        if not taken:
            pause = timedelta(seconds=_PAUSE_SECONDS[owed.is_failing] * (1 + context.random()))
            await webhooks.postpone(delivery_id, until=now + pause, now=now + EARLY)
            return
        claim = await webhooks.claim(delivery_id, due=now + EARLY, lease=LEASE, now=now)
        if claim is None:
            await webhooks.come_back(delivery_id, at=owed.server_time + LEASE)
            return
        message = Message(claim.event["id"], event_body(claim.event))
        attempt = await context.sender.send(claim.url, message, claim.secrets, now=now)
    await _record(context, claim, attempt)


async def rescue_deliveries(context: DeliveryContext) -> int:
    """Add jobs for deliveries that are long overdue; returns how many. For a periodic task; safe to repeat."""
    now = context.clock()
    rescued = await context.store.webhooks.rescue_overdue(before=now - RESCUE_AFTER, now=now)
    if rescued:
        log.warning("deliveries_rescued", count=rescued)
    return rescued


def settle_attempt(attempt: Attempt, number: int, *, jitter: float, now: datetime) -> Settled:
    """Decide what follows from the attempt of this number (from 1) that ended now."""
    succeeded = attempt.outcome is Outcome.DELIVERED
    gone = attempt.outcome is Outcome.GONE
    delay = None
    if not succeeded and not gone:
        delay = next_delay(number, jitter=jitter, retry_after=attempt.retry_after)
    reason = None if succeeded or delay is not None else "gone" if gone else "exhausted"
    return Settled(
        outcome=attempt.outcome.value,
        milliseconds=attempt.milliseconds,
        status=attempt.status,
        answer=attempt.answer,
        succeeded=succeeded,
        next_attempt_at=now + delay if delay is not None else None,
        reason=reason,
        gone=gone,
    )


async def _record(context: DeliveryContext, claim: Claim, attempt: Attempt) -> None:
    now = context.clock()
    settled = settle_attempt(attempt, claim.attempt, jitter=context.random(), now=now)
    # The receiver has been told; a shutdown must not make us forget it.
    with anyio.fail_after(_RECORD_SECONDS, shield=True):
        disabled = await context.store.webhooks.settle(claim, settled, given_up_before=now - DISABLE_AFTER, now=now)
    WEBHOOK_DELIVERIES.labels(outcome=_metric(settled)).inc()
    if settled.succeeded:
        WEBHOOK_LAG_SECONDS.observe(max(0.0, (now - claim.event_at).total_seconds()))
    if disabled is not None:
        log.warning("webhook_disabled", webhook=public_id("whk", claim.endpoint_id), reason=disabled)


def _metric(settled: Settled) -> str:
    if settled.succeeded:
        return "succeeded"
    if settled.gone:
        return "gone"
    return "failed" if settled.next_attempt_at is None else "retried"
