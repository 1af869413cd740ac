"""Bytes in an object store: uploads, chunks, parts, UPOs. A local folder by default, any object store by URL.

A blob is durable when its writer's `close` returns: object stores promise that themselves, for the local folder the file
and the folders above it are synced here, since obstore does not.
"""

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import aiofiles
import anyio
import anyio.to_thread
import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

from app.errors import ConfigurationError
from app.store.backup.blob_files import BlobFiles
from app.store.blob_errors import BlobMissing, BlobStoreUnavailable, reading, writing
from app.store.blob_files import BlobFile, JoinedFile, ObjectFile, Segment
from app.store.blob_writers import PARTS_AT_ONCE, BlobWriter, BlockingBlobWriter
from app.store.unfinished_blobs import end_unfinished

_READ_BYTES: Final = 1 << 20
_RANGE_BYTES: Final = 4 << 20
# A call is tried again for half a minute; then its caller hears of it, and tries again later.
_RETRIES: Final[Any] = {"max_retries": 5, "retry_timeout": timedelta(seconds=30)}


def is_local(url: str | None) -> bool:
    """Return whether the blobs are files of a folder."""
    return url is None or url.startswith("file://")


def local_folder(url: str | None, data_dir: Path) -> Path:
    """Return the folder of local blobs."""
    return (Path(url.removeprefix("file://")) if url else data_dir / "blobs").expanduser().resolve()


class BlobStore:
    """Blobs by key (`uploads/...`, `chunks/...`, `sessions/...`, `upo/...`)."""

    def __init__(self, url: str | None, data_dir: Path) -> None:
        """`url` names an object store; without one the blobs are files below `data_dir/blobs`."""
        self.folder: Path | None = None
        """The local folder of the blobs; None with an object store."""
        self.spool = data_dir
        """The folder in which the next part of a blob gathers on its way to an object store."""
        self.part_slots = anyio.CapacityLimiter(PARTS_AT_ONCE)
        """Bounds the parts that are in memory and on their way, for all blobs of this process."""
        self.store: ObjectStore
        self._url = url
        self._files: BlobFiles | None = None
        if url is None or is_local(url):
            self.folder = local_folder(url, data_dir)
            self.folder.mkdir(parents=True, exist_ok=True)
            self.store = LocalStore(prefix=self.folder)
            self._files = BlobFiles(self.folder)
            return
        try:
            self.store = from_url(url, retry_config=_RETRIES)
        except (BaseError, ValueError) as error:
            raise ConfigurationError(f"KSEFD_BLOB_URL: {error}") from error

    async def put(self, key: str, data: bytes) -> None:
        """Store a small blob whole, durably; an old one under the key is replaced at once."""
        with writing():
            await obstore.put_async(self.store, key, data, use_multipart=False)
        if self.folder is not None:
            await anyio.to_thread.run_sync(self.sync, key)

    def writer(self, key: str) -> BlobWriter:
        """Open a blob for writing as bytes arrive, on the event loop. It exists once `close` has returned."""
        return BlobWriter(self, key)

    def blocking_writer(self, key: str) -> BlockingBlobWriter:
        """Open a blob for writing from a thread. It exists once `close` has returned."""
        return BlockingBlobWriter(self, key)

    async def read(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Read a small blob, or a range of one."""
        with reading(key):
            if length is None:
                result = await obstore.get_async(self.store, key)
                return bytes(await result.bytes_async())[start:]
            return bytes(await obstore.get_range_async(self.store, key, start=start, length=length))

    def read_whole_blocking(self, key: str) -> bytes:
        """Read a small blob from a thread."""
        with reading(key):
            return bytes(obstore.get(self.store, key).bytes())

    def read_blocking(self, key: str, *, start: int, length: int) -> bytes:
        """Read a range of a blob from a thread."""
        with reading(key):
            return bytes(obstore.get_range(self.store, key, start=start, length=length))

    async def stream(self, key: str, *, chunk_bytes: int = _READ_BYTES) -> AsyncIterator[bytes]:
        """Give a blob's bytes piece by piece."""
        if self.folder is not None:
            # The file itself, in large pieces: obstore reads local files eight kilobytes at a time.
            async for piece in _stream_file(self.folder / key, key, chunk_bytes):
                yield piece
            return
        # Range by range: an answer that is read as slowly as KSeF takes a part would end by the time limit of a call.
        with reading(key):
            size = int((await obstore.head_async(self.store, key))["size"])
        for start in range(0, size, _RANGE_BYTES):
            data = memoryview(await self.read(key, start=start, length=min(_RANGE_BYTES, size - start)))
            for offset in range(0, len(data), chunk_bytes):
                yield bytes(data[offset : offset + chunk_bytes])

    def open_blocking(self, key: str) -> BlobFile:
        """Open a blob as a seekable file for a thread that reads it from front to back."""
        if self.folder is None:
            return ObjectFile(self.store, key)
        try:
            return (self.folder / key).open("rb", buffering=_READ_BYTES)
        except FileNotFoundError as error:
            raise BlobMissing(f"the blob {key} is missing") from error

    def open_joined_blocking(self, segments: Sequence[Segment]) -> JoinedFile:
        """Open neighbouring segments as one seekable file for a thread. Nothing is opened before it is read."""
        return JoinedFile(self.open_blocking, segments)

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove blobs. A key without a blob is no error."""
        if self._files is not None:
            with self._files.removing() as may_remove:
                if may_remove:
                    await self._delete(keys)
                else:
                    await anyio.to_thread.run_sync(self._files.move_aside, keys)
            return
        await self._delete(keys)

    async def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                await obstore.delete_async(self.store, key)
            except (FileNotFoundError, NotFoundError):
                continue
            except (BaseError, OSError) as error:
                raise BlobStoreUnavailable("the blob store did not remove a blob") from error

    async def list_keys(self, prefix: str, *, older_than: datetime | None = None) -> AsyncIterator[str]:
        """Give every key below a prefix (a folder name without a slash at its end), or those last written before a moment."""
        stream = obstore.list(self.store, prefix=prefix)
        try:
            async for page in stream:
                for meta in cast("Iterable[Any]", page):
                    if older_than is None or meta["last_modified"] < older_than:
                        yield meta["path"]
        except (FileNotFoundError, NotFoundError):
            return
        except (BaseError, OSError) as error:
            raise BlobStoreUnavailable("the blob store did not list its blobs") from error

    async def end_unfinished(self, *, older_than: datetime) -> int:
        """End multipart uploads that were begun before a moment and never completed, in S3; return their number."""
        if self._url is None:
            return 0
        return await anyio.to_thread.run_sync(end_unfinished, self._url, older_than)

    def sync(self, key: str) -> None:
        """Make a blob of the local folder durable."""
        if self.folder is None:
            return
        path = self.folder / key
        try:
            _fsync(path)
            # A new name is durable only when the folder that holds it is, up to the first folder that was there before.
            for parent in path.parents:
                _fsync(parent)
                if parent == self.folder:
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


def _fsync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
