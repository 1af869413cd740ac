"""Jobs of which only one may wait (`once`): what becomes of a running one that is to be run again."""

from typing import Any

import psycopg
import pytest

from app.settings import Settings
from app.store.interrupted_jobs import requeue_interrupted_jobs
from app.store.jobs import Task
from app.store.store import Store
from workers.maintenance import retry_stalled


@pytest.fixture
def rows(settings: Settings) -> Any:
    """Give a function that runs a statement and returns its rows."""
    assert settings.database_url is not None

    def run(statement: str) -> list[Any]:
        with psycopg.connect(str(settings.database_url), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    return run


async def _running_job_with_a_twin(store: Store, rows: Any, lock: str | None = "singles:1") -> None:
    for status in ("doing", "todo"):
        async with store.database.connection() as connection:
            await store.jobs.defer(Task.CHECK_SINGLES, connection=connection, lock=lock, once="singles:1", tenant_id=1)
        if status == "doing":
            # Its worker is gone: nobody sends heartbeats for it.
            rows("UPDATE procrastinate_jobs SET status = 'doing'")
    assert rows("SELECT status FROM procrastinate_jobs ORDER BY id") == [("doing",), ("todo",)]


async def test_a_job_of_a_dead_worker_gives_way_to_the_one_that_waits(store: Store, rows: Any) -> None:
    await _running_job_with_a_twin(store, rows)
    async with store.jobs.app.open_async():
        assert await retry_stalled(store.jobs.app) == 1
        assert await retry_stalled(store.jobs.app) == 0
    assert rows("SELECT status FROM procrastinate_jobs") == [("todo",)]


async def test_a_job_of_a_dead_worker_without_a_twin_waits_again(store: Store, rows: Any) -> None:
    await _running_job_with_a_twin(store, rows)
    rows("DELETE FROM procrastinate_jobs WHERE status = 'todo'")
    async with store.jobs.app.open_async():
        assert await retry_stalled(store.jobs.app) == 1
    assert rows("SELECT status, attempts FROM procrastinate_jobs") == [("todo", 1)]


async def test_a_service_starts_although_a_killed_job_and_its_twin_want_the_same_name(
    store: Store, rows: Any, settings: Settings
) -> None:
    await _running_job_with_a_twin(store, rows)
    requeue_interrupted_jobs(settings.database_url or "")
    assert rows("SELECT status FROM procrastinate_jobs") == [("todo",)]


async def test_of_two_killed_jobs_of_a_name_one_waits_again(store: Store, rows: Any, settings: Settings) -> None:
    await _running_job_with_a_twin(store, rows, lock=None)
    rows("UPDATE procrastinate_jobs SET status = 'doing'")
    requeue_interrupted_jobs(settings.database_url or "")
    assert rows("SELECT status FROM procrastinate_jobs") == [("todo",)]
