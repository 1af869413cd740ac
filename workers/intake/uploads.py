"""Intake of uploads: reads a body entry by entry, and checks and commits it chunk by chunk.

Each committed chunk is a checkpoint. After a crash reading starts again at the first entry that is in no committed chunk. The blob of a
chunk that was written but not committed is removed at the end of the upload.
"""

import secrets
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectSendStream

from app.checking.check_chunk import ChunkOutcome, ChunkTask
from app.domain.ids import chunk_id
from app.errors import UnreadableUpload
from app.observability import metrics
from app.observability.logs import get_logger
from app.process.fair_slots import Slot
from app.reading.entry import RawEntry
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries
from app.store.blob_errors import BlobMissing
from app.store.blob_files import BlobFile
from app.store.disk import Reserve
from app.store.tenants.check_context import MAX_DOCUMENT_BYTES, document_limits
from app.store.tenants.tenants import Tenant
from app.store.uploads.chunks import CheckedChunk
from app.store.uploads.uploads import Upload
from workers.context import WorkerContext
from workers.intake.body_hash import verify_hash
from workers.intake.chunks import CHUNK_BYTES, CHUNK_ENTRIES, check_context, record_findings

log = get_logger(__name__)

_INFLATES_TO: Final = 8
"""Ratio of inflated to payload bytes that a chunk may have, so that no process is busy for long with one chunk."""

_SEALING_SHARE: Final = 0.25
_SEALING_SECONDS: Final = 2.0


class _SealingSchedule:
    """Decides when a lane that an upload fills gets a sealing job; after most chunks there would be nothing to seal.

    A lane gets one when a quarter of a session, or two seconds, has come since its last one; the end of the upload adds its own.
    """

    def __init__(self, enough: int, now: float) -> None:
        """Take the invoices that are `enough` for a job, and the time (seconds of any clock)."""
        self._enough = enough
        self._started = now
        self._queued: Counter[int] = Counter()
        self._last: dict[int, float] = {}

    def due_lanes(self, queued: Mapping[int, int], now: float) -> list[int]:
        """Count invoices that were queued by lane, and return the lanes that get a job now."""
        self._queued.update(queued)
        due = [
            lane
            for lane, count in self._queued.items()
            if count >= self._enough or now - self._last.get(lane, self._started) >= _SEALING_SECONDS
        ]
        for lane in due:
            del self._queued[lane]
            self._last[lane] = now
        return due


@dataclass(slots=True)
class _Pending:
    """A chunk that is being checked by the pool."""

    first_entry: int
    entries: tuple[RawEntry, ...]
    id: UUID
    done: anyio.Event
    outcome: ChunkOutcome | None = None


async def read_upload(context: WorkerContext, upload_id: UUID) -> None:
    """Read an upload to its end, from the last committed chunk on. Safe to run again at any time."""
    upload = await context.store.uploads.start_reading_for_job(upload_id)
    if upload is None or (upload.blob_key is None and not upload.segmented):
        return
    tenant = await context.store.tenants.get(upload.tenant_id)
    errors: list[dict[str, Any]] = []
    started = anyio.current_time()
    try:
        source = await _open(context, upload)
    except BlobMissing:
        log.exception("upload_body_missing", upload=upload.public_id)
        raise
    try:
        if upload.segmented:
            upload = await verify_hash(context, upload, source)
        await _read(context, upload, tenant, source)
    except* UnreadableUpload as group:
        error = next(_leaves(group))
        errors = error.errors or [{"code": error.code, "message": error.detail}]
    finally:
        await anyio.to_thread.run_sync(source.close)
    await _remove_orphans(context, upload)
    await context.store.chunks.finish_upload(upload, errors=errors, now=context.clock())
    metrics.STAGE_SECONDS.labels(stage="read").observe(anyio.current_time() - started)
    if upload.flush:
        await context.store.tenants.request_flush(upload.tenant_id, now=context.clock(), by_upload=True)
    for lane_id in await context.store.chunks.lanes_of_for_job(upload.id):
        await context.seal_soon(lane_id)
    log.info("upload_read", upload=upload.public_id, errors=len(errors))


async def _open(context: WorkerContext, upload: Upload) -> BlobFile:
    if upload.blob_key is None:
        return context.store.blobs.open_joined_blocking(await context.store.resumable.segments_for_job(upload.id))
    return await anyio.to_thread.run_sync(context.store.blobs.open_blocking, upload.blob_key)


async def _read(context: WorkerContext, upload: Upload, tenant: Tenant, source: BlobFile) -> None:
    known = (await context.quota.limits_of(tenant.id)).context
    entries = read_entries(
        BodyKind(upload.kind),
        source,
        size=upload.size,
        limits=ReadingLimits(max_document_bytes=max(MAX_DOCUMENT_BYTES, *document_limits(known))),
        boundary=upload.boundary,
        start_index=upload.next_entry,
        gzip_coded=upload.content_encoding is not None,
    )
    # The stream holds enough chunks to keep the pool busy while one chunk is being stored.
    send, receive = anyio.create_memory_object_stream[_Pending](max_buffer_size=context.pool.workers)
    unreadable: list[UnreadableUpload] = []
    # Memory slots of chunks in flight; released on error.
    slots: deque[Slot] = deque()
    sealing = _SealingSchedule(int(context.settings.session_max_invoices * _SEALING_SHARE), anyio.current_time())
    lanes: dict[str, int] = {}
    try:
        async with anyio.create_task_group() as tasks, receive:
            tasks.start_soon(_feed, context, upload, tenant, entries, send, unreadable, slots)
            async for pending in receive:
                await pending.done.wait()
                queued = await _store(context, upload, tenant, lanes, pending)
                for lane_id in sealing.due_lanes(queued, anyio.current_time()):
                    if not upload.atomic:
                        await context.seal_soon(lane_id)
                slots.popleft().release()
    finally:
        for slot in slots:
            slot.release()
    if unreadable:
        # Raised after the chunks that were read before the fault are stored.
        raise ExceptionGroup("the upload cannot be read to its end", unreadable)


async def _feed(
    context: WorkerContext,
    upload: Upload,
    tenant: Tenant,
    entries: Iterator[RawEntry],
    send: MemoryObjectSendStream[_Pending],
    unreadable: list[UnreadableUpload],
    slots: deque[Slot],
) -> None:
    chunks = _chunks(entries, unreadable)
    made_at = 0
    async with send, anyio.create_task_group() as tasks:
        while True:
            slots.append(await context.chunk_slots.acquire(upload.tenant_id))
            chunk = await anyio.to_thread.run_sync(next, chunks, None)
            if chunk is None:
                break
            # Each chunk gets a millisecond of its own, so that ids are in the order of the upload.
            made_at = max(made_at + 1, int(context.clock().timestamp() * 1000))
            pending = _Pending(
                first_entry=chunk[0].index,
                entries=chunk,
                id=chunk_id(made_at, secrets.token_bytes(10)),
                done=anyio.Event(),
            )
            tasks.start_soon(_check, context, upload, tenant, pending)
            await send.send(pending)


def _chunks(entries: Iterator[RawEntry], unreadable: list[UnreadableUpload]) -> Iterator[tuple[RawEntry, ...]]:
    """Group entries into chunks. A fault of the whole body ends the chunks and is added to `unreadable`."""
    chunk: list[RawEntry] = []
    size = 0
    try:
        for entry in entries:
            weight = max(len(entry.payload), (entry.size or 0) // _INFLATES_TO)
            if chunk and (len(chunk) >= CHUNK_ENTRIES or size + weight > CHUNK_BYTES):
                yield tuple(chunk)
                chunk, size = [], 0
            chunk.append(entry)
            size += weight
    except UnreadableUpload as error:
        unreadable.append(error)
    if chunk:
        yield tuple(chunk)


async def _check(context: WorkerContext, upload: Upload, tenant: Tenant, pending: _Pending) -> None:
    pending.outcome = await context.pool.check(
        ChunkTask(
            tenant_id=upload.tenant_id,
            upload_ids=(upload.id,),
            chunk_id=pending.id,
            entries=pending.entries,
            context=await check_context(context, tenant),
            now=context.clock(),
        )
    )
    pending.done.set()


async def _store(
    context: WorkerContext, upload: Upload, tenant: Tenant, lanes: dict[str, int], pending: _Pending
) -> dict[int, int]:
    """Store and commit checked entries; returns how many of their invoices wait for a session now, by lane.

    `lanes` has the lane of each form that the upload had so far, and gets those of new forms.
    """
    await context.store.disk.require(Reserve.READING)
    outcome = pending.outcome
    if outcome is None:
        raise RuntimeError("a chunk was announced as checked without an outcome")
    started = anyio.current_time()
    chunks: list[CheckedChunk] = []
    for form in outcome.forms:
        if form.form_code not in lanes:
            lanes[form.form_code] = await context.store.tenants.ensure_lane(
                tenant, form_code=form.form_code, offline_mode=upload.offline_mode
            )
        # Each run has names of its own, so that a late second run of this job cannot overwrite committed blobs.
        blob_key = f"chunks/{upload.id.hex}/{form.chunk_id.hex}"
        await context.store.blobs.put(blob_key, form.blob)
        chunks.append(
            CheckedChunk(
                id=form.chunk_id,
                lane_id=lanes[form.form_code],
                first_entry=form.first_entry,
                blob_key=blob_key,
                rows=form.rows,
                queued=form.valid,
                ready_bytes=form.valid_bytes,
                invalid=form.invalid,
                latest_issue_date=form.latest_issue_date,
            )
        )
    queued = await context.store.chunks.commit(
        upload, chunks, next_entry=pending.entries[-1].index + 1, now=context.clock()
    )
    if queued is None:
        await context.store.blobs.delete([chunk.blob_key for chunk in chunks])
        return {}
    metrics.STAGE_SECONDS.labels(stage="commit").observe(anyio.current_time() - started)
    await record_findings(context, upload.tenant_id, outcome)
    return queued


async def _remove_orphans(context: WorkerContext, upload: Upload) -> None:
    known = await context.store.chunks.blob_keys_for_job(upload.id)
    orphans = [key async for key in context.store.blobs.list_keys(f"chunks/{upload.id.hex}") if key not in known]
    await context.store.blobs.delete(orphans)


def _leaves(group: BaseExceptionGroup[UnreadableUpload]) -> Iterator[UnreadableUpload]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
