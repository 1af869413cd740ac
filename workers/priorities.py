"""Priorities of the jobs of sessions."""

from collections.abc import Mapping
from typing import Final

from app.domain.fairness import behind
from app.domain.states import SessionState
from app.store.database import Connection
from app.store.jobs import Priority
from workers.context import WorkerContext

PRIORITIES: Final[Mapping[SessionState, Priority]] = {
    SessionState.OPEN: Priority.CLOSE,
    SessionState.CLOSING: Priority.CLOSE,
    SessionState.PROCESSING: Priority.TRACK,
}
"""Priority of a session's next job by state. Before the opening a job keeps the priority that it has."""


async def opening_priority(
    context: WorkerContext, connection: Connection, tenant_id: int, state: SessionState, *, urgent: bool
) -> int:
    """Return the priority of the job that takes one more session of a tenant towards its opening, which is in `state` now.

    `urgent`: midnight is near and the session has invoices of the day. Otherwise a session comes later the more sessions its
    tenant has in the same state.
    """
    if urgent:
        return Priority.OPEN_TODAY
    earlier = await context.store.admission.sessions_of(connection, tenant_id, [state]) - 1
    return Priority.OPEN - behind(earlier)
