"""Each trouble of PostgreSQL has its own error: only a server that is away counts as one that does not answer."""

from collections.abc import Awaitable, Callable
from typing import LiteralString

import anyio
import psycopg
import pytest
from psycopg.errors import (
    AdminShutdown,
    CannotConnectNow,
    ConnectionFailure,
    CrashShutdown,
    DiskFull,
    OutOfMemory,
    TooManyConnections,
)
from psycopg_pool import PoolTimeout

from app.store import database_errors as ours
from app.store.database import Connection, Database
from app.store.jobs import Task
from app.store.store import Store

_ROWS: LiteralString = "INSERT INTO ksef_state (ksef_url) VALUES ('1'), ('2')"
_LOCK: LiteralString = "UPDATE ksef_state SET failures = failures + 1 WHERE ksef_url = %(id)s"


@pytest.fixture
async def rows(store: Store) -> Database:
    """Two rows to lock."""
    await store.database.execute(_ROWS)
    return store.database


async def test_a_deadlock_is_a_conflict_of_two_transactions_and_the_other_one_goes_on(rows: Database) -> None:
    first_locked, second_locked = anyio.Event(), anyio.Event()
    errors: list[Exception] = []

    async def run(own: str, other: str, mine: anyio.Event, others: anyio.Event) -> None:
        try:
            async with rows.transaction() as connection:
                await connection.execute("SET LOCAL deadlock_timeout = '20ms'")
                await connection.execute(_LOCK, {"id": own})
                mine.set()
                await others.wait()
                await connection.execute(_LOCK, {"id": other})
        except ours.DatabaseError as error:
            errors.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, "1", "2", first_locked, second_locked)
        tasks.start_soon(run, "2", "1", second_locked, first_locked)
    (error,) = errors
    assert isinstance(error, ours.TransactionConflict)
    assert isinstance(error.__cause__, psycopg.errors.DeadlockDetected), "the cause is kept"
    counted = await rows.fetch_all("SELECT failures FROM ksef_state ORDER BY ksef_url")
    assert [row["failures"] for row in counted] == [1, 1], "one transaction was committed, the other rolled back whole"


async def test_a_row_that_changed_under_a_snapshot_is_a_conflict_too(rows: Database) -> None:
    async def change_twice() -> None:
        async with rows.transaction() as connection:
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await connection.execute("SELECT sum(failures) FROM ksef_state")
            await rows.execute(_LOCK, {"id": "1"})
            await connection.execute(_LOCK, {"id": "1"})

    with pytest.raises(ours.TransactionConflict) as caught:
        await change_twice()
    assert isinstance(caught.value.__cause__, psycopg.errors.SerializationFailure)


async def _locked(database: Database, statement: Callable[[Connection], Awaitable[object]]) -> None:
    async with database.transaction() as holder:
        await holder.execute(_LOCK, {"id": "1"})
        async with database.transaction() as connection:
            await statement(connection)


async def test_a_lock_that_is_not_released_in_time_is_named(rows: Database) -> None:
    async def wait(connection: Connection) -> None:
        await connection.execute("SET LOCAL lock_timeout = '20ms'")
        await connection.execute(_LOCK, {"id": "1"})

    with pytest.raises(ours.LockTimeout) as caught:
        await _locked(rows, wait)
    assert isinstance(caught.value.__cause__, psycopg.errors.LockNotAvailable)


async def test_a_statement_that_takes_longer_than_its_limit_was_cancelled(rows: Database) -> None:
    async def wait(connection: Connection) -> None:
        await connection.execute("SET LOCAL statement_timeout = '20ms'")
        await connection.execute(_LOCK, {"id": "1"})

    with pytest.raises(ours.StatementCancelled):
        await _locked(rows, wait)


async def test_a_statement_that_an_operator_ends_was_cancelled(rows: Database) -> None:
    async def cancel(connection: Connection) -> None:
        await connection.execute("SELECT pg_cancel_backend(pg_backend_pid())")

    with pytest.raises(ours.StatementCancelled):
        await _locked(rows, cancel)


async def test_a_backend_that_is_ended_does_not_answer(rows: Database) -> None:
    with pytest.raises(ours.DatabaseUnavailable) as caught:
        await rows.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert isinstance(caught.value.__cause__, AdminShutdown)


async def test_a_job_that_cannot_be_deferred_says_why(store: Store) -> None:
    """Procrastinate wraps errors in its own; the reason below them counts."""

    async def defer(once: str | None) -> None:
        async with store.database.transaction() as connection:
            await connection.execute("SET LOCAL lock_timeout = '20ms'")
            await store.jobs.defer(Task.DROP_BLOBS, connection=connection, once=once, keys=[])

    async with store.database.transaction() as holder:
        await holder.execute("LOCK TABLE procrastinate_jobs IN ACCESS EXCLUSIVE MODE")
        for once in (None, "once"):
            with pytest.raises(ours.LockTimeout):
                await defer(once)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DiskFull("could not extend file"), ours.DatabaseDiskFull),
        (TooManyConnections("sorry, too many clients already"), ours.TooManyConnections),
        (OutOfMemory("out of memory"), ours.DatabaseError),
        (CrashShutdown("another server process crashed"), ours.DatabaseUnavailable),
        (CannotConnectNow("the database system is starting up"), ours.DatabaseUnavailable),
        (ConnectionFailure("server closed the connection unexpectedly"), ours.DatabaseUnavailable),
        (psycopg.OperationalError("connection refused"), ours.DatabaseUnavailable),
        (PoolTimeout("no connection within 15 s"), ours.DatabaseUnavailable),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
async def test_what_cannot_be_provoked_here_is_translated_by_its_sqlstate(
    store: Store, error: Exception, kind: type[ours.DatabaseError]
) -> None:
    with pytest.raises(ours.DatabaseError) as caught:
        async with store.database.connection():
            raise error
    assert type(caught.value) is kind
    assert caught.value.__cause__ is error


async def test_errors_of_our_own_statements_are_not_taken_for_trouble_of_the_database(store: Store) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable):
        await store.database.execute("SELECT * FROM there_is_no_such_table")


def test_every_error_of_the_database_has_a_code_of_its_own() -> None:
    kinds: list[type[ours.DatabaseError]] = [ours.DatabaseError, *ours.DatabaseError.__subclasses__()]
    assert len({kind.code for kind in kinds}) == len(kinds) == 7
    assert [kind.code for kind in kinds if "unavailable" in kind.code] == ["database-unavailable"]
