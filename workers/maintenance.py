"""Maintenance: enqueues missing jobs and jobs of dead workers, and deletes expired data.

Each row that waits for a stage has a job. If a process died between a commit and the job that was to follow it, the sweep finds the row
without a job and enqueues one.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from procrastinate import App

from app.domain.ids import public_id
from app.domain.states import SessionState
from app.domain.warsaw import warsaw_day
from app.observability.logs import get_logger
from app.store.database import Connection
from app.store.jobs import Priority, Task
from app.store.sessions.settlements import UNRESOLVED_AFTER
from app.store.uploads.uploads import REPEAT_WINDOW
from workers.context import WorkerContext
from workers.job_names import public_names
from workers.lane_due import due_of
from workers.priorities import PRIORITIES

log = get_logger(__name__)

HEARTBEAT_SECONDS: Final = 2.0
STALLED_AFTER_SECONDS: Final = 8.0
"""A worker without heartbeats for this long counts as dead: four heartbeats."""

_ORPHAN_AGE: Final = timedelta(days=1)
_ORPHANS_AT_ONCE: Final = 1_000
_BLOB_PREFIXES: Final = ("uploads", "singles", "chunks", "sessions", "upo", "health")

_STAGE_OF: Final[Mapping[SessionState, Task]] = {
    SessionState.SEALED: Task.PACK_SESSION,
    SessionState.PACKED: Task.DISPATCH_SESSION,
    SessionState.OPENING: Task.DISPATCH_SESSION,
    SessionState.OPEN: Task.DISPATCH_SESSION,
    SessionState.CLOSING: Task.DISPATCH_SESSION,
    SessionState.PROCESSING: Task.TRACK_SESSION,
}


async def retry_stalled(app: App) -> int:
    """Run again the jobs whose worker stopped sending heartbeats; return their number."""
    stalled = list(await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_AFTER_SECONDS))
    for job in stalled:
        log.warning("stalled_job_requeued", task=job.task_name, job=job.id, **public_names(job.task_kwargs))
        await app.job_manager.retry_job(job)
    return len(stalled)


async def sweep(context: WorkerContext) -> None:
    """Enqueue the missing job of each row that waits for a stage. Safe to run at any time, by any number of workers."""
    now = context.clock()
    await context.store.invoices.add_up_totals_for_job()
    if expired := await context.store.resumable.expire_for_job(now=now):
        log.info("unfinished_uploads_expired", uploads=expired)
    orphans: list[tuple[Task, Priority, dict[str, Any]]] = []
    jobs = context.store.jobs
    async with context.store.database.connection() as connection:
        for tenant_id in await context.store.singles.tenants_with_unchecked_singles_for_job():
            await context.store.singles.check_singles_soon(connection, tenant_id)
        await start_reconciliations(context, connection)
        overdue = now - UNRESOLVED_AFTER
        for tenant_id in await context.store.duplicates.tenants_with_due_for_job(now=now, overdue=overdue):
            await jobs.find_originals_soon(connection, tenant_id)
        waiting = await jobs.arguments_of_waiting(connection)
        for lane, backlog in await context.store.sealing.lanes_with_backlog(connection, today=warsaw_day(now)):
            # A lane that is not due yet needs no job now if one waits: that job runs when the lane is due.
            if (Task.SEAL_LANE, str(lane["id"])) not in waiting or await due_of(context, lane, backlog, now=now) <= now:
                await jobs.seal_soon(connection, lane["id"])
        for upload_id in await context.store.uploads.unread_for_job():
            if (Task.READ_UPLOAD, str(upload_id)) not in waiting:
                log.warning("job_missing", task=Task.READ_UPLOAD.value, upload=public_id("upl", upload_id))
                name = f"{Task.READ_UPLOAD.value}:{upload_id}"
                await context.store.uploads.read_soon_for_job(connection, upload_id, once=name)
        for session_id, state in await context.store.sessions.unfinished_for_job():
            task = _STAGE_OF[state]
            if (task, str(session_id)) not in waiting:
                orphans.append((task, PRIORITIES.get(state, Priority.OPEN), {"session_id": str(session_id)}))
        orphans += [
            (Task.REPLAY_EVENTS, Priority.OPEN, {"replay_id": str(replay_id)})
            for replay_id in await context.store.replays.running_for_job()
            if (Task.REPLAY_EVENTS, str(replay_id)) not in waiting
        ]
        for task, priority, arguments in orphans:
            log.warning("job_missing", task=task.value, **public_names(arguments))
            name = f"{task.value}:{next(iter(arguments.values()))}"
            await jobs.defer(task, connection=connection, once=name, priority=priority, **arguments)


async def start_reconciliations(context: WorkerContext, connection: Connection) -> None:
    """Enqueue the job of each tenant whose records are to be reconciled with KSeF, as after a restore."""
    for tenant_id in await context.store.reconciling.tenants_for_job():
        await context.store.jobs.reconcile_soon(connection, tenant_id)


async def remove_orphans(context: WorkerContext) -> int:
    """Remove blobs that no row refers to, which a killed process wrote and never committed; return their number.

    Uploads of blobs that a killed process began and did not complete are ended, too.

    Only blobs of more than a day are removed: a younger one may belong to a transaction that is about to commit.
    """
    before, removed = context.clock() - _ORPHAN_AGE, 0
    for prefix in _BLOB_PREFIXES:
        found: list[str] = []
        async for key in context.store.blobs.list_keys(prefix, older_than=before):
            found.append(key)
            if len(found) == _ORPHANS_AT_ONCE:
                removed += await _remove_unknown(context, found)
                found = []
        removed += await _remove_unknown(context, found)
    if removed:
        log.info("orphaned_blobs_removed", blobs=removed)
    if ended := await context.store.blobs.end_unfinished(older_than=before):
        log.info("unfinished_blobs_ended", blobs=ended)
    return removed


async def _remove_unknown(context: WorkerContext, keys: list[str]) -> int:
    unknown = await context.store.uploads.unknown_blobs_for_job(keys)
    await context.store.blobs.delete(unknown)
    return len(unknown)


async def drop_blobs(context: WorkerContext, keys: Sequence[str]) -> None:
    """Remove blobs that no row refers to any more."""
    await context.store.blobs.delete(list(keys))


async def expire(context: WorkerContext) -> None:
    """Delete data older than the retention: bytes of finished uploads, events and deliveries.

    Rows and receipts stay, but for the `uploads` rows of groups of single posts: their number grows with every few milliseconds of posting,
    and clients know the invoices by their own ids.
    """
    now = context.clock()
    await context.store.uploads.forget_idempotency_keys_for_job(before=now - REPEAT_WINDOW)
    await context.store.singles.forget_single_keys_for_job(before=now - REPEAT_WINDOW)
    before = now - timedelta(days=context.settings.retention_days)
    expired = 0
    while upload_ids := await context.store.uploads.expired_for_job(before=before):
        await context.store.blobs.delete(sorted(await context.store.chunks.unshared_blob_keys_for_job(upload_ids)))
        await context.store.uploads.mark_expired_for_job(upload_ids, now=now)
        expired += len(upload_ids)
    groups = await context.store.uploads.remove_expired_groups_for_job()
    if expired or groups:
        log.info("upload_bytes_expired", uploads=expired, groups_removed=groups, before=before.isoformat())
    removed = await context.store.deliveries.remove_old_for_job(before=before)
    if removed:
        log.info("events_expired", events=removed, before=before.isoformat())
