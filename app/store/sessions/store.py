"""Rows of sessions for workers and the API: reading, moves from state to state, and history."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.rows import DictRow

from app.domain.history import HistoryAction, HistoryOutcome
from app.domain.ids import public_id
from app.domain.states import SESSION_MOVES, SessionState
from app.errors import NotFound
from app.store.database import Connection, Database, queries
from app.store.sessions.journal import add_history, history_parameters
from app.store.sessions.ownership import OwnershipLost
from app.store.sessions.session import Session, session_from_row

_SQL: Final = queries("sessions")


class SessionStore:
    """Rows of sessions and their history."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get_for_job(self, session_id: UUID) -> Session:
        """Return a session, of whichever tenant. Raises NotFound."""
        row = await self._database.fetch_one(_SQL["get_session_for_job"], {"id": session_id})
        if row is None:
            raise NotFound(f"there is no session {public_id('ses', session_id)}")
        return session_from_row(row)

    async def get(self, tenant_id: int, session_id: UUID) -> Session:
        """Give one session of a tenant. Raises NotFound."""
        row = await self._database.fetch_one(_SQL["get_session"], {"id": session_id, "tenant_id": tenant_id})
        if row is None:
            raise NotFound(f"there is no session {public_id('ses', session_id)}")
        return session_from_row(row)

    async def page(self, tenant_id: int, *, before: UUID | None, state: str | None, limit: int) -> list[Session]:
        """Give a tenant's sessions, newest first, older than `before`."""
        rows = await self._database.fetch_all(
            _SQL["list_sessions"], {"tenant_id": tenant_id, "before": before, "state": state, "limit": limit}
        )
        return [session_from_row(row) for row in rows]

    async def unfinished_for_job(self) -> list[tuple[UUID, SessionState]]:
        """Give all sessions that have not ended, oldest first."""
        rows = await self._database.fetch_all(_SQL["unfinished_sessions"])
        return [(row["id"], SessionState(row["state"])) for row in rows]

    async def state_counts(self) -> dict[str, int]:
        """Count all sessions by state."""
        return {row["state"]: row["n"] for row in await self._database.fetch_all(_SQL["session_state_counts"])}

    async def oldest_opened(self) -> dict[SessionState, datetime]:
        """Give the moment at which the oldest session of each unfinished state was opened; only states that have one."""
        rows = await self._database.fetch_all(_SQL["oldest_opened"])
        return {SessionState(row["state"]): row["opened_at"] for row in rows}

    async def uploads_of_for_job(self, connection: Connection, session_id: UUID) -> list[UUID]:
        """Give the uploads that a session took invoices from."""
        cursor = await connection.execute(_SQL["uploads_of_session"], {"session_id": session_id})
        return [row["upload_id"] for row in await cursor.fetchall()]

    async def part_counts(self, tenant_id: int, session_ids: Sequence[UUID]) -> dict[UUID, int]:
        """Count the parts of each of a tenant's sessions. A session that is not packed yet has no key in the result."""
        rows = await self._database.fetch_all(_SQL["part_counts"], {"tenant_id": tenant_id, "ids": list(session_ids)})
        return {row["session_id"]: row["n"] for row in rows}

    async def upo_pages_of(self, tenant_id: int, session_ids: Sequence[UUID]) -> dict[UUID, list[DictRow]]:
        """Return the UPO pages of some of a tenant's sessions, as `upo_pages` does. A session without one has no key."""
        pages: dict[UUID, list[DictRow]] = {}
        parameters = {"tenant_id": tenant_id, "ids": list(session_ids)}
        for row in await self._database.fetch_all(_SQL["list_upo_pages"], parameters):
            pages.setdefault(row["session_id"], []).append(row)
        return pages

    async def upo_pages(self, tenant_id: int, session_id: UUID) -> list[DictRow]:
        """Return the UPO pages of a tenant's session.

        Columns: page, upo_reference_number, blob_key, bytes, sha256, documents, fetched_at.
        """
        return await self._database.fetch_all(_SQL["list_upo_pages"], {"tenant_id": tenant_id, "ids": [session_id]})

    async def history(self, tenant_id: int, session_id: UUID) -> list[DictRow]:
        """Return the steps of a tenant's session, oldest first: at, action, outcome, detail."""
        return await self._database.fetch_all(
            _SQL["session_history"], {"tenant_id": tenant_id, "session_id": session_id}
        )

    async def read_with_pages_for_job(
        self, connection: Connection, session_id: UUID
    ) -> tuple[Session, int, list[DictRow]]:
        """Read a session within a transaction: the row, the number of its parts, and its UPO pages."""
        row = await (await connection.execute(_SQL["get_session_for_job"], {"id": session_id})).fetchone()
        if row is None:
            raise NotFound(f"there is no session {public_id('ses', session_id)}")
        ids = {"tenant_id": row["tenant_id"], "ids": [session_id]}
        parts = await (await connection.execute(_SQL["part_counts"], ids)).fetchone()
        pages = await (await connection.execute(_SQL["list_upo_pages"], ids)).fetchall()
        return session_from_row(row), parts["n"] if parts else 0, pages

    async def move(
        self,
        session: Session,
        new: SessionState,
        *,
        action: HistoryAction,
        outcome: HistoryOutcome,
        now: datetime,
        detail: Mapping[str, Any] | None = None,
        connection: Connection | None = None,
    ) -> bool:
        """Move a session to another state with a line in its history; False when it has left the old state or owner already."""
        if new not in SESSION_MOVES[session.state]:
            raise ValueError(f"a session does not go from {session.state} to {new}")
        if connection is None:
            async with self._database.transaction() as own:
                return await self._move(own, session, new, action, outcome, detail, now=now)
        return await self._move(connection, session, new, action, outcome, detail, now=now)

    async def _move(
        self,
        connection: Connection,
        session: Session,
        new: SessionState,
        action: HistoryAction,
        outcome: HistoryOutcome,
        detail: Mapping[str, Any] | None,
        *,
        now: datetime,
    ) -> bool:
        cursor = await connection.execute(
            _SQL["move_session"],
            {
                "id": session.id,
                "epoch": session.owner_epoch,
                "old": session.state.value,
                "new": new.value,
                "now": now,
            },
        )
        if await cursor.fetchone() is None:
            return False
        await add_history(connection, session.id, action, outcome, detail or {}, now=now)
        return True

    async def note_for_job(
        self,
        session: Session,
        action: HistoryAction,
        outcome: HistoryOutcome | int,
        *,
        now: datetime,
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a line to a session's history in a transaction of its own. Raises OwnershipLost."""
        parameters = history_parameters(session.id, action, outcome, detail or {}, now=now)
        if await self._database.fetch_one(_SQL["note_step"], parameters | {"epoch": session.owner_epoch}) is None:
            raise OwnershipLost
