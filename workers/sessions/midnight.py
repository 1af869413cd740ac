"""Midnight in Warsaw: which session may be opened now, and what is noted when one was opened after the day of its invoices.

The opening of a session, not the sending of its parts, decides whether an invoice with that day's `P_1` is online.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

from app.domain.sealing import day_of_opening, is_of_today, is_rush, may_open_at
from app.domain.states import SessionState
from app.domain.warsaw import warsaw_day
from app.observability.logs import get_logger
from app.store.events.outbox import EventType
from app.store.jobs import Priority, Task
from app.store.sessions.document import session_document
from app.store.sessions.session import Session
from workers.context import RetryLater, WorkerContext
from workers.sealing import seal_soon

log = get_logger(__name__)

_SECOND_SECONDS: Final = 15.0


async def may_open(context: WorkerContext, session: Session) -> bool:
    """Say whether a packed session may be opened now. False: it was taken apart, since its tenant decides on late invoices.

    Raises RetryLater when it has to wait: KSeF's clock may not have reached the day of its invoices yet and would refuse
    them, or midnight is near and sessions of the same tenant that lose something by it are still to be opened.
    """
    now = context.clock()
    opens_at = may_open_at(session.latest_issue_date)
    if opens_at is not None and opens_at > now:
        raise RetryLater("the day of its invoices has only begun", seconds=(opens_at - now).total_seconds())
    urgent = is_of_today(session.latest_issue_date, offline_mode=session.offline_mode, now=now)
    if (
        is_rush(now)
        and not urgent
        and await context.store.late.urgent_sessions_wait(session.tenant_id, today=warsaw_day(now))
    ):
        raise RetryLater("sessions with invoices of the day go first", seconds=_SECOND_SECONDS)
    day = day_of_opening(now)
    if not session.offline_mode and await context.store.late.has_late(session.id, day=day):
        await _take_apart(context, session)
        return False
    return True


async def note_opened(context: WorkerContext, session_id: UUID, opened_at: datetime) -> None:
    """Warn on each invoice that came in time and whose session was opened after its day. Safe to repeat."""
    async with context.store.database.transaction() as connection:
        changed = await context.store.late.note_mode_change(connection, session_id, warsaw_day(opened_at))
    if changed:
        log.warning("invoices_missed_their_day", session=f"ses_{session_id.hex}", invoices=changed)


def job_priority(session: Session, now: datetime) -> Priority:
    """Give the priority of a session's jobs on the way to its opening: ahead of others when midnight is near."""
    urgent = is_rush(now) and is_of_today(session.latest_issue_date, offline_mode=session.offline_mode, now=now)
    return Priority.OPEN_TODAY if urgent else Priority.OPEN


async def _take_apart(context: WorkerContext, session: Session) -> None:
    now, store = context.clock(), context.store
    async with store.database.transaction() as connection:
        requeued = await store.late.unseal(connection, session.id, day=day_of_opening(now))
        ended = await store.verdicts.finish(
            connection,
            session,
            SessionState.FAILED,
            accepted=0,
            rejected=0,
            failed=0,
            requeued=requeued,
            detail={"reason": "late-invoices-held"},
            now=now,
        )
        if not ended:
            raise RuntimeError(f"{session.public_id} was ended by somebody else meanwhile")
        ended_session, parts, _ = await store.sessions.read_for_event(connection, session.id)
        await store.outbox.add(
            connection,
            EventType.SESSION_FAILED,
            tenant_id=session.tenant_id,
            session_id=session.id,
            data=session_document(ended_session, parts=parts, upo_pages=[]),
            now=now,
        )
        keys = [part.blob_key for part in await store.packages.parts(session.id)]
        await store.jobs.defer(Task.DROP_BLOBS, connection=connection, keys=keys)
    log.warning("session_unsealed", session=session.public_id, requeued=requeued)
    await seal_soon(context, session.lane_id)
