"""Resumable uploads (tus): their durable offset, the request that may add bytes, and their end as ordinary uploads.

Each piece is a blob of its own, a segment. Its row and the new offset are committed together, so an offset that was
acknowledged is durable, in whichever process it was received.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from psycopg.errors import UniqueViolation

from app.domain.ids import public_id
from app.errors import Conflict, IdempotencyKeyReused, NotFound, RequestError, TryLater
from app.store.blob_files import Segment
from app.store.database import Connection, Database, queries
from app.store.jobs import JobQueue, Task
from app.store.uploads.uploads import Upload, UploadStore, upload_from_row

_SQL: Final = queries("resumable")

KEPT_FOR: Final = timedelta(hours=24)
"""How long an unfinished upload waits for its next byte."""

MAX_UNFINISHED: Final = 1_000
"""Most unfinished uploads of one tenant; each is a row, and keeps its bytes for a day."""

_KEYS_A_JOB: Final = 500


class UploadNotFinished(Conflict):
    """The upload has not arrived whole yet; it becomes one with invoices when its last byte is here."""

    code = "upload-not-finished"
    title = "Upload not finished"


class WrongOffset(Conflict):
    """The bytes do not begin where those that are durable end; ask for the offset again."""

    code = "wrong-offset"
    title = "Wrong offset"


class TooManyUnfinished(TryLater):
    """The tenant has too many unfinished uploads; finish or end some, or wait until they expire."""

    status = 429
    code = "too-many-unfinished-uploads"
    title = "Too many unfinished uploads"
    retry_after_seconds = 3600


@dataclass(frozen=True, slots=True)
class NewUnfinished:
    """An announced upload. `size` is None when its length is announced later (`Upload-Defer-Length`)."""

    id: UUID
    tenant_id: int
    kind: str
    boundary: str | None
    size: int | None
    declared_sha256: bytes | None
    metadata: str | None
    filename: str | None
    reference: str | None
    idempotency_key: str | None
    offline_mode: bool
    flush: bool
    atomic: bool


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload of which `offset` bytes are durable."""

    id: UUID
    tenant_id: int
    kind: str
    boundary: str | None
    size: int | None
    offset: int
    declared_sha256: bytes | None
    metadata: str | None
    filename: str | None
    reference: str | None
    offline_mode: bool
    flush: bool
    atomic: bool
    created_at: datetime
    expires_at: datetime

    @property
    def public_id(self) -> str:
        """The id that users see; the upload that it becomes has the same."""
        return public_id("upl", self.id)


class ResumableStore:
    """Rows of unfinished uploads and of the segments of uploads."""

    def __init__(self, database: Database, jobs: JobQueue, uploads: UploadStore) -> None:
        self._database = database
        self._jobs = jobs
        self._uploads = uploads

    async def create(self, new: NewUnfinished, *, now: datetime) -> tuple[Unfinished | Upload, bool]:
        """Announce an upload. Returns it and whether it is new.

        With an Idempotency-Key that announced the same before, the result is that upload, unfinished or complete.
        Raises IdempotencyKeyReused when it was used for something else, TooManyUnfinished.
        """
        earlier = await self._by_key(new)
        if earlier is not None:
            return earlier, False
        count = await self._database.fetch_one(_SQL["count_unfinished"], {"tenant_id": new.tenant_id})
        if count is not None and count["unfinished"] >= MAX_UNFINISHED:
            raise TooManyUnfinished(f"{count['unfinished']} uploads are unfinished; finish or end some first")
        row = await self._database.fetch_one(
            _SQL["add_unfinished"],
            {name: getattr(new, name) for name in NewUnfinished.__dataclass_fields__}
            | {"bytes": new.size, "now": now, "expires_at": now + KEPT_FOR},
        )
        if row is not None:
            return _from_row(row), True
        # The same key arrived twice at the same moment; the other request was first.
        earlier = await self._by_key(new)
        if earlier is None:
            raise TryLater("the upload of this Idempotency-Key ended at this moment; announce it again")
        return earlier, False

    async def get(self, tenant_id: int, upload_id: UUID) -> Unfinished | Upload:
        """Give an unfinished upload, or the upload that it became. Raises NotFound."""
        row = await self._database.fetch_one(_SQL["get_unfinished"], {"tenant_id": tenant_id, "id": upload_id})
        if row is not None:
            return _from_row(row)
        upload = await self._uploads.get(tenant_id, upload_id)
        if not upload.segmented:
            raise NotFound(f"there is no resumable upload {upload.public_id}")
        return upload

    async def refuse_unfinished(self, tenant_id: int, upload_id: UUID) -> None:
        """Raise UploadNotFinished when this is one that has not arrived whole."""
        row = await self._database.fetch_one(_SQL["get_unfinished"], {"tenant_id": tenant_id, "id": upload_id})
        if row is not None:
            whole = f" of {row['bytes']}" if row["bytes"] is not None else ""
            raise UploadNotFinished(
                f"{row['received']}{whole} bytes of {public_id('upl', upload_id)} have arrived; "
                f"see /v1/uploads/resumable/{public_id('upl', upload_id)}"
            )

    async def page(self, tenant_id: int, *, before: UUID | None, limit: int) -> list[Unfinished]:
        """Give a tenant's unfinished uploads, newest first, older than `before`."""
        rows = await self._database.fetch_all(
            _SQL["list_unfinished"], {"tenant_id": tenant_id, "before": before, "limit": limit}
        )
        return [_from_row(row) for row in rows]

    async def begin(
        self, tenant_id: int, upload_id: UUID, *, offset: int, size: int | None, writer: UUID
    ) -> Unfinished:
        """Make a request the writer of an upload, in place of any other. `size` is the length, if it was not announced before.

        Raises NotFound; WrongOffset when other bytes are durable; RequestError when the length is wrong or known otherwise.
        """
        if size is not None and size < max(offset, 1):
            raise RequestError(f"Upload-Length {size} is less than has arrived already")
        row = await self._database.fetch_one(
            _SQL["begin_writing"],
            {"tenant_id": tenant_id, "id": upload_id, "offset": offset, "bytes": size, "writer": writer},
        )
        if row is None:
            found = await self.get(tenant_id, upload_id)
            at = found.size if isinstance(found, Upload) else found.offset
            raise WrongOffset(f"{at} bytes of {found.public_id} are durable, so the next one is not at {offset}")
        if size is not None and row["bytes"] != size:
            raise RequestError(f"the length was given before, as {row['bytes']} bytes")
        return _from_row(row)

    async def add(
        self, upload: Unfinished, segment: Segment | None, *, writer: UUID, now: datetime
    ) -> Unfinished | Upload:
        """Commit a durable segment and the offset behind it; the last one makes it an upload with its job.

        With None it only finishes an upload whose bytes are all here. Raises WrongOffset when another request has become
        the writer or has moved the offset: no row refers to the segment then. Raises NotFound when the upload is gone.
        """
        try:
            return await self._add(upload, segment, writer=writer, now=now, keep_key=True)
        except UniqueViolation:
            # An ordinary upload took the Idempotency-Key while this one was arriving.
            return await self._add(upload, segment, writer=writer, now=now, keep_key=False)

    async def _add(
        self, upload: Unfinished, segment: Segment | None, *, writer: UUID, now: datetime, keep_key: bool
    ) -> Unfinished | Upload:
        ids = {"id": upload.id, "tenant_id": upload.tenant_id, "writer": writer}
        end = upload.offset + (segment.size if segment else 0)
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                _SQL["advance"], ids | {"start": upload.offset, "end": end, "expires_at": now + KEPT_FOR}
            )
            row = await cursor.fetchone()
            if row is not None and segment is not None:
                await connection.execute(
                    _SQL["add_segment"],
                    {"id": upload.id, "start": upload.offset, "bytes": segment.size, "blob_key": segment.blob_key},
                )
            if row is not None and end == row["bytes"]:
                return await self._finish(connection, upload.id, now=now, keep_key=keep_key)
        if row is not None:
            return _from_row(row)
        await self.get(upload.tenant_id, upload.id)
        raise WrongOffset("another request has gone on with this upload; ask for the offset again")

    async def _finish(self, connection: Connection, upload_id: UUID, *, now: datetime, keep_key: bool) -> Upload:
        cursor = await connection.execute(_SQL["finish"], {"id": upload_id, "now": now, "keep_key": keep_key})
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - the row was updated a moment ago in this transaction
        await self._uploads.read_soon_for_job(connection, upload_id)
        return upload_from_row(row)

    async def segments_for_job(self, upload_id: UUID) -> list[Segment]:
        """Give the segments of an upload in their order."""
        return [_segment(row) for row in await self._database.fetch_all(_SQL["segments"], {"id": upload_id})]

    async def last_segments(self, tenant_id: int, upload_id: UUID, *, limit: int) -> list[Segment]:
        """Return the last segments of a tenant's unfinished upload in their order."""
        rows = await self._database.fetch_all(
            _SQL["last_segments"], {"tenant_id": tenant_id, "id": upload_id, "limit": limit}
        )
        return [_segment(row) for row in reversed(rows)]

    async def replace(
        self, tenant_id: int, upload_id: UUID, old: Sequence[Segment], blob_key: str, *, writer: UUID
    ) -> None:
        """Put one durable blob in the place of neighbouring segments; their blobs are removed later.

        Raises WrongOffset, with nothing changed, when another request has become the writer: no row refers to the blob then.
        """
        async with self._database.transaction() as connection:
            parameters = {"tenant_id": tenant_id, "id": upload_id, "writer": writer}
            cursor = await connection.execute(_SQL["lock_unfinished"], parameters)
            if await cursor.fetchone() is None:
                raise WrongOffset("another request has gone on with this upload")
            keys = [segment.blob_key for segment in old]
            cursor = await connection.execute(_SQL["drop_joined"], {"id": upload_id, "keys": keys})
            if cursor.rowcount != len(keys):
                raise WrongOffset("these segments have been joined already")
            await connection.execute(
                _SQL["add_segment"],
                {
                    "id": upload_id,
                    "start": old[0].start,
                    "bytes": sum(segment.size for segment in old),
                    "blob_key": blob_key,
                },
            )
            await drop_later(self._jobs, connection, keys)

    async def remove(self, tenant_id: int, upload_id: UUID) -> None:
        """End an unfinished upload and remove its bytes. Raises NotFound, and Conflict for one that is complete."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(_SQL["drop_unfinished"], {"tenant_id": tenant_id, "id": upload_id})
            if await cursor.fetchone() is not None:
                await forget_segments(self._jobs, connection, upload_id)
                return
        upload = await self.get(tenant_id, upload_id)
        raise Conflict(f"{upload.public_id} is complete: its invoices are on their way")

    async def expire_for_job(self, *, now: datetime) -> int:
        """End the unfinished uploads that got no byte for a day; return how many. Safe to run at any time."""
        expired = 0
        while True:
            async with self._database.transaction() as connection:
                cursor = await connection.execute(_SQL["drop_expired"], {"now": now})
                gone = [row["id"] for row in await cursor.fetchall()]
                for upload_id in gone:
                    await forget_segments(self._jobs, connection, upload_id)
            if not gone:
                return expired
            expired += len(gone)

    async def _by_key(self, new: NewUnfinished) -> Unfinished | Upload | None:
        if new.idempotency_key is None:
            return None
        key = {"tenant_id": new.tenant_id, "idempotency_key": new.idempotency_key}
        row = await self._database.fetch_one(_SQL["unfinished_by_key"], key)
        finished = None if row is not None else await self._uploads.with_key(new.tenant_id, new.idempotency_key)
        if row is None and finished is None:
            return None
        known: Unfinished | Upload = _from_row(row) if row is not None else _some(finished)
        if isinstance(known, Upload) and not known.segmented:
            raise IdempotencyKeyReused(
                f"Idempotency-Key {new.idempotency_key[:64]!r} was used for an upload in one piece"
            )
        if _meaning(known) != _meaning(new) or (None not in {known.size, new.size} and known.size != new.size):
            raise IdempotencyKeyReused(
                f"Idempotency-Key {new.idempotency_key[:64]!r} was used for another body or with other parameters"
            )
        return known


async def forget_segments(jobs: JobQueue, connection: Connection, upload_id: UUID) -> None:
    """Remove the segments of an upload in this transaction, and their blobs after it."""
    cursor = await connection.execute(_SQL["drop_segments"], {"id": upload_id})
    await drop_later(jobs, connection, [row["blob_key"] for row in await cursor.fetchall()])


async def drop_later(jobs: JobQueue, connection: Connection, keys: Sequence[str]) -> None:
    """Have blobs removed after the commit of this transaction, a few hundred a job."""
    for first in range(0, len(keys), _KEYS_A_JOB):
        await jobs.defer(Task.DROP_BLOBS, connection=connection, keys=list(keys[first : first + _KEYS_A_JOB]))


def _meaning(upload: Unfinished | Upload | NewUnfinished) -> tuple[object, ...]:
    """Return the parameters that two requests under one key must have in common."""
    return (
        upload.kind,
        upload.boundary,
        upload.declared_sha256,
        upload.offline_mode,
        upload.flush,
        upload.atomic,
    )


def _some(upload: Upload | None) -> Upload:
    assert upload is not None  # noqa: S101 - the caller has made sure of it
    return upload


def _segment(row: Mapping[str, Any]) -> Segment:
    return Segment(row["start"], row["bytes"], row["blob_key"])


def _from_row(row: Mapping[str, Any]) -> Unfinished:
    return Unfinished(
        id=row["id"],
        tenant_id=row["tenant_id"],
        kind=row["kind"],
        boundary=row["boundary"],
        size=row["bytes"],
        offset=row["received"],
        declared_sha256=bytes(row["declared_sha256"]) if row["declared_sha256"] is not None else None,
        metadata=row["metadata"],
        filename=row["filename"],
        reference=row["reference"],
        offline_mode=row["offline_mode"],
        flush=row["flush"],
        atomic=row["atomic"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )
