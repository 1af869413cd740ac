"""Connections to PostgreSQL and the queries of `sql/`. psycopg's errors are translated here."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache
from importlib.resources import files
from time import monotonic
from typing import Any, Final, LiteralString, cast
from weakref import WeakKeyDictionary

import anyio
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from app.store.database_errors import translated

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


_IDLE_SECONDS: Final = 1.0
# When a connection came back to the pool.
_returned: WeakKeyDictionary[Connection, float] = WeakKeyDictionary()


async def _note_return(connection: Connection) -> None:
    _returned[connection] = monotonic()


async def _check_idle(connection: Connection) -> None:
    """Check that a connection works before it is lent.

    A connection that was used within the last second is not checked, which saves a round trip.
    """
    if monotonic() - _returned.get(connection, 0.0) > _IDLE_SECONDS:
        await AsyncConnectionPool.check_connection(connection)


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
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            url,
            connection_class=cast("type[Connection]", AsyncConnection),
            min_size=1,
            max_size=max_connections,
            open=False,
            timeout=15,
            kwargs={"row_factory": dict_row, "autocommit": True},
            check=_check_idle,
            reset=_note_return,
            name="ksefd",
        )

    async def open(self) -> None:
        """Connect; raises DatabaseUnavailable when the server does not answer within fifteen seconds."""
        try:
            await self._pool.open(wait=True, timeout=15)
        except PoolTimeout as error:
            await self._pool.close()
            raise translated(error) from error

    async def close(self) -> None:
        """Give all connections back. Safe to call twice."""
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection outside a transaction: each statement is committed by itself. Raises DatabaseError."""
        try:
            async with self._pool.connection() as connection:
                yield connection
        except (PoolTimeout, psycopg.OperationalError) as error:
            raise translated(error) from error

    @asynccontextmanager
    async def own_connection(self) -> AsyncIterator[Connection]:
        """Open a connection beside the pool, for locks and notifications, which belong to a connection. Raises DatabaseError."""
        try:
            connecting = AsyncConnection.connect(self.url, autocommit=True, row_factory=dict_row, connect_timeout=15)
            async with await connecting as connection:
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
