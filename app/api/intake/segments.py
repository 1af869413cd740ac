"""Taking the bytes of one request into an upload that arrives in pieces, durably and from where it stands.

A long request is cut into segments that are committed one by one, so that a crash costs the last of them. Where a request
breaks off, what had come is kept. Small segments are joined, so that an upload never has more than a few thousand.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Final
from uuid import UUID, uuid4

import anyio
from starlette.requests import ClientDisconnect, Request

from app.api.http.errors import BodyTooSlow
from app.api.intake.admission import Arrival
from app.api.intake.request_body import pieces, too_large
from app.api.intake.tus import Checksum
from app.clock import Clock
from app.errors import DispatchError, RequestError, TryLater
from app.observability.logs import get_logger
from app.store.blobs import BlobWriter, Segment
from app.store.store import Store
from app.store.uploads.resumable import Unfinished
from app.store.uploads.uploads import Upload

SEGMENT_BYTES: Final = 64_000_000
"""After so many bytes of one request the offset moves: large enough that syncing costs little, small enough to send again."""

SMALL_BYTES: Final = 1 << 23
"""Smaller segments are joined with their neighbours."""

JOIN_SEGMENTS: Final = 16

_CLEANUP_SECONDS: Final = 10.0

log = get_logger(__name__)


class SegmentTaker:
    """Takes one request's bytes. `upload` is what is committed at any moment: at last perhaps a whole upload."""

    def __init__(self, store: Store, clock: Clock, upload: Unfinished, writer: UUID, *, limit: int) -> None:
        """`writer` was made the upload's writer by `ResumableStore.begin`; `limit` bounds an upload of unknown length."""
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

        With checksums nothing is kept before all of the request has come and been verified. Raises BodyTooLarge for bytes
        beyond the upload's length, ChecksumMismatch, WrongOffset when another request has become the writer, SpoolFull,
        BodyTooSlow and BlobStoreUnavailable; ClientDisconnect when the client went away.
        """
        stream = pieces(request)
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
                # The last segment waits for the end of the request: more bytes than announced must not become an upload.
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
        """Return the next bytes. Here, and not in the middle of a write, is where a request may break off and be kept."""
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
            # The sender is told of what broke the request off; at which offset to go on it has to ask anyway.
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
            # Nobody speaks of it. After any other error nobody knows; maintenance removes what no row names.
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
        """Join the last segments while they are many and of one size, the smallest first: each byte moves a few times only."""
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
    """Say which of the last segments of an upload, given in their order, are to become one; None when there are few."""
    for level in range(_level(SMALL_BYTES)):
        small = 0
        for segment in reversed(segments):
            if _level(segment.size) > level:
                break
            small += 1
        # Those of each smaller level are too few to be joined among themselves, and do not count for this one.
        if small >= JOIN_SEGMENTS * (level + 1):
            return segments[len(segments) - small :]
    return None


def _level(size: int) -> int:
    """Count how often sixteen small segments were joined to make one of this size, from 32 KiB on."""
    return max(0, (size.bit_length() - 12) // 4)
