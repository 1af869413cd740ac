"""A database that is lost, with a sign or without one, and comes back."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import anyio
import pytest

from app.settings import Settings
from app.store import connection
from app.store.database import Database
from app.store.database_errors import DatabaseUnavailable
from app.store.jobs import JobQueue
from tests.support.lossy_proxy import LossyProxy, Mode, lossy_proxy
from tests.support.waiting import poll
from workers.runtime import _lasting

SILENT = [Mode.SWALLOWS, Mode.DROPS_ANSWERS]


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(connection, "CHECK_SECONDS", 0.3)
    monkeypatch.setattr(connection, "LISTEN_SECONDS", 0.5)
    monkeypatch.setattr("app.store.job_manager.LISTEN_SECONDS", 0.5)
    monkeypatch.setattr(connection, "_IDLE_SECONDS", 0.0)


@pytest.fixture
def proxy(settings: Settings) -> Iterator[LossyProxy]:
    with lossy_proxy(str(settings.database_url)) as between:
        yield between


@pytest.fixture
async def pool(proxy: LossyProxy) -> AsyncIterator[Database]:
    database = Database(proxy.url, max_connections=6)
    await database.open()
    yield database
    proxy.become(Mode.PASSES)
    await database.close()


async def _use(pool: Database, count: int) -> None:
    """Have several connections open at the same time, and idle after it."""
    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(pool.fetch_one, "SELECT pg_sleep(0.05)")


async def _seconds_to_fail(pool: Database) -> float:
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        await pool.fetch_one("SELECT 1 AS one")
    return time.monotonic() - started


async def _answers(pool: Database) -> bool:
    with suppress(DatabaseUnavailable):
        return await pool.fetch_one("SELECT 1 AS one") == {"one": 1}
    return False


@pytest.mark.parametrize("mode", [*SILENT, Mode.REFUSES])
async def test_a_lost_database_is_noticed_and_used_again_when_it_is_back(
    pool: Database, proxy: LossyProxy, mode: Mode
) -> None:
    await _use(pool, 5)
    proxy.become(mode)
    with anyio.fail_after(5):
        await _seconds_to_fail(pool)
    for _ in range(3):
        assert await _seconds_to_fail(pool) < 1, "known to be away, it is not waited for"
    proxy.become(Mode.PASSES)
    await poll(partial(_answers, pool), seconds=5)
    for _ in range(6):
        assert await _answers(pool), "none of the dead connections is lent any more"


async def test_connections_that_the_server_ended_are_replaced_and_the_new_ones_stay(
    settings: Settings, pool: Database, proxy: LossyProxy
) -> None:
    await _use(pool, 6)
    ended = Database(str(settings.database_url))
    await ended.open()
    await ended.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    await ended.close()
    await poll(partial(_answers, pool), seconds=5)
    before = pool._pool.get_stats()["connections_num"]
    await _use(pool, 6)
    for _ in range(20):
        assert await _answers(pool)
    assert pool._pool.get_stats()["connections_num"] <= before + 6


@pytest.mark.parametrize("mode", SILENT)
async def test_a_statement_without_an_answer_has_an_end(pool: Database, proxy: LossyProxy, mode: Mode) -> None:
    async with pool.connection() as lent:
        proxy.become(mode)
        with anyio.fail_after(5), pytest.raises(connection.Silent):
            await lent.execute("SELECT 1")


async def test_a_transaction_whose_commit_has_no_answer_is_a_loss(pool: Database, proxy: LossyProxy) -> None:
    async def commit() -> None:
        async with pool.transaction() as lent:
            await lent.execute("SELECT 1")
            proxy.become(Mode.DROPS_ANSWERS)

    with anyio.fail_after(5), pytest.raises(DatabaseUnavailable):
        await commit()


async def test_the_server_ends_what_a_lost_client_left(pool: Database) -> None:
    row = await pool.fetch_one(
        "SELECT current_setting('statement_timeout') AS statement, "
        "current_setting('idle_in_transaction_session_timeout') AS idle"
    )
    assert row == {"statement": "35s", "idle": "1min"}


async def test_a_setting_of_the_address_stays() -> None:
    assert "connect_timeout=2" in connection.prepared("postgresql://u@h/d?connect_timeout=2")
    assert "keepalives_idle=10" in connection.prepared("postgresql://u@h/d")


@pytest.mark.parametrize("mode", [*SILENT, Mode.REFUSES])
@pytest.mark.own_database
async def test_a_pool_of_jobs_lasts_through_a_loss_and_goes_on_by_itself(
    settings: Settings, proxy: LossyProxy, mode: Mode
) -> None:
    done: list[int] = []
    queue = JobQueue(proxy.url)
    ended = asyncio.Event()

    @queue.app.task(name="probe", queue="probes")
    async def probe(number: int) -> None:
        if number == 1:
            # It ends while the database is away.
            await ended.wait()
        done.append(number)

    direct = Database(str(settings.database_url))
    await direct.open()

    async def defer(number: int) -> None:
        async with direct.connection() as lent:
            deferrer = queue.app.configure_task("probe", queue="probes", connection=lent)
            await deferrer.defer_async(number=number)

    async def has_done(number: int) -> bool:
        return number in done

    async def all_ended() -> bool:
        rows = await direct.fetch_all("SELECT 1 FROM procrastinate_jobs WHERE status IN ('todo', 'doing')")
        return not rows

    async with queue.app.open_async():
        run = partial(
            queue.app.run_worker_async, queues=["probes"], concurrency=4, install_signal_handlers=False,
            delete_jobs="successful", fetch_job_polling_interval=0.2, update_heartbeat_interval=0.2,
            stalled_worker_timeout=8, shutdown_graceful_timeout=1,
        )  # fmt: skip
        worker = asyncio.ensure_future(_lasting("probes", run))
        await defer(0)
        await poll(partial(has_done, 0), seconds=10)
        await defer(1)
        await anyio.sleep(0.5)
        proxy.become(mode)
        # What another worker does to one that is silent.
        await direct.execute("DELETE FROM procrastinate_workers")
        ended.set()
        await poll(partial(has_done, 1), seconds=10)
        await anyio.sleep(1.5)
        await defer(2)
        proxy.become(Mode.PASSES)
        back = time.monotonic()
        await poll(partial(has_done, 2), seconds=15)
        await poll(all_ended, seconds=15)
        print(f"{mode.value}: goes on after {time.monotonic() - back:.1f} s")
        assert not worker.done()
        rows = await direct.fetch_all("SELECT last_heartbeat FROM procrastinate_workers")
        assert [(datetime.now(UTC) - row["last_heartbeat"]).total_seconds() < 5 for row in rows] == [True]
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
    await direct.close()
