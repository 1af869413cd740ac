"""Outages: while KSeF is away, sending pauses and one call at a time tries whether it is back.

`watch` tells what each request says of it. `before_action` holds a session's action back; `check_ksef_health`, run every minute, tries
and asks Latarnia also when no session has anything to do.
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

# An operator's order holds back what begins or ends something at KSeF; results are fetched all the same.
# Not a renewal of the key: it was counted already, and follows an answer within the second.
_SENDING: Final = frozenset({Action.OPEN, Action.STORE_PARTS, Action.CLOSE})
# A silence holds back every call to the API. Parts go to the storage, which is another service, and their links run out.
_CALLING: Final = (_SENDING - {Action.STORE_PARTS}) | {Action.LOOK, Action.READ_RESULTS, Action.LIST_INVOICES}

_LEAST_PAUSE: Final = 2.0
_LONGEST_PAUSE: Final = 60.0


async def before_action(context: WorkerContext, session: Session, action: Action) -> None:
    """Let an action pass unless KSeF is away. Raises RetryLater; the session's job is woken when KSeF is back."""
    if action not in _SENDING | _CALLING:
        return
    known, counts = await context.watch.standing()
    if not _holds_back(counts, action):
        return
    if not counts.ordered and await try_again(context):
        return
    await context.store.outages.wait(session.id)
    raise RetryLater(f"KSeF is away: {counts.reason}", seconds=_pause(known, counts, context.clock()))


async def check_ksef_health(context: WorkerContext) -> None:
    """Keep the state true when no session asks: orders run out, an outage ends, Latarnia announces something."""
    _, counts = await context.watch.standing()
    if counts.state is KsefState.AWAY and not counts.ordered:
        await try_again(context)
    if context.latarnia is not None:
        await _ask_latarnia(context, context.latarnia)


async def try_again(context: WorkerContext) -> bool:
    """Make one cheap call, if it is time and nobody else does; returns whether KSeF counts as available after it."""
    ksef_url, outages = context.watch.ksef_url, context.store.outages
    if not await outages.claim_probe(ksef_url, now=context.clock()):
        return (await outages.read(ksef_url)).standing(context.clock()).state is KsefState.AVAILABLE
    outcome = "no answer in time"
    with anyio.move_on_after(PROBE_SECONDS):
        try:
            await context.ksef.knock()
            outcome = "answered"
        except KsefError as error:
            outcome = error.detail
    counts = (await outages.read(ksef_url)).standing(context.clock())
    log.info("ksef_probed", state=counts.state.value, outcome=outcome)
    return counts.state is KsefState.AVAILABLE


def _holds_back(counts: Availability, action: Action) -> bool:
    return counts.state is KsefState.AWAY and action in (_SENDING if counts.ordered else _CALLING)


def _pause(known: KsefRecord, counts: Availability, now: datetime) -> float:
    """Until the next try, or the end of the order; never long, since somebody may end it at any moment."""
    order = known.override
    until = (order.until if order else None) if counts.ordered else known.health.next_probe_at
    seconds = (until - now).total_seconds() if until is not None else _LONGEST_PAUSE
    return min(_LONGEST_PAUSE, max(_LEAST_PAUSE, seconds))


async def _ask_latarnia(context: WorkerContext, latarnia: Latarnia) -> None:
    ksef_url, outages = context.watch.ksef_url, context.store.outages
    if not await outages.claim_latarnia(ksef_url, now=context.clock()):
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
