"""Ownership of a session: one worker at a time advances it, until a time that the worker puts off.

Each change of owner counts the session's epoch on, and every write of an owner compares it in its transaction. So a worker that lost the
session without a sign, because it was stopped or its connections were cut, changes nothing.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from app.errors import DispatchError
from app.store.database import Connection, Database, queries
from app.store.sessions.session import Session, session_from_row

_SQL: Final = queries("session_ownership")


class OwnershipLost(DispatchError):
    """Another worker has taken the session; this one drops it and writes nothing."""


class OwnershipStore:
    """The owners of sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, session_id: UUID, *, owner: str, seconds: float) -> Session | None:
        """Take a session for a time and return it; None while another worker owns it, or when there is none of this id."""
        row = await self._database.fetch_one(
            _SQL["take_session"], {"id": session_id, "owner": owner, "seconds": seconds}
        )
        return session_from_row(row) if row is not None else None

    async def renew(self, session: Session, *, seconds: float) -> None:
        """Own the session for at least this time from now on. Raises OwnershipLost."""
        parameters = {"id": session.id, "epoch": session.owner_epoch, "seconds": seconds}
        if await self._database.fetch_one(_SQL["renew_ownership"], parameters) is None:
            raise OwnershipLost

    async def release(self, session: Session) -> None:
        """Let other workers take the session."""
        await self._database.execute(_SQL["release_session"], {"id": session.id, "epoch": session.owner_epoch})

    async def read(self, session: Session) -> Session:
        """Read the row of an owned session again. Raises OwnershipLost."""
        row = await self._database.fetch_one(_SQL["owned_session"], {"id": session.id, "epoch": session.owner_epoch})
        if row is None:
            raise OwnershipLost
        return session_from_row(row)

    @asynccontextmanager
    async def transaction(self, session: Session) -> AsyncIterator[Connection]:
        """Lend a transaction of the session's owner. Raises OwnershipLost."""
        async with self._database.transaction() as connection:
            await fence(connection, session)
            yield connection


async def fence(connection: Connection, session: Session) -> None:
    """Make sure that the session's owner has not changed, until the transaction ends. Raises OwnershipLost."""
    cursor = await connection.execute(_SQL["fence"], {"id": session.id, "epoch": session.owner_epoch})
    if await cursor.fetchone() is None:
        raise OwnershipLost
