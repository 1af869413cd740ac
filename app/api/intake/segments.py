"""Adds the bytes of one request to an upload that is sent in pieces.

A long request is divided into segments that are committed one by one, so that a crash loses only the last one. The bytes of an
interrupted request are kept. Small segments are joined, so that an upload has at most a few thousand.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID, uuid4

import anyio
from starlette.requests import ClientDisconnect, Request

from app.api.http.errors import BodyTooSlow
from app.api.intake.arrival import Arrival, pieces
from app.api.intake.request_body import too_large
from app.api.intake.tus import Checksum
from app.clock import Clock
from app.errors import DispatchError, RequestError, TryLater
from app.observability.logs import get_logger
from app.store.blob_files import Segment
from app.store.blob_writers import BlobWriter
from app.store.store import Store
from app.store.uploads.resumable import Unfinished
from app.store.uploads.uploads import Upload

SEGMENT_BYTES: Final = 64_000_000
"""Bytes after which a segment is committed: many enough that syncs cost little, few enough to be sent again."""

SMALL_BYTES: Final = 1 << 23
"""Smaller segments are joined with their neighbours."""

JOIN_SEGMENTS: Final = 16

_CLEANUP_SECONDS: Final = 10.0

log = get_logger(__name__)


class SegmentTaker:
    """Adds one request's bytes. `upload` is the committed state: after the last byte, a complete upload."""

    def __init__(self, store: Store, clock: Clock, upload: Unfinished, writer: UUID, *, limit: int) -> None:
        """Start at the upload's offset. `writer` is from `ResumableStore.begin`; `limit` applies to an upload of unknown length."""
        self.upload: Unfinished | Upload = upload
        self._store = store
        self._clock = clock
        self._writer = writer
        self._offset = upload.offset
        self._end = upload.size if upload.size is not None else limit
        self._blob: BlobWriter | None = None
        self._pending = 0

    async def take(self, request: Request, arrival: Arrival, checksums: Sequence[Checksum]) -> None:
        """Make the request's bytes durable and move the offset.

        With checksums no byte is kept before the whole request is verified. Raises BodyTooLarge for bytes
        beyond the upload's length, ChecksumMismatch, WrongOffset when another request has become the writer, SpoolFull,
        BodyTooSlow and BlobStoreUnavailable; ClientDisconnect when the client disconnects.
        """
        stream = pieces(request, arrival)
        keep = not checksums
        size = 0
        try:
            while (piece := await self._next(stream, arrival, size, keep=keep)) is not None:
                size += len(piece)
                if self._offset + self._pending + len(piece) > self._end:
                    raise too_large(self._end)
                for checksum in checksums:
                    checksum.update(piece)
                await self._write(piece)
                # The last segment is committed at the end of the request: a request with too many bytes must not complete the upload.
                if keep and self._pending >= SEGMENT_BYTES and self._offset + self._pending < self._end:
                    await self._commit()
            for checksum in checksums:
                checksum.verify()
            await self._commit()
        finally:
            await self._drop()
        if isinstance(self.upload, Unfinished):
            await self._join_small(self.upload)

    async def _next(self, stream: AsyncIterator[bytes], arrival: Arrival, size: int, *, keep: bool) -> bytes | None:
        """Return the next bytes, None at the end. An interruption here, and not during a write, keeps the bytes received before."""
        try:
            piece = await anext(stream, None)
            if piece is not None:
                arrival.grow_to(size + len(piece))
        except (ClientDisconnect, BodyTooSlow, TryLater, anyio.get_cancelled_exc_class()):
            if keep:
                with anyio.move_on_after(_CLEANUP_SECONDS, shield=True):
                    await self._keep()
            raise
        return piece

    async def _keep(self) -> None:
        try:
            await self._commit()
        except DispatchError as error:
            # The client gets the error that interrupted the request, and has to ask for the offset anyway.
            log.info("segment_not_kept", upload=self.upload.public_id, code=error.code, detail=error.detail)

    async def _write(self, piece: bytes) -> None:
        if self._blob is None:
            self._blob = self._store.blobs.writer(self._key(self._offset))
        await self._blob.write(piece)
        self._pending += len(piece)

    async def _commit(self) -> None:
        if not isinstance(self.upload, Unfinished):
            return
        segment = None
        if self._blob is not None:
            await self._blob.close()
            segment = Segment(self._offset, self._pending, self._blob.key)
            self._blob = None
        try:
            self.upload = await self._store.resumable.add(self.upload, segment, writer=self._writer, now=self._clock())
        except RequestError:
            # No row refers to the blob, so delete it. After other errors the commit may have happened; maintenance checks later.
            if segment is not None:
                await self._store.blobs.delete([segment.blob_key])
            raise
        self._offset += self._pending
        self._pending = 0

    async def _drop(self) -> None:
        if self._blob is not None:
            with anyio.move_on_after(_CLEANUP_SECONDS, shield=True):
                await self._blob.abort()

    async def _join_small(self, upload: Unfinished) -> None:
        """Join the last segments while many have one size, the smallest first, so that each byte is copied only a few times."""
        while True:
            last = await self._store.resumable.last_segments(upload.tenant_id, upload.id, limit=4 * JOIN_SEGMENTS)
            if (group := to_join(last)) is None:
                return
            blob = self._store.blobs.writer(self._key(group[0].start))
            try:
                for segment in group:
                    await blob.write(await self._store.blobs.read(segment.blob_key))
                await blob.close()
            except BaseException:
                with anyio.move_on_after(_CLEANUP_SECONDS, shield=True):
                    await blob.abort()
                raise
            try:
                await self._store.resumable.replace(upload.tenant_id, upload.id, group, blob.key, writer=self._writer)
            except RequestError:
                await self._store.blobs.delete([blob.key])
                return

    def _key(self, start: int) -> str:
        return f"uploads/{self.upload.id.hex}-{start:014d}-{uuid4().hex}"


def to_join(segments: Sequence[Segment]) -> Sequence[Segment] | None:
    """Return those of an upload's last segments, given in order, that should become one; None when there are few."""
    for level in range(_level(SMALL_BYTES)):
        small = 0
        for segment in reversed(segments):
            if _level(segment.size) > level:
                break
            small += 1
        # Segments of smaller levels are too few to be joined by themselves, and do not count for this level.
        if small >= JOIN_SEGMENTS * (level + 1):
            return segments[len(segments) - small :]
    return None


def _level(size: int) -> int:
    """Return how many times sixteen segments were joined to make one of this size, from 32 KiB on."""
    return max(0, (size.bit_length() - 12) // 4)
