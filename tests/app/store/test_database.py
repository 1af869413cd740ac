"""Connections that are lent: checked when they have lain idle, not when they were in use a moment ago."""

from collections.abc import AsyncIterator

import anyio
import pytest
from psycopg_pool import AsyncConnectionPool

from app.store import connection as connection_module
from app.store.database import Connection, Database
from app.store.store import Store


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(connection_module, "monotonic", clock)
    return clock


@pytest.fixture
async def single(store: Store) -> AsyncIterator[Database]:
    """A pool of one connection to the store's database."""
    pool = Database(store.database.url, max_connections=1)
    await pool.open()
    yield pool
    await pool.close()


async def backend_of(pool: Database) -> int:
    """Use the connection and wait until it is back: the pool takes it back beside us."""
    row = await pool.fetch_one("SELECT pg_backend_pid() AS pid")
    assert row is not None
    while pool._pool.get_stats()["pool_available"] < 1:
        await anyio.sleep(0.001)
    return int(row["pid"])


async def test_a_connection_that_broke_while_it_lay_idle_is_replaced_before_it_is_lent(
    store: Store, single: Database, clock: Clock
) -> None:
    broken = await backend_of(single)
    await store.database.execute("SELECT pg_terminate_backend(%(pid)s, 5000)", {"pid": broken})
    clock.now += 2
    assert await backend_of(single) != broken


async def test_a_connection_in_use_a_moment_ago_is_lent_without_a_question(
    single: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Connection] = []

    async def ask(connection: Connection) -> None:
        asked.append(connection)

    monkeypatch.setattr(AsyncConnectionPool, "check_connection", ask)
    await backend_of(single)
    asked.clear()
    for _ in range(5):
        clock.now += 0.5
        await backend_of(single)
    assert not asked
    clock.now += 1.5
    await backend_of(single)
    assert len(asked) == 1
