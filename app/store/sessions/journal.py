"""History of a session: one entry for each step and its outcome."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.domain.history import HistoryAction, HistoryOutcome
from app.store.database import Connection, queries

_SQL: Final = queries("sessions")


async def add_history(
    connection: Connection,
    session_id: UUID,
    action: HistoryAction,
    outcome: HistoryOutcome | int,
    detail: Mapping[str, Any],
    *,
    now: datetime,
) -> None:
    """Add an entry to a session's history, in the transaction of the step that it describes. An int is a status code of KSeF."""
    await connection.execute(_SQL["add_history"], history_parameters(session_id, action, outcome, detail, now=now))


def history_parameters(
    session_id: UUID,
    action: HistoryAction,
    outcome: HistoryOutcome | int,
    detail: Mapping[str, Any],
    *,
    now: datetime,
) -> dict[str, Any]:
    """Return the parameters of a query that adds an entry."""
    return {
        "session_id": session_id,
        "now": now,
        "action": action.value,
        "outcome": str(outcome),
        "detail": json.dumps(dict(detail), ensure_ascii=False, default=str),
    }
