"""Procrastinate's manager of jobs, made to last: through losses of the database, and when two jobs want the same name.

Procrastinate's worker ends when a heartbeat, a fetch or its listener fails. Here they wait for the database and go on.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, Final, TypeVar

import psycopg
from procrastinate.connector import BaseConnector
from procrastinate.exceptions import ConnectorException, UniqueViolation
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager, NotificationCallback, get_channel_for_queues
from psycopg import sql
from psycopg.errors import RaiseException

from app.observability.logs import get_logger
from app.store.connection import LISTEN_SECONDS, open_connection

_PAUSE_SECONDS: Final = 1.0
_ALIVE: Final = """
INSERT INTO procrastinate_workers (id, last_heartbeat) OVERRIDING SYSTEM VALUE VALUES (%(worker_id)s, now())
ON CONFLICT (id) DO UPDATE SET last_heartbeat = now()
"""

_Result = TypeVar("_Result")

log = get_logger(__name__)


class LastingJobManager(JobManager):
    """Procrastinate's manager with three changes.

    - It lasts through losses of the database: a heartbeat or a fetch that fails is made again later, and the end of a job is written
      when the database is back.
    - A job that is to be run again while another one of its name (`once`) waits is ended as failed: the waiting one does its work. Only
      one job of a name may wait, so Procrastinate itself would raise here and leave the job marked as running for ever.
    - The end of a job with a lock is notified, since the next job of the lock may start now.
    """

    def __init__(self, connector: BaseConnector, database_url: str) -> None:
        super().__init__(connector)
        self._database_url = database_url

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Fetch a job; None without one, and while the database is away."""
        try:
            return await super().fetch_job(queues, worker_id)
        except ConnectorException as error:
            if not _is_loss(error):
                raise
            log.info("jobs_not_fetched", error=repr(error.__cause__))
            return None

    async def update_heartbeat(self, worker_id: int) -> None:
        """Write a heartbeat. The row is made again if another worker has removed it during a silence."""
        try:
            await self.connector.execute_query_async(_ALIVE, worker_id=worker_id)
        except ConnectorException as error:
            if not _is_loss(error):
                raise
            log.info("heartbeat_not_written", error=repr(error.__cause__))

    async def defer_periodic_job(self, job: Job, periodic_id: str, defer_timestamp: int) -> int | None:
        """Add a periodic job; None when another worker has added it, and while the database is away."""
        try:
            return await super().defer_periodic_job(job, periodic_id, defer_timestamp)
        except ConnectorException as error:
            if not _is_loss(error):
                raise
            return None

    async def register_worker(self) -> int:
        """Add the row of a worker, as soon as the database answers."""
        return await _lasting(super().register_worker)

    async def prune_stalled_workers(self, seconds_since_heartbeat: float) -> list[int]:
        """Remove the rows of dead workers, as soon as the database answers."""
        return list(
            await _lasting(lambda: super(LastingJobManager, self).prune_stalled_workers(seconds_since_heartbeat))
        )

    async def unregister_worker(self, worker_id: int) -> None:
        """Remove the row of a worker that stops. Without the database it stays, and another worker removes it."""
        try:
            await super().unregister_worker(worker_id)
        except ConnectorException as error:
            if not _is_loss(error):
                raise

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        """Set a job to its last state, and notify the workers that could start the next job of its lock."""
        await _persisted(lambda: super(LastingJobManager, self).finish_job(job, status, delete_job), job.id)
        if job.lock is not None:
            try:
                await self.connector.execute_query_async(
                    "SELECT pg_notify(%(channel)s, %(payload)s)",
                    channel=f"procrastinate_queue_v1#{job.queue}",
                    payload=json.dumps({"type": "job_inserted", "job_id": job.id}),
                )
            except ConnectorException as error:
                # The job is finished all the same, and a worker that is not notified polls again soon.
                log.info("job_end_not_announced", job=job.id, error=repr(error))

    async def retry_job_by_id_async(
        self,
        job_id: int,
        retry_at: datetime,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
    ) -> None:
        """Let a job wait for another run, unless a job of its name waits already."""
        retry = super().retry_job_by_id_async
        try:
            await _persisted(lambda: retry(job_id, retry_at, priority, queue, lock), job_id)
        except UniqueViolation:
            await self.finish_job_by_id_async(job_id, Status.FAILED, delete_job=True)

    async def listen_for_jobs(
        self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None
    ) -> None:
        """Pass on notifications of new jobs, on one connection after the other. Without one, workers poll."""
        channels = list(get_channel_for_queues(queues=queues))
        while True:
            try:
                async with await open_connection(self._database_url) as connection:
                    for channel in channels:
                        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    while True:
                        async for notice in connection.notifies(timeout=LISTEN_SECONDS):
                            await on_notification(channel=notice.channel, notification=json.loads(notice.payload))
                        await connection.ask_whether_alive()
            except psycopg.OperationalError as error:
                log.info("jobs_not_listened_to", error=repr(error))
            await asyncio.sleep(_PAUSE_SECONDS)


async def _persisted(write: Callable[[], Awaitable[Any]], job_id: int | None) -> None:
    """Write the end of a run. A job that is not there, or not running, has been taken over and ended by another worker."""
    try:
        await _lasting(write)
    except ConnectorException as error:
        if not isinstance(error.__cause__, RaiseException):
            raise
        log.info("job_taken_over", job=job_id)


async def _lasting(call: Callable[[], Awaitable[_Result]]) -> _Result:
    """Make a call until the database answers it."""
    while True:
        try:
            return await call()
        except ConnectorException as error:
            if not _is_loss(error):
                raise
        await asyncio.sleep(_PAUSE_SECONDS)


def _is_loss(error: ConnectorException) -> bool:
    return isinstance(error.__cause__, psycopg.OperationalError)
