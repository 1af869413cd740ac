"""Defers jobs to Procrastinate. A job carries an id and nothing more; `workers` defines the tasks.

A job that must follow a change is deferred on the connection of that change, so that both are committed or neither is.
"""

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Final
from uuid import UUID

import psycopg
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

from app.store import connection
from app.store.connection import Reach, make_pool
from app.store.database import Connection
from app.store.database_errors import translated
from app.store.job_manager import LastingJobManager

_POOL_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 10.0
"""Time limit of a statement about jobs, which are all small: a heartbeat must not be missing for long."""


class Task(StrEnum):
    """Tasks, in the order of an invoice's way."""

    READ_UPLOAD = "intake.read_upload"
    CHECK_SINGLES = "intake.check_singles"
    SEAL_LANE = "sealing.seal_lane"
    PACK_SESSION = "packing.pack_session"
    DISPATCH_SESSION = "dispatch.dispatch_session"
    TRACK_SESSION = "tracking.track_session"
    FIND_ORIGINALS = "duplicates.find_originals"
    RECONCILE_TENANT = "reconciling.reconcile_tenant"
    REPLAY_EVENTS = "webhooks.replay_events"
    DROP_BLOBS = "maintenance.drop_blobs"


INTAKE_SHORT: Final = "intake-short"
"""Queue of small uploads and single posts, so that they never wait for the reading of a large upload."""

# A queue for each kind of resource: a worker runs a number of jobs of each at the same time, so that no stage starves another.
QUEUES: Final[dict[Task, str]] = {
    Task.READ_UPLOAD: "intake",
    Task.CHECK_SINGLES: INTAKE_SHORT,
    Task.SEAL_LANE: "sealing",
    Task.PACK_SESSION: "packing",
    Task.DISPATCH_SESSION: "dispatch",
    Task.TRACK_SESSION: "tracking",
    Task.FIND_ORIGINALS: "duplicates",
    Task.RECONCILE_TENANT: "duplicates",
    Task.REPLAY_EVENTS: "webhooks",
    Task.DROP_BLOBS: "maintenance",
}


class Priority(IntEnum):
    """Priority within a queue. Sessions that KSeF has already come before those that are still to be opened."""

    OPEN = 0
    OPEN_TODAY = 1
    TRACK = 10
    CLOSE = 20


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    """Turn PostgreSQL's errors, which Procrastinate wraps, into those of `database_errors`."""
    try:
        yield
    except ConnectorException as error:
        if isinstance(error.__cause__, psycopg.OperationalError):
            raise translated(error.__cause__) from error.__cause__
        raise


class JobQueue:
    """Defers jobs by the name of their task."""

    def __init__(self, database_url: str, *, max_connections: int = 4) -> None:
        def pool(**_: Any) -> Any:
            return make_pool(
                database_url,
                max_connections=max_connections,
                reach=Reach(),
                seconds=_POOL_SECONDS,
                name="jobs",
                answer_seconds=min(_ANSWER_SECONDS, connection.ANSWER_SECONDS),
            )

        self.app = App(connector=PsycopgConnector(conninfo=database_url, pool_factory=pool), worker_defaults={})
        self.app.job_manager = LastingJobManager(self.app.connector, database_url)

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[App]:
        """Open the queue for workers. Raises DatabaseUnavailable when the database does not answer."""
        try:
            await self.app.open_async()
        except psycopg.OperationalError as error:
            raise translated(error) from error
        try:
            yield self.app
        finally:
            await self.app.close_async()

    async def defer(
        self,
        task: Task,
        *,
        connection: Connection,
        lock: str | None = None,
        once: str | None = None,
        at: datetime | None = None,
        priority: int = 0,
        queue: str | None = None,
        **arguments: Any,
    ) -> None:
        """Add a job on this connection, in its task's queue unless another one is named.

        Jobs with the same `lock` run one after the other. With `once`, nothing is added while a job of that name waits;
        such a job must be deferred after the commit of the rows that it reads, since the waiting one may start at any time.
        Of the jobs that wait in a queue, those of higher `priority` start first.
        """
        deferrer = self.app.configure_task(
            task.value,
            queue=queue or QUEUES[task],
            lock=lock,
            queueing_lock=once,
            schedule_at=at,
            priority=priority,
            connection=connection,
        )
        if once is None:
            with _translated_errors():
                await deferrer.defer_async(**arguments)
            return
        # The refusal of a name that is taken rolls back to this savepoint and leaves the caller's transaction usable.
        with contextlib.suppress(AlreadyEnqueued), _translated_errors():
            async with connection.transaction():
                await deferrer.defer_async(**arguments)

    async def seal_soon(self, connection: Connection, lane_id: int, *, at: datetime | None = None) -> None:
        """Defer the job that seals a lane, for now or a later time. Call it after the commit of the queued invoices."""
        await self.defer(
            Task.SEAL_LANE,
            connection=connection,
            # The name holds the time: a job for later does not replace one that midnight needs earlier.
            once=f"seal:{lane_id}" if at is None else f"seal-later:{lane_id}:{int(at.timestamp())}",
            at=at,
            lane_id=lane_id,
        )

    async def find_originals_soon(self, connection: Connection, tenant_id: int) -> None:
        """Defer the job that settles a tenant's suspected duplicates; one waits at most."""
        await self.defer(
            Task.FIND_ORIGINALS, connection=connection, once=f"duplicates:{tenant_id}", tenant_id=tenant_id
        )

    async def reconcile_soon(self, connection: Connection, tenant_id: int) -> None:
        """Defer the job that reconciles a tenant with KSeF; one waits at most."""
        await self.defer(
            Task.RECONCILE_TENANT, connection=connection, once=f"reconcile:{tenant_id}", tenant_id=tenant_id
        )

    async def wake_sessions(self, connection: Connection, session_ids: Sequence[UUID]) -> int:
        """Let the waiting jobs of these sessions start now; returns how many."""
        cursor = await connection.execute(
            "UPDATE procrastinate_jobs SET scheduled_at = NULL "
            "WHERE status = 'todo' AND scheduled_at IS NOT NULL AND task_name = ANY(%(tasks)s) "
            "AND args->>'session_id' = ANY(%(sessions)s)",
            {
                "tasks": [Task.DISPATCH_SESSION.value, Task.TRACK_SESSION.value],
                "sessions": [str(session_id) for session_id in session_ids],
            },
        )
        return cursor.rowcount

    async def arguments_of_waiting(self, connection: Connection) -> set[tuple[str, str]]:
        """Return (task, id) of every job that waits or runs and is about one upload, lane, session or replay."""
        cursor = await connection.execute(
            "SELECT task_name, "
            "coalesce(args->>'upload_id', args->>'lane_id', args->>'session_id', args->>'replay_id') AS subject "
            "FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
        )
        return {(row["task_name"], row["subject"]) for row in await cursor.fetchall() if row["subject"]}
