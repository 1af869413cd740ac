"""Outages: while KSeF is unavailable, sending pauses and one probe at a time finds out whether it answers again.

`health_monitor` counts the result of each request. `before_action` postpones a session's action; `check_ksef_health`, run every
minute, probes KSeF and reads Latarnia also when no session has an action to perform.
"""

from datetime import datetime
from typing import Any, Final

import anyio

from app.domain.outage import PROBE_SECONDS, Availability, KsefState
from app.domain.session_machine import Action
from app.domain.timestamps import iso_utc
from app.ksef.errors import KsefError
from app.ksef.latarnia import Latarnia, LatarniaReport
from app.observability.logs import get_logger
from app.store.ksef.outages import KsefRecord
from app.store.sessions.session import Session
from workers.context import RetryLater, WorkerContext

log = get_logger(__name__)

# Actions that an operator's order postpones: they begin or end something at KSeF. Results are fetched all the same. A renewal of the
# key is not among them: it was counted already, and follows an answer within the second.
_SENDING: Final = frozenset({Action.OPEN, Action.STORE_PARTS, Action.CLOSE})
# Actions that an outage postpones: every call of the API. Parts go to the storage, which is another service, and their links expire.
_CALLING: Final = (_SENDING - {Action.STORE_PARTS}) | {Action.POLL_STATUS, Action.READ_RESULTS, Action.LIST_INVOICES}

_LEAST_PAUSE: Final = 2.0
_LONGEST_PAUSE: Final = 60.0


async def before_action(context: WorkerContext, session: Session, action: Action) -> None:
    """Return at once while KSeF is available, or raise RetryLater; the session's job is woken when KSeF answers again."""
    if action not in _SENDING | _CALLING:
        return
    record, availability = await context.ksef_health.availability()
    if not _postpones(availability, action):
        return
    if not availability.ordered and await probe(context):
        return
    async with context.store.ownership.transaction(session) as connection:
        await context.store.outages.wait(connection, session.id)
    raise RetryLater(f"KSeF is away: {availability.reason}", seconds=_pause(record, availability, context.clock()))


async def check_ksef_health(context: WorkerContext) -> None:
    """Update the availability when no session calls KSeF: orders expire, an outage ends, Latarnia has an announcement."""
    _, availability = await context.ksef_health.availability()
    if availability.state is KsefState.AWAY and not availability.ordered:
        await probe(context)
    if context.latarnia is not None:
        await _read_latarnia(context, context.latarnia)


async def probe(context: WorkerContext) -> bool:
    """Make one cheap call, if one is due and no other worker makes it; return whether KSeF is available after it."""
    ksef_url, outages = context.ksef_health.ksef_url, context.store.outages
    if not await outages.reserve_probe(ksef_url, now=context.clock()):
        return (await outages.read(ksef_url)).standing(context.clock()).state is KsefState.AVAILABLE
    outcome = "no answer in time"
    with anyio.move_on_after(PROBE_SECONDS):
        try:
            await context.ksef.probe()
            outcome = "answered"
        except KsefError as error:
            outcome = error.detail
    availability = (await outages.read(ksef_url)).standing(context.clock())
    log.info("ksef_probed", state=availability.state.value, outcome=outcome)
    return availability.state is KsefState.AVAILABLE


def _postpones(availability: Availability, action: Action) -> bool:
    return availability.state is KsefState.AWAY and action in (_SENDING if availability.ordered else _CALLING)


def _pause(record: KsefRecord, availability: Availability, now: datetime) -> float:
    """Return the seconds to the next probe or the end of the order; at most 60, since an operator may end it any time."""
    order = record.override
    until = (order.until if order else None) if availability.ordered else record.health.next_probe_at
    seconds = (until - now).total_seconds() if until is not None else _LONGEST_PAUSE
    return min(_LONGEST_PAUSE, max(_LEAST_PAUSE, seconds))


async def _read_latarnia(context: WorkerContext, latarnia: Latarnia) -> None:
    ksef_url, outages = context.ksef_health.ksef_url, context.store.outages
    if not await outages.reserve_latarnia_query(ksef_url, now=context.clock()):
        return
    try:
        opinion = await latarnia.ask(context.clock())
    except KsefError as error:
        log.info("latarnia_not_read", reason=error.detail)
        return
    await outages.save_latarnia(ksef_url, _opinion(opinion), now=context.clock())


def _opinion(opinion: LatarniaReport) -> dict[str, Any]:
    return {
        "status": opinion.status.value,
        "announcements": [
            {"category": one.category, "title": one.title, "start": iso_utc(one.start), "end": iso_utc(one.end)}
            for one in opinion.announcements
        ],
    }
