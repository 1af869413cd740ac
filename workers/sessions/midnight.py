"""Midnight in Warsaw: decides whether a session may be opened now.

The opening of a session, not the sending of its parts, decides whether an invoice with that day's `P_1` is online.
"""

from typing import Final

from app.domain.sealing import day_of_opening, is_of_today, is_rush, may_open_at
from app.domain.states import SessionState
from app.domain.warsaw import warsaw_day
from app.observability.logs import get_logger
from app.store.sessions.session import Session
from workers.context import RetryLater, WorkerContext
from workers.sessions.ending import finish_session

log = get_logger(__name__)

_AFTER_URGENT_SECONDS: Final = 15.0


async def may_open(context: WorkerContext, session: Session) -> bool:
    """Return whether a packed session may be opened now. False: it was unsealed, since its tenant decides on late invoices.

    Raises RetryLater when it has to wait: KSeF's clock may not have reached the day of its invoices yet, and KSeF would refuse
    them; or midnight is near and sessions of the same tenant with invoices of the day are still to be opened.
    """
    now = context.clock()
    opens_at = may_open_at(session.latest_issue_date)
    if opens_at is not None and opens_at > now:
        raise RetryLater("the day of its invoices has only begun", seconds=(opens_at - now).total_seconds())
    urgent = is_of_today(session.latest_issue_date, offline_mode=session.offline_mode, now=now)
    if (
        is_rush(now)
        and not urgent
        and await context.store.late_invoices.urgent_sessions_wait(session.tenant_id, today=warsaw_day(now))
    ):
        raise RetryLater("sessions with invoices of the day go first", seconds=_AFTER_URGENT_SECONDS)
    day = day_of_opening(now)
    if not session.offline_mode and await context.store.late_invoices.has_late_for_job(session.id, day=day):
        await _unseal(context, session)
        return False
    return True


async def _unseal(context: WorkerContext, session: Session) -> None:
    """End a session that was never opened, and queue its invoices again; the late ones wait for their tenant's decision."""
    async with context.store.ownership.transaction(session) as connection:
        requeued = await context.store.late_invoices.unseal_for_job(
            connection, session.id, day=day_of_opening(context.clock())
        )
        await finish_session(
            context,
            connection,
            session,
            new=SessionState.FAILED,
            requeued=requeued,
            detail={"reason": "late-invoices-held"},
        )
    log.warning("session_unsealed", session=session.public_id, requeued=requeued)
    await context.seal_soon(session.lane_id)
