"""Packing: a session's ready entries are spliced into a package, cut into parts, encrypted and hashed, in one pass.

The bytes of a package follow from its invoices alone. Key and IV are made anew by each run and only those of the run that
commits are kept, so a run that was killed leaves blobs that nobody can read; they are removed with the session.
"""

import secrets
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import anyio.to_thread
import structlog

from app import metrics
from app.domain.ids import entry_name
from app.domain.states import SessionState
from app.package.entries import PackageEntry
from app.package.parts import SealedPackage, seal_parts
from app.package.targz_writer import targz_package
from app.package.zip_writer import zip_package
from app.store.blobs import BlobStore
from app.store.disk import Reserve
from app.store.jobs import Task
from workers.context import WorkerContext
from workers.midnight import job_priority
from workers.sealing import part_plain_bytes, turn_of

log = structlog.get_logger(__name__)

_SPAN_BYTES: Final = 4_000_000
"""Bytes read from a chunk's blob at once."""


async def pack_session(context: WorkerContext, session_id: UUID) -> None:
    """Make the parts of a sealed session. Safe to run again at any time."""
    session = await context.store.sessions.get_for_job(session_id)
    if session.state is not SessionState.SEALED:
        return
    await context.store.disk.require(Reserve.PACKING)
    started = time.perf_counter()
    rows = await context.store.packages.entries(session_id)
    if len(rows) != session.invoices:
        raise RuntimeError(
            f"{session.public_id} was sealed with {session.invoices} invoices, its rows give {len(rows)}"
        )
    key, iv = secrets.token_bytes(32), secrets.token_bytes(16)
    # A folder of its own for every run: the parts that are committed can never be overwritten.
    folder = f"sessions/{session_id.hex}/{secrets.token_hex(4)}"
    package = await anyio.to_thread.run_sync(
        _build, context.store.blobs, rows, session.compression, key, iv, part_plain_bytes(context.settings), folder
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
            await context.store.jobs.defer(
                Task.DISPATCH_SESSION,
                connection=connection,
                priority=job_priority(session, context.clock())
                or await turn_of(context, connection, session.tenant_id, SessionState.PACKED),
                session_id=str(session_id),
            )
    if not committed:
        keys = [_part_key(folder, part.ordinal_number) for part in package.parts]
        await context.store.blobs.delete(keys)
        return
    seconds = time.perf_counter() - started
    metrics.STAGE_SECONDS.labels(stage="pack").observe(seconds)
    log.info(
        "session packed",
        session=session.public_id,
        invoices=len(rows),
        bytes=package.size,
        parts=len(package.parts),
        seconds=round(seconds, 3),
    )


def _build(
    blobs: BlobStore,
    rows: Sequence[dict[str, Any]],
    compression: str,
    key: bytes,
    iv: bytes,
    part_bytes: int,
    folder: str,
) -> SealedPackage:
    entries = _entries(blobs, rows)
    package = targz_package(entries) if compression == "targz" else zip_package(entries)
    return seal_parts(
        package,
        key=key,
        iv=iv,
        part_bytes=part_bytes,
        open_part=lambda number: blobs.blocking_writer(_part_key(folder, number)),
    )


def _entries(blobs: BlobStore, rows: Sequence[dict[str, Any]]) -> Iterator[PackageEntry]:
    for span in _spans(rows):
        start = span[0]["blob_offset"]
        end = span[-1]["blob_offset"] + span[-1]["blob_bytes"]
        data = memoryview(blobs.read_blocking(span[0]["blob_key"], start=start, length=end - start))
        for row in span:
            first = row["blob_offset"] - start
            yield PackageEntry(
                entry_name(row["id"]), row["crc32"], row["size"], data[first : first + row["blob_bytes"]]
            )


def _spans(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Group entries that lie one behind the other in the same blob, so that each group is one read."""
    span: list[dict[str, Any]] = []
    for row in rows:
        if span and (
            row["blob_key"] != span[0]["blob_key"]
            or row["blob_offset"] < span[-1]["blob_offset"]
            or row["blob_offset"] + row["blob_bytes"] - span[0]["blob_offset"] > _SPAN_BYTES
        ):
            yield span
            span = []
        span.append(row)
    if span:
        yield span


def _part_key(folder: str, ordinal_number: int) -> str:
    return f"{folder}/part-{ordinal_number:02d}"
