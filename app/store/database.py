"""Connections to PostgreSQL and the queries of `sql/`. psycopg's errors are translated here."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from importlib.resources import files
from typing import Any, Final, LiteralString, cast
from weakref import WeakKeyDictionary

import anyio
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from app.store.connection import LimitedConnection, Reach, make_pool, open_connection
from app.store.database_errors import DatabaseUnavailable, translated

Connection = AsyncConnection[DictRow]

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def queries(noun: str) -> Mapping[str, LiteralString]:
    """Read `sql/<noun>.sql` once and give its queries by name. Values are bound by the driver, never pasted in."""
    text = files("app.store").joinpath("sql", f"{noun}.sql").read_text(encoding="utf-8")
    pieces = _NAME.split(text)[1:]
    named = {name: cast("LiteralString", body.strip()) for name, body in zip(pieces[::2], pieces[1::2], strict=True)}
    if len(named) != len(pieces) // 2:
        raise ValueError(f"{noun}.sql names a query twice")
    return named


_FIRST_SECONDS: Final = 0.75
"""How long a caller waits for a connection before it asks whether the database is away. Longer waits are for a busy pool."""
_AWAY_SECONDS: Final = 0.25
"""The same while the database is away: as long as an attempt to connect may take when it is back."""
_BUSY_SECONDS: Final = 15.0
_OWN_ANSWER_SECONDS: Final = 10.0


# What a transaction has recorded for the audit so far.
_acts: WeakKeyDictionary[Connection, list[Any]] = WeakKeyDictionary()


def acts_of(connection: Connection) -> list[Any]:
    """Return the acts recorded in the present transaction of a connection, to add one. Raises RuntimeError outside one."""
    try:
        return _acts[connection]
    except KeyError as error:
        raise RuntimeError("an act is recorded outside a transaction of `Database.transaction`") from error


class Database:
    """A pool of connections. Rows come as dictionaries; each `transaction` is committed at its end or not at all."""

    def __init__(self, url: str, *, max_connections: int = 10) -> None:
        """`max_connections` bounds what this process takes of the server's connections."""
        self.url = url
        self.write_acts: Callable[[Connection, list[Any]], Awaitable[None]] | None = None
        """Writes the audit; set once the keys are known, which are in the database."""
        self._reach = Reach()
        self._pool: AsyncConnectionPool[Connection] = make_pool(
            url,
            max_connections=max_connections,
            reach=self._reach,
            seconds=_BUSY_SECONDS,
            name="ksefd",
            row_factory=dict_row,
            autocommit=True,
        )

    async def open(self) -> None:
        """Connect; raises DatabaseUnavailable when the server does not answer within fifteen seconds."""
        await self._pool.open()
        with anyio.move_on_after(_BUSY_SECONDS):
            while True:
                try:
                    await self.fetch_one("SELECT 1 AS one")
                except DatabaseUnavailable:
                    await anyio.sleep(_AWAY_SECONDS)
                else:
                    return
        await self._pool.close()
        raise DatabaseUnavailable("the database does not answer")

    async def close(self) -> None:
        """Give all connections back. Safe to call twice."""
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection outside a transaction: each statement is committed by itself. Raises DatabaseError."""
        try:
            async with AsyncExitStack() as stack:
                yield await self._lent(stack)
        except psycopg.OperationalError as error:
            raise translated(error) from error

    async def _lent(self, stack: AsyncExitStack) -> Connection:
        first = _AWAY_SECONDS if self._reach.is_away else _FIRST_SECONDS
        try:
            return await stack.enter_async_context(self._pool.connection(first))
        except PoolTimeout:
            if self._reach.is_away:
                raise
        return await stack.enter_async_context(self._pool.connection())

    @asynccontextmanager
    async def own_connection(self) -> AsyncIterator[LimitedConnection]:
        """Open a connection beside the pool, for locks and notifications, which belong to a connection. Raises DatabaseError."""
        try:
            async with await open_connection(self.url) as connection:
                connection.answer_seconds = _OWN_ANSWER_SECONDS
                yield connection
        except psycopg.OperationalError as error:
            raise translated(error) from error

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction: committed when the block ends, rolled back when it raises.

        Recorded acts are written as the last step before the commit.
        """
        async with self.connection() as connection, connection.transaction():
            acts: list[Any] = []
            _acts[connection] = acts
            try:
                yield connection
                if acts:
                    if self.write_acts is None:
                        raise RuntimeError("this database has no audit, and an act was recorded")
                    await self.write_acts(connection, acts)
            finally:
                _acts.pop(connection, None)

    @asynccontextmanager
    async def exclusively(self, name: str) -> AsyncIterator[bool]:
        """Take an advisory lock by name, across all processes; yield False when another process has it.

        The lock belongs to a connection, so it ends with its process, also when that is killed.
        """
        async with self.connection() as connection:
            cursor = await connection.execute(
                "SELECT pg_try_advisory_lock(hashtextextended(%(name)s, 0)) AS locked", {"name": name}
            )
            row = await cursor.fetchone()
            locked = bool(row and row["locked"])
            try:
                yield locked
            finally:
                # Also when this task is cancelled: a connection that returned to the pool with the lock would keep it.
                with anyio.CancelScope(shield=True):
                    if locked and not connection.closed:
                        await connection.execute(
                            "SELECT pg_advisory_unlock(hashtextextended(%(name)s, 0))", {"name": name}
                        )

    async def fetch_all(
        self, query: LiteralString, parameters: Mapping[str, Any] | None = None, *, binary: bool = False
    ) -> list[DictRow]:
        """Run one query by itself and return all rows; `binary` is for long values of bytes."""
        async with self.connection() as connection:
            cursor = await connection.execute(query, parameters, binary=binary)
            return await cursor.fetchall()

    async def fetch_one(self, query: LiteralString, parameters: Mapping[str, Any] | None = None) -> DictRow | None:
        """Run one query by itself and return its first row, or None."""
        async with self.connection() as connection:
            cursor = await connection.execute(query, parameters)
            return await cursor.fetchone()

    async def execute(self, query: LiteralString, parameters: Mapping[str, Any] | None = None) -> int:
        """Run one statement by itself and return how many rows it changed."""
        async with self.connection() as connection:
            cursor = await connection.execute(query, parameters)
            return cursor.rowcount
