"""Packing: joins a session's ready entries to a package, cuts it into parts, encrypts and hashes them, in one pass.

The bytes of a package follow from its invoices alone. Each run makes a new key and IV, and only those of the run that commits are
stored. So a run that was killed leaves blobs without a key; maintenance removes them.
"""

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

import anyio.to_thread

from app.domain.ids import entry_name
from app.domain.sealing import is_of_today, is_rush
from app.domain.states import SessionState
from app.observability import metrics
from app.observability.logs import get_logger
from app.package.entries import PackageEntry
from app.package.limits import part_plain_bytes
from app.package.parts import SealedPackage, seal_parts
from app.package.targz_writer import targz_package
from app.package.zip_writer import zip_package
from app.store.blobs import BlobStore
from app.store.disk import Reserve
from app.store.jobs import Task
from app.store.sessions.packages import ChunkEntries
from workers.context import WorkerContext
from workers.priorities import opening_priority

log = get_logger(__name__)

_SPAN_BYTES: Final = 4_000_000
"""Bytes read from a chunk's blob at once."""


async def pack_session(context: WorkerContext, session_id: UUID) -> None:
    """Make and store the parts of a sealed session. Safe to run again at any time."""
    session = await context.store.sessions.get_for_job(session_id)
    if session.state is not SessionState.SEALED:
        return
    await context.store.disk.require(Reserve.PACKING)
    started = time.perf_counter()
    chunks = await context.store.packages.entries(session_id)
    invoices = sum(chunk.invoices for chunk in chunks)
    if invoices != session.invoices:
        raise RuntimeError(f"{session.public_id} was sealed with {session.invoices} invoices, its rows give {invoices}")
    key, iv = secrets.token_bytes(32), secrets.token_bytes(16)
    # Every run has a folder of its own, so that it cannot overwrite committed parts.
    folder = f"sessions/{session_id.hex}/{secrets.token_hex(4)}"
    package = await anyio.to_thread.run_sync(
        _build,
        context.store.blobs,
        chunks,
        session.compression,
        key,
        iv,
        part_plain_bytes(context.settings.part_bytes),
        folder,
    )
    async with context.store.database.transaction() as connection:
        committed = await context.store.packages.packed(
            connection,
            session_id,
            package_bytes=package.size,
            package_sha256=package.sha256,
            key=key,
            iv=iv,
            parts=[
                {
                    "ordinal_number": part.ordinal_number,
                    "plain_bytes": part.plain_size,
                    "bytes": part.size,
                    "sha256": part.sha256,
                    "blob_key": _part_key(folder, part.ordinal_number),
                }
                for part in package.parts
            ],
            now=context.clock(),
        )
        if committed:
            now = context.clock()
            urgent = is_rush(now) and is_of_today(session.latest_issue_date, offline_mode=session.offline_mode, now=now)
            await context.store.jobs.defer(
                Task.DISPATCH_SESSION,
                connection=connection,
                priority=await opening_priority(
                    context, connection, session.tenant_id, SessionState.PACKED, urgent=urgent
                ),
                session_id=str(session_id),
            )
    if not committed:
        keys = [_part_key(folder, part.ordinal_number) for part in package.parts]
        await context.store.blobs.delete(keys)
        return
    seconds = time.perf_counter() - started
    metrics.STAGE_SECONDS.labels(stage="pack").observe(seconds)
    log.info(
        "session_packed",
        session=session.public_id,
        invoices=invoices,
        bytes=package.size,
        parts=len(package.parts),
        seconds=round(seconds, 3),
    )


def _build(
    blobs: BlobStore,
    chunks: Sequence[ChunkEntries],
    compression: str,
    key: bytes,
    iv: bytes,
    part_bytes: int,
    folder: str,
) -> SealedPackage:
    entries = _entries(blobs, chunks)
    package = targz_package(entries) if compression == "targz" else zip_package(entries)
    return seal_parts(
        package,
        key=key,
        iv=iv,
        part_bytes=part_bytes,
        open_part=lambda number: blobs.blocking_writer(_part_key(folder, number)),
    )


def _entries(blobs: BlobStore, chunks: Sequence[ChunkEntries]) -> Iterator[PackageEntry]:
    for chunk in chunks:
        # A chunk's first id ends in zeros, where an invoice's has its position.
        prefix = entry_name(chunk.chunk_id).removesuffix("0000.xml")
        for start, span in _spans(chunk):
            end = span[-1][3] + span[-1][4]
            data = memoryview(blobs.read_blocking(chunk.blob_key, start=start, length=end - start))
            for position, crc32, size, offset, length in span:
                first = offset - start
                yield PackageEntry(f"{prefix}{position:04x}.xml", crc32, size, data[first : first + length])


def _spans(chunk: ChunkEntries) -> Iterator[tuple[int, list[tuple[int, int, int, int, int]]]]:
    """Group entries that follow each other in the blob, each group with its offset, so that each group is one read."""
    span: list[tuple[int, int, int, int, int]] = []
    start = end = 0
    for entry in chunk:
        offset, length = entry[3], entry[4]
        if span and (offset < end or offset + length - start > _SPAN_BYTES):
            yield start, span
            span = []
        if not span:
            start = offset
        span.append(entry)
        end = offset + length
    if span:
        yield start, span


def _part_key(folder: str, ordinal_number: int) -> str:
    return f"{folder}/part-{ordinal_number:02d}"
