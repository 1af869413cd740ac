"""The history of a session: one line for each step and its outcome."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.store.database import Connection, queries

_SQL: Final = queries("sessions")


async def add_history(
    connection: Connection,
    session_id: UUID,
    action: str,
    outcome: str,
    detail: Mapping[str, Any],
    *,
    now: datetime,
) -> None:
    """Add a line to a session's history, in the transaction of the step that it tells of."""
    await connection.execute(
        _SQL["add_history"],
        {
            "session_id": session_id,
            "now": now,
            "action": action,
            "outcome": outcome,
            "detail": json.dumps(dict(detail), ensure_ascii=False, default=str),
        },
    )
