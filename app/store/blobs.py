"""Bytes in an object store: uploads, chunks, parts, UPOs. A local folder by default, any object store by URL.

A blob is durable when its writer's `close` returns: object stores promise that themselves, for the local folder the file
and the folders above it are synced here, since obstore does not.
"""

import bisect
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, cast

import aiofiles
import anyio
import anyio.to_thread
import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

from app.errors import TryLater

_READ_BYTES: Final = 1 << 20
_WRITE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """A range of a body that is stored as a blob of its own. `start` and `size` are in bytes."""

    start: int
    size: int
    blob_key: str


class BlobStoreUnavailable(TryLater):
    """The blob store cannot be written or read; nothing was acknowledged."""

    code = "blob-store-unavailable"
    title = "Blob store unavailable"


class BlobMissing(TryLater):
    """A blob to which a row refers is missing."""

    status = 500
    code = "blob-missing"
    title = "Blob missing"


class BlobStore:
    """Blobs by key (`uploads/...`, `chunks/...`, `sessions/...`, `upo/...`)."""

    def __init__(self, url: str | None, data_dir: Path) -> None:
        """`url` names an object store; without one the blobs are files below `data_dir/blobs`."""
        self._folder: Path | None = None
        self._store: ObjectStore
        if url is None or url.startswith("file://"):
            folder = Path(url.removeprefix("file://")) if url else data_dir / "blobs"
            self._folder = folder.expanduser().resolve()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(prefix=self._folder)
        else:
            self._store = from_url(url)

    @property
    def folder(self) -> Path | None:
        """The local folder of the blobs; None with an object store."""
        return self._folder

    async def put(self, key: str, data: bytes) -> None:
        """Store a small blob whole, durably; an old one under the key is replaced at once."""
        try:
            await obstore.put_async(self._store, key, data, use_multipart=False)
        except (BaseError, OSError) as error:
            raise BlobStoreUnavailable("the blob store did not take the bytes") from error
        if self._folder is not None:
            await anyio.to_thread.run_sync(self._sync, key)

    def writer(self, key: str) -> "BlobWriter":
        """Open a blob for writing as bytes arrive, on the event loop. It exists once `close` has returned."""
        return BlobWriter(self, key)

    def blocking_writer(self, key: str) -> "BlockingBlobWriter":
        """Open a blob for writing from a thread. It exists once `close` has returned."""
        return BlockingBlobWriter(self, key)

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Read a small blob, or a range of one."""
        try:
            if length is None:
                result = await obstore.get_async(self._store, key)
                return bytes(await result.bytes_async())[start:]
            return bytes(await obstore.get_range_async(self._store, key, start=start, length=length))
        except (FileNotFoundError, NotFoundError) as error:
            raise BlobMissing(f"the blob {key} is missing") from error
        except (BaseError, OSError) as error:
            raise BlobStoreUnavailable("the blob store did not give the bytes") from error

    def read_whole_blocking(self, key: str) -> bytes:
        """Read a small blob from a thread."""
        try:
            return bytes(obstore.get(self._store, key).bytes())
        except (FileNotFoundError, NotFoundError) as error:
            raise BlobMissing(f"the blob {key} is missing") from error
        except (BaseError, OSError) as error:
            raise BlobStoreUnavailable("the blob store did not give the bytes") from error

    def read_blocking(self, key: str, *, start: int, length: int) -> bytes:
        """Read a range of a blob from a thread."""
        try:
            return bytes(obstore.get_range(self._store, key, start=start, length=length))
        except (FileNotFoundError, NotFoundError) as error:
            raise BlobMissing(f"the blob {key} is missing") from error
        except (BaseError, OSError) as error:
            raise BlobStoreUnavailable("the blob store did not give the bytes") from error

    async def stream(self, key: str, *, chunk_bytes: int = _READ_BYTES) -> AsyncIterator[bytes]:
        """Give a blob's bytes piece by piece."""
        if self._folder is not None:
            # The file itself, in large pieces: obstore reads local files eight kilobytes at a time.
            async for piece in _stream_file(self._folder / key, key, chunk_bytes):
                yield piece
            return
        try:
            result = await obstore.get_async(self._store, key)
            async for piece in result.stream(min_chunk_size=chunk_bytes):
                yield bytes(piece)
        except (FileNotFoundError, NotFoundError) as error:
            raise BlobMissing(f"the blob {key} is missing") from error
        except (BaseError, OSError) as error:
            raise BlobStoreUnavailable("the blob store did not give the bytes") from error

    def open_blocking(self, key: str) -> IO[bytes]:
        """Open a blob as a seekable file for a thread that reads it from front to back."""
        if self._folder is not None:
            try:
                return (self._folder / key).open("rb", buffering=_READ_BYTES)
            except FileNotFoundError as error:
                raise BlobMissing(f"the blob {key} is missing") from error
        try:
            # obstore's reader has a buffer of its own and the few methods that the readers here call.
            return cast("IO[bytes]", obstore.open_reader(self._store, key, buffer_size=8 * _READ_BYTES))
        except (FileNotFoundError, NotFoundError) as error:
            raise BlobMissing(f"the blob {key} is missing") from error
        except (BaseError, OSError) as error:
            raise BlobStoreUnavailable("the blob store did not give the bytes") from error

    def open_joined_blocking(self, segments: Sequence[Segment]) -> "JoinedFile":
        """Open neighbouring segments as one seekable file for a thread. Nothing is opened before it is read."""
        return JoinedFile(self, segments)

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove blobs. A key without a blob is no error."""
        for key in keys:
            try:
                await obstore.delete_async(self._store, key)
            except (FileNotFoundError, NotFoundError):
                continue
            except (BaseError, OSError) as error:
                raise BlobStoreUnavailable("the blob store did not remove a blob") from error

    async def list_keys(self, prefix: str, *, older_than: datetime | None = None) -> AsyncIterator[str]:
        """Give every key below a prefix (a folder name without a slash at its end), or those last written before a moment."""
        stream = obstore.list(self._store, prefix=prefix)
        try:
            async for page in stream:
                for meta in cast("Iterable[Any]", page):
                    if older_than is None or meta["last_modified"] < older_than:
                        yield meta["path"]
        except (FileNotFoundError, NotFoundError):
            return
        except (BaseError, OSError) as error:
            raise BlobStoreUnavailable("the blob store did not list its blobs") from error

    def _sync(self, key: str) -> None:
        if self._folder is None:
            return
        path = self._folder / key
        try:
            _fsync(path)
            # A new name is durable only when the folder that holds it is, up to the first folder that was there before.
            for parent in path.parents:
                _fsync(parent)
                if parent == self._folder:
                    break
        except OSError as error:
            raise BlobStoreUnavailable("the blob store could not make the bytes durable") from error


async def _stream_file(path: Path, key: str, chunk_bytes: int) -> AsyncIterator[bytes]:
    try:
        async with aiofiles.open(path, "rb", buffering=_READ_BYTES) as file:
            while piece := await file.read(chunk_bytes):
                yield piece
    except FileNotFoundError as error:
        raise BlobMissing(f"the blob {key} is missing") from error
    except OSError as error:
        raise BlobStoreUnavailable("the blob store did not give the bytes") from error


class JoinedFile:
    """Segments as one file, for reading from a thread. At most one of them is open at a time."""

    def __init__(self, blobs: BlobStore, segments: Sequence[Segment]) -> None:
        """`segments` follow each other without a gap, from offset 0."""
        self._blobs = blobs
        self._segments = segments
        self._starts = [segment.start for segment in segments]
        self._size = segments[-1].start + segments[-1].size if segments else 0
        self._position = 0
        self._open: tuple[int, IO[bytes]] | None = None

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes, fewer where a segment ends, none at the end of the last."""
        if self._position >= self._size or size <= 0:
            return b""
        number = bisect.bisect_right(self._starts, self._position) - 1
        segment = self._segments[number]
        file = self._file(number)
        inside = self._position - segment.start
        file.seek(inside)
        piece = bytes(file.read(min(size, segment.size - inside)))
        if not piece:
            raise BlobMissing(f"the blob {segment.blob_key} is shorter than {segment.size} bytes")
        self._position += len(piece)
        return piece

    def seek(self, offset: int, /) -> int:
        """Go to an offset from the start."""
        self._position = offset
        return offset

    def tell(self) -> int:
        """Give the offset of the next byte."""
        return self._position

    def close(self) -> None:
        """Close the open segment."""
        opened, self._open = self._open, None
        if opened is not None:
            opened[1].close()

    def _file(self, number: int) -> IO[bytes]:
        if self._open is None or self._open[0] != number:
            self.close()
            self._open = number, self._blobs.open_blocking(self._segments[number].blob_key)
        return self._open[1]


class BlobWriter:
    """Writes one blob from the event loop. Leave with `close` (durable) or `abort` (nothing remains)."""

    def __init__(self, blobs: BlobStore, key: str) -> None:
        self.key = key
        self._blobs = blobs
        self._file = obstore.open_writer_async(blobs._store, key, buffer_size=_WRITE_BYTES)
        self._pending = bytearray()

    async def write(self, data: bytes) -> None:
        """Take the next bytes; they are handed on a megabyte at a time."""
        self._pending += data
        if len(self._pending) >= _WRITE_BYTES:
            await self._flush()

    async def close(self) -> None:
        """Make the blob durable and visible under its key."""
        await self._flush()
        try:
            await self._file.close()
        except (BaseError, OSError) as error:
            raise BlobStoreUnavailable("the blob store did not take the bytes") from error
        if self._blobs._folder is not None:
            await anyio.to_thread.run_sync(self._blobs._sync, self.key)

    async def abort(self) -> None:
        """Drop what was written. The store may hold the blob for a moment, so it is closed and then removed."""
        self._pending.clear()
        try:
            await self._file.close()
        except (BaseError, OSError):
            # Without a close there is no blob under the key; maintenance removes partial files.
            return
        await self._blobs.delete([self.key])

    async def _flush(self) -> None:
        if not self._pending:
            return
        data, self._pending = bytes(self._pending), bytearray()
        try:
            await self._file.write(data)
        except (BaseError, OSError) as error:
            raise BlobStoreUnavailable("the blob store did not take the bytes") from error


class BlockingBlobWriter:
    """Writes one blob from a thread. Leave with `close` (durable) or `abort` (nothing remains)."""

    def __init__(self, blobs: BlobStore, key: str) -> None:
        self.key = key
        self._blobs = blobs
        self._file = obstore.open_writer(blobs._store, key, buffer_size=_WRITE_BYTES)

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        try:
            self._file.write(data)
        except (BaseError, OSError) as error:
            raise BlobStoreUnavailable("the blob store did not take the bytes") from error

    def close(self) -> None:
        """Make the blob durable and visible under its key."""
        try:
            self._file.close()
        except (BaseError, OSError) as error:
            raise BlobStoreUnavailable("the blob store did not take the bytes") from error
        self._blobs._sync(self.key)

    def abort(self) -> None:
        """Drop what was written."""
        try:
            self._file.close()
            obstore.delete(self._blobs._store, self.key)
        except (BaseError, OSError):
            # Without a close there is no blob under the key; maintenance removes partial files.
            return


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
