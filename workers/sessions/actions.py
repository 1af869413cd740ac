"""Which function performs which action of the session's table."""

from uuid import UUID

from app.domain.session_machine import Action, Event
from app.store.sessions.session import Session
from workers.context import WorkerContext
from workers.sessions import dispatch, tracking, verdicts
from workers.sessions.advance import Result, hold_session


async def advance_session(context: WorkerContext, session_id: UUID) -> None:
    """Bring a session as far as it gets now. Safe to run again at any time, by any number of workers."""
    await hold_session(context, session_id, _perform)


async def _perform(  # noqa: PLR0911 - one line an action, read as a table
    context: WorkerContext, session: Session, action: Action, before: Result
) -> Result:
    match action:
        case Action.OPEN:
            return await dispatch.open_session(context, session, renew_key=False)
        case Action.RENEW_KEY:
            return await dispatch.open_session(context, session, renew_key=True)
        case Action.CHECK_OPENED:
            return await dispatch.check_opened(context, session)
        case Action.STORE_PARTS:
            return await dispatch.store_parts(context, session)
        case Action.CLOSE:
            return await dispatch.close_session(context, session)
        case Action.LOOK:
            return await tracking.look(context, session)
        case Action.READ_RESULTS:
            return await tracking.read_results(context, session, before.status, list_all=False)
        case Action.LIST_INVOICES:
            return await tracking.read_results(context, session, before.status, list_all=True)
        case Action.END_DEAD:
            await verdicts.end_dead(context, session)
        case Action.END_REBUILD:
            await verdicts.end_rebuild(context, session)
        case Action.END_SPLIT:
            await verdicts.end_split(context, session)
        case Action.REST:
            pass
    # The session has ended; nobody asks for what follows.
    return Result(Event.RESUMED)
