"""Bindings of tasks to their stages and queues, and the times of their retries."""

import asyncio
import random
from http import HTTPStatus
from typing import Final
from uuid import UUID

from procrastinate import App, BaseRetryStrategy, RetryDecision
from procrastinate.jobs import Job

from app.domain.backoff import doubling
from app.errors import TryLater, cause_fields
from app.ksef.errors import QuotaExhausted
from app.observability.logs import get_logger
from app.store.database_errors import TransactionConflict
from app.store.jobs import QUEUES, Task
from workers import maintenance, sealing
from workers.context import RetryLater, WorkerContext
from workers.delivery import replay
from workers.duplicates.originals import find_originals
from workers.intake import singles
from workers.intake import uploads as intake
from workers.job_names import JobNames
from workers.ksef import outage_policy as outage
from workers.ksef import permissions
from workers.reconciling import reconcile_due_tenant
from workers.sessions import packing
from workers.sessions.advance import advance_session

log = get_logger(__name__)

_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_OWN_SECONDS: Final = 8.0
_CONFLICT_SECONDS: Final = 0.5

# Five fields are minutes and up; a sixth, at the end, is seconds.
_EVERY_FEW_SECONDS: Final = "* * * * * */4"
_EVERY_MINUTE: Final = "* * * * *"
_EVERY_NIGHT: Final = "17 2 * * *"


class StageRetryStrategy(BaseRetryStrategy):
    """Retries a job until its stage returns without an error; no job is given up.

    The pause is the one that the stage asked for, or doubles with jitter: up to five minutes, or up to eight seconds after an error
    of our own database, disk or pool, where a longer pause helps no other system. A job that waits for quota comes back at the time
    for which the quota has reserved a slot.
    """

    def __init__(self, names: JobNames) -> None:
        """Create a strategy that names jobs in its log lines as `names` knows them."""
        self._names = names

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:
        """Decide when to run the job again."""
        pause, cause = _pause(exception, job.attempts), _cause(exception)
        if not isinstance(exception, RetryLater | QuotaExhausted | asyncio.CancelledError):
            # Endless retries need a log line: their cause may be a full disk, a lost database or a defect of ours.
            log.warning(
                "job_retried",
                task=job.task_name,
                job=job.id,
                attempt=job.attempts + 1,
                pause=round(pause, 1),
                error=repr(exception),
                **self._names.known(job.task_kwargs),
                **cause_fields(cause),
                exc_info=None if isinstance(cause, TryLater) else exception,
            )
        priority = exception.priority if isinstance(exception, RetryLater) else None
        return RetryDecision(
            retry_in={"milliseconds": int(1000 * pause)}, priority=priority, lock=_lock_of_its_own(exception, job)
        )


def _cause(exception: BaseException) -> BaseException:
    """Return the only exception in a group, or the exception itself."""
    while isinstance(exception, BaseExceptionGroup) and len(exception.exceptions) == 1:
        exception = exception.exceptions[0]
    return exception


def _is_our_outage(exception: BaseException) -> bool:
    """Return whether our own database, disk or pool is unavailable: that affects all jobs, and ends for all at once."""
    cause = _cause(exception)
    return isinstance(cause, TryLater) and cause.status == HTTPStatus.SERVICE_UNAVAILABLE


def _lock_of_its_own(exception: BaseException, job: Job) -> str | None:
    """Give an upload that cannot be read a lock of its own, so that the tenant's next uploads do not wait behind it for ever."""
    upload = job.task_kwargs.get("upload_id") if job.task_name == Task.READ_UPLOAD else None
    if upload is None or isinstance(exception, asyncio.CancelledError) or _is_our_outage(exception):
        return None
    return f"upload:{upload}"


def _pause(exception: BaseException, attempts: int) -> float:
    jitter = random.random()  # noqa: S311 - jitter, not a secret
    if isinstance(exception, asyncio.CancelledError):
        # The worker is being stopped: the next worker runs the job at once.
        return 0.0
    quota = exception if isinstance(exception, QuotaExhausted) else exception.__cause__
    if isinstance(quota, QuotaExhausted):
        return quota.wait_seconds + jitter / 2
    if isinstance(exception, RetryLater) and exception.exact:
        return exception.seconds + jitter / 2
    if isinstance(exception, RetryLater):
        return (
            doubling(exception.seconds, attempts, jitter) if exception.growing else exception.seconds * (1 + jitter / 5)
        )
    if isinstance(_cause(exception), TransactionConflict):
        # The other transaction goes on meanwhile; the jitter keeps both from meeting again.
        return _CONFLICT_SECONDS * (0.1 + jitter)
    pause = doubling(_FIRST_PAUSE_SECONDS, attempts, jitter)
    return min(pause, _LONGEST_OWN_SECONDS * (0.75 + jitter / 2)) if _is_our_outage(exception) else pause


def register(app: App, context: WorkerContext) -> None:
    """Bind every task to its stage."""
    names, store = context.names, context.store
    retry = StageRetryStrategy(names)

    @app.task(name=Task.READ_UPLOAD.value, queue=QUEUES[Task.READ_UPLOAD], retry=retry)
    async def read_upload(upload_id: str) -> None:
        async with names.logged(store, upload_id=upload_id):
            await intake.read_upload(context, UUID(upload_id))

    @app.task(name=Task.CHECK_SINGLES.value, queue=QUEUES[Task.CHECK_SINGLES], retry=retry)
    async def check_singles(tenant_id: int) -> None:
        async with names.logged(store, tenant_id=tenant_id):
            await singles.check_singles(context, tenant_id)

    @app.task(name=Task.SEAL_LANE.value, queue=QUEUES[Task.SEAL_LANE], retry=retry)
    async def seal_lane(lane_id: int) -> None:
        async with names.logged(store, lane_id=lane_id):
            await sealing.seal_lane(context, lane_id)

    @app.task(name=Task.PACK_SESSION.value, queue=QUEUES[Task.PACK_SESSION], retry=retry)
    async def pack_session(session_id: str) -> None:
        async with names.logged(store, session_id=session_id):
            await packing.pack_session(context, UUID(session_id))

    @app.task(name=Task.DISPATCH_SESSION.value, queue=QUEUES[Task.DISPATCH_SESSION], retry=retry)
    async def dispatch_session(session_id: str) -> None:
        async with names.logged(store, session_id=session_id):
            await advance_session(context, UUID(session_id))

    @app.task(name=Task.TRACK_SESSION.value, queue=QUEUES[Task.TRACK_SESSION], retry=retry)
    async def track_session(session_id: str) -> None:
        async with names.logged(store, session_id=session_id):
            await advance_session(context, UUID(session_id))

    @app.task(name=Task.FIND_ORIGINALS.value, queue=QUEUES[Task.FIND_ORIGINALS], retry=retry)
    async def search_for_originals(tenant_id: int) -> None:
        await find_originals(context, tenant_id)

    @app.task(name=Task.RECONCILE_TENANT.value, queue=QUEUES[Task.RECONCILE_TENANT], retry=retry)
    async def reconcile_tenant(tenant_id: int) -> None:
        await reconcile_due_tenant(context, tenant_id)

    @app.task(name=Task.REPLAY_EVENTS.value, queue=QUEUES[Task.REPLAY_EVENTS], retry=retry)
    async def replay_events(replay_id: str) -> None:
        async with names.logged(store, replay_id=replay_id):
            await replay.replay_events(context.store, context.clock, UUID(replay_id))

    @app.task(name=Task.DROP_BLOBS.value, queue=QUEUES[Task.DROP_BLOBS], retry=retry)
    async def drop_blobs(keys: list[str]) -> None:
        await maintenance.drop_blobs(context, keys)

    @app.periodic(cron=_EVERY_FEW_SECONDS)
    @app.task(name="maintenance.retry_stalled", queue="maintenance")
    async def retry_stalled(timestamp: int) -> None:
        await maintenance.retry_stalled(app)

    @app.periodic(cron=_EVERY_MINUTE)
    @app.task(name="maintenance.sweep", queue="maintenance")
    async def sweep(timestamp: int) -> None:
        await maintenance.sweep(context)

    @app.periodic(cron=_EVERY_MINUTE)
    @app.task(name="maintenance.check_ksef_health", queue="maintenance")
    async def check_ksef_health(timestamp: int) -> None:
        await outage.check_ksef_health(context)

    @app.periodic(cron=_EVERY_MINUTE)
    @app.task(name="maintenance.ask_permissions", queue="maintenance")
    async def ask_permissions(timestamp: int) -> None:
        await permissions.ask_permissions(context)

    @app.periodic(cron=_EVERY_NIGHT)
    @app.task(name="maintenance.expire", queue="maintenance")
    async def expire(timestamp: int) -> None:
        await maintenance.expire(context)
        await maintenance.remove_orphans(context)
