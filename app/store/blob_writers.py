"""Writers of blobs whose bytes arrive one after the other.

An object store gets a large blob in parts. The next part of a blob gathers in a file without a name, however slowly its bytes arrive, and
is sent when it is whole. All blobs together send only a few parts at a time: that bounds the memory of a process.
"""

import tempfile
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import obstore
from obstore.exceptions import BaseError

from app.store.blob_errors import writing

if TYPE_CHECKING:
    from app.store.blobs import BlobStore

PART_BYTES: Final = 8 << 20
"""Size of a part. S3 takes parts from 5 MiB, and 10,000 of one blob."""
PARTS_AT_ONCE: Final = 4
"""Parts of all blobs that a process sends at the same time."""

_PIECE_BYTES: Final = 1 << 20


class BlobWriter:
    """Writes one blob from the event loop. Leave with `close` (durable) or `abort` (nothing remains)."""

    def __init__(self, blobs: "BlobStore", key: str) -> None:
        self.key = key
        self._blobs = blobs
        self._sink = _FileSink(blobs, key) if blobs.folder is not None else _PartsSink(blobs, key)
        self._pending = bytearray()

    async def write(self, data: bytes) -> None:
        """Take the next bytes; they are handed on a megabyte at a time."""
        self._pending += data
        if len(self._pending) >= _PIECE_BYTES:
            await self._flush()

    async def close(self) -> None:
        """Make the blob durable and visible under its key."""
        await self._flush()
        with writing():
            await self._sink.close()

    async def abort(self) -> None:
        """Drop what was written. The store may hold the blob for a moment, so it is closed and then removed."""
        self._pending.clear()
        try:
            begun = await self._sink.drop()
        except (BaseError, OSError):
            # Without a close there is no blob under the key; maintenance removes what is left of it.
            return
        if begun:
            await self._blobs.delete([self.key])

    async def _flush(self) -> None:
        if self._pending:
            data, self._pending = bytes(self._pending), bytearray()
            with writing():
                await self._sink.write(data)


class BlockingBlobWriter:
    """Writes one blob from a thread. Leave with `close` (durable) or `abort` (nothing remains)."""

    def __init__(self, blobs: "BlobStore", key: str) -> None:
        self.key = key
        self._blobs = blobs
        # Memory: one part that fills and one on its way. Few threads write blobs.
        size = _PIECE_BYTES if blobs.folder is not None else PART_BYTES
        self._file = obstore.open_writer(blobs.store, key, buffer_size=size, max_concurrency=1)

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        with writing():
            self._file.write(data)

    def close(self) -> None:
        """Make the blob durable and visible under its key."""
        with writing():
            self._file.close()
        self._blobs.sync(self.key)

    def abort(self) -> None:
        """Drop what was written."""
        try:
            self._file.close()
            obstore.delete(self._blobs.store, self.key)
        except (BaseError, OSError):
            # Without a close there is no blob under the key; maintenance removes what is left of it.
            return


class _FileSink:
    """A file of the local folder."""

    def __init__(self, blobs: "BlobStore", key: str) -> None:
        self._blobs = blobs
        self._key = key
        self._file = obstore.open_writer_async(blobs.store, key, buffer_size=_PIECE_BYTES)

    async def write(self, data: bytes) -> None:
        await self._file.write(data)

    async def close(self) -> None:
        await self._file.close()
        await anyio.to_thread.run_sync(self._blobs.sync, self._key)

    async def drop(self) -> bool:
        await self._file.close()
        return True


class _PartsSink:
    """A blob of an object store, sent in parts; one that is smaller than a part is sent whole."""

    def __init__(self, blobs: "BlobStore", key: str) -> None:
        self._blobs = blobs
        self._file = obstore.open_writer_async(blobs.store, key, buffer_size=PART_BYTES, max_concurrency=1)
        self._gathered = tempfile.SpooledTemporaryFile(max_size=_PIECE_BYTES, dir=str(blobs.spool))  # noqa: SIM115
        self._size = 0
        self._begun = False

    async def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            # A part and the byte behind it, which obstore takes only when the part is stored; later parts lack that byte.
            lacking = PART_BYTES + (0 if self._begun else 1) - self._size
            taken, rest = rest[:lacking], rest[lacking:]
            await anyio.to_thread.run_sync(self._gathered.write, taken)
            self._size += len(taken)
            if len(taken) == lacking:
                async with self._blobs.part_slots:
                    await self._send(one_apart=True)

    async def close(self) -> None:
        try:
            async with self._blobs.part_slots:
                await self._send(one_apart=False)
                await self._file.close()
        finally:
            self._gathered.close()

    async def drop(self) -> bool:
        self._gathered.close()
        if self._begun:
            await self._file.close()
        return self._begun

    async def _send(self, *, one_apart: bool) -> None:
        """Hand over what has gathered; `one_apart`: its last byte by itself, after which the part before it is stored."""
        self._begun = True
        rest = self._size
        await anyio.to_thread.run_sync(self._gathered.seek, 0)
        while rest:
            size = min(_PIECE_BYTES, rest - 1 if one_apart and rest > 1 else rest)
            await self._file.write(await anyio.to_thread.run_sync(self._gathered.read, size))
            rest -= size
        await anyio.to_thread.run_sync(self._gathered.seek, 0)
        await anyio.to_thread.run_sync(self._gathered.truncate)
        self._size = 0
