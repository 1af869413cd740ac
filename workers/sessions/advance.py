"""Progress of a session: performs an action, records its result, and takes the next action from the table.

All decisions are in `app.domain.session_machine`; the actions are in `dispatch` (towards KSeF), `tracking` (back from it) and
`failures` (nothing was accepted). Any number of jobs may run for the same session: one owns it, the others are run again later.
"""

import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Final
from uuid import UUID

from app.domain.backoff import next_look
from app.domain.history import HistoryAction, HistoryOutcome
from app.domain.ids import public_id
from app.domain.session_machine import Action, Event, Move, Pause, next_move
from app.domain.states import SessionState
from app.observability.logs import get_logger
from app.store.jobs import Priority, Task
from app.store.sessions.ownership import OwnershipLost
from app.store.sessions.session import Session
from workers.context import RetryLater, WorkerContext
from workers.ksef.outage_policy import before_action
from workers.priorities import PRIORITIES
from workers.sessions import dispatch, failures, tracking
from workers.sessions.midnight import may_open
from workers.sessions.ownership import is_loss
from workers.sessions.result import Result

log = get_logger(__name__)

_BEFORE_OPENING: Final = frozenset({SessionState.PACKED, SessionState.OPENING})
_GROWING_SECONDS: Final = 2.0
_WATCH_SECONDS: Final = 300.0
_PEOPLE_SECONDS: Final = 900.0
_BLOCKED_SECONDS: Final = 1800.0
_DEFAULT_WAIT_SECONDS: Final = 30.0
"""Pause after an answer that asks to wait without a time."""
_OWNED_SECONDS: Final = 5.0
_OPENING: Final = frozenset({Action.OPEN, Action.RENEW_KEY})
_RECONCILING_SECONDS: Final = 30.0


Perform = Callable[[WorkerContext, Session, Result], Awaitable[Result | None]]
"""Function of an action. It gets the result of the action before; None: it has ended the session."""

ACTIONS: Final[Mapping[Action, Perform]] = {
    Action.OPEN: lambda context, session, _: dispatch.open_session(context, session, renew_key=False),
    Action.RENEW_KEY: lambda context, session, _: dispatch.open_session(context, session, renew_key=True),
    Action.CHECK_OPENED: lambda context, session, _: dispatch.check_opened(context, session),
    Action.STORE_PARTS: lambda context, session, _: dispatch.store_parts(context, session),
    Action.CLOSE: lambda context, session, _: dispatch.close_session(context, session),
    Action.POLL_STATUS: lambda context, session, _: tracking.poll_status(context, session),
    Action.READ_RESULTS: lambda context, session, before: tracking.read_results(
        context, session, before.status, list_all=False
    ),
    Action.LIST_INVOICES: lambda context, session, before: tracking.read_results(
        context, session, before.status, list_all=True
    ),
    Action.END_DEAD: lambda context, session, _: failures.end_dead(context, session),
    Action.END_REBUILD: lambda context, session, _: failures.end_rebuild(context, session),
    Action.END_SPLIT: lambda context, session, _: failures.end_split(context, session),
}
"""Every action but REST, which has nothing to do: the session has ended."""


async def advance_session(context: WorkerContext, session_id: UUID) -> None:
    """Perform the next actions of a session until it has to wait or has ended. Safe to run again at any time, by any worker."""
    try:
        async with context.owning(session_id) as owned:
            if owned is None:
                # Raises NotFound when there is no such session.
                await context.store.sessions.get_for_job(session_id)
                raise RetryLater("another worker owns the session", seconds=_OWNED_SECONDS)
            await _advance(*owned)
    except (OwnershipLost, BaseExceptionGroup) as error:
        if not is_loss(error):
            raise
        log.warning("session_dropped", session=public_id("ses", session_id))
        raise RetryLater("another worker has taken the session", seconds=_OWNED_SECONDS) from error


async def _advance(context: WorkerContext, session: Session) -> None:
    if session.state is SessionState.SEALED:
        return
    if session.state in _BEFORE_OPENING and not await may_open(context, session):
        return
    # The state before the action: opening, for example, writes the new state itself, together with the reference number.
    state: SessionState = session.state
    result = Result(Event.RESUMED)
    while not session.state.is_final:
        move = next_move(state, result.event, key_renewals=session.key_renewals)
        if move.alert:
            log.error(
                "session_needs_attention",
                session=session.public_id,
                after=result.event.value,
                detail=dict(result.detail),
            )
        if move.action in _OPENING:
            await _reconciled(context, session)
        session = await _enter(context, session, move, result)
        if move.pause is not Pause.NONE:
            await _pause(context, session, move, result)
            return
        if move.action is Action.REST:
            return
        await before_action(context, session, move.action)
        result = await ACTIONS[move.action](context, session, result) or Result(Event.RESUMED)
        state = move.state
        session = await context.store.ownership.read(session)


async def _reconciled(context: WorkerContext, session: Session) -> None:
    """Raise RetryLater while the tenant's records are to be reconciled with KSeF: it may have the session's invoices already."""
    tenant = await context.store.tenants.get(session.tenant_id)
    if tenant.reconcile_since is not None:
        raise RetryLater("the tenant's records are reconciled with KSeF first", seconds=_RECONCILING_SECONDS)


async def _enter(context: WorkerContext, session: Session, move: Move, result: Result) -> Session:
    """Write the state that a move leads to, before its action is performed."""
    sessions, now = context.store.sessions, context.clock()
    if move.action is Action.RENEW_KEY:
        await context.store.dispatch.renew_key(session)
    # A final state is written by its action, in one transaction with the verdicts.
    if move.state is not session.state and not move.state.is_final:
        async with context.store.database.transaction() as connection:
            moved = await sessions.move(
                session,
                move.state,
                action=HistoryAction.ENTER,
                outcome=HistoryOutcome(move.state),
                now=now,
                detail={"after": result.event.value, "next": move.action.value},
                connection=connection,
            )
            if not moved:
                raise OwnershipLost
            if move.state is SessionState.PROCESSING:
                await context.store.dispatch.mark_sent(connection, session.id)
    return await context.store.ownership.read(session)


async def _pause(context: WorkerContext, session: Session, move: Move, result: Result) -> None:
    if move.pause is Pause.POLL:
        pause = next_look(
            session.polls,
            session.invoices,
            random.random(),  # noqa: S311 - jitter, not a secret
            expected_seconds=context.processing_times.expected(session.invoices),
        )
        async with context.store.ownership.transaction(session) as connection:
            await context.store.jobs.defer(
                Task.TRACK_SESSION,
                connection=connection,
                at=context.clock() + timedelta(seconds=pause),
                priority=Priority.TRACK,
                session_id=str(session.id),
            )
        return
    priority = PRIORITIES.get(move.state)
    why = f"{session.public_id}: {result.event.value}"
    if move.pause is Pause.GROWING:
        raise RetryLater(why, seconds=_GROWING_SECONDS, growing=True, priority=priority)
    raise RetryLater(
        why,
        seconds={
            Pause.RETRY_AFTER: result.wait_seconds or _DEFAULT_WAIT_SECONDS,
            Pause.WATCH: _WATCH_SECONDS,
            Pause.PEOPLE: _PEOPLE_SECONDS,
            Pause.BLOCKED: _BLOCKED_SECONDS,
        }[move.pause],
        # The quota reserved a slot for this job from that time.
        exact=move.pause is Pause.RETRY_AFTER,
        priority=priority,
    )
