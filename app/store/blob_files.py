"""Blobs as files that a thread reads: a blob of an object store, and several segments of a body joined."""

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

import obstore
from obstore.store import ObjectStore

from app.store.blob_errors import BlobMissing, BlobStoreUnavailable, reading

_AHEAD_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """A range of a body that is stored as a blob of its own. `start` and `size` are in bytes."""

    start: int
    size: int
    blob_key: str


class BlobFile(Protocol):
    """The methods that the readers of a blob call."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None: ...

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes, none at the end."""

    def seek(self, offset: int, /) -> int:
        """Go to an offset from the start."""

    def tell(self) -> int:
        """Give the offset of the next byte."""

    def close(self) -> None:
        """Close the file."""


class ObjectFile:
    """A blob of an object store as a file, for reading from a thread. It holds one range of at most four megabytes.

    Reading on fetches more than was asked, a jump only what was asked. obstore's own reader gives no `bytes` and is no context
    manager.
    """

    def __init__(self, store: ObjectStore, key: str) -> None:
        """Raises BlobMissing, BlobStoreUnavailable."""
        self._store = store
        self._key = key
        self._position = 0
        self._held_from = 0
        self._held = b""
        with reading(key):
            self._size = int(obstore.head(store, key)["size"])

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes, fewer where the held range ends, none at the end."""
        size = min(size, self._size - self._position)
        if size <= 0:
            return b""
        inside = self._position - self._held_from
        if not 0 <= inside < len(self._held):
            reads_on = inside == len(self._held)
            length = min(max(size, _AHEAD_BYTES) if reads_on else size, self._size - self._position)
            with reading(self._key):
                self._held = bytes(obstore.get_range(self._store, self._key, start=self._position, length=length))
            self._held_from, inside = self._position, 0
            if not self._held:
                raise BlobStoreUnavailable(f"the blob store gave no byte of {self._key} from {self._position}")
        piece = self._held[inside : inside + size]
        self._position += len(piece)
        return piece

    def seek(self, offset: int, /) -> int:
        """Go to an offset from the start."""
        self._position = offset
        return offset

    def tell(self) -> int:
        """Give the offset of the next byte."""
        return self._position

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the held range."""
        self._held, self._held_from = b"", 0


class JoinedFile:
    """Segments as one file, for reading from a thread. At most one of them is open at a time."""

    def __init__(self, open_blob: Callable[[str], BlobFile], segments: Sequence[Segment]) -> None:
        """`segments` follow each other without a gap, from offset 0; `open_blob` opens the blob of a key."""
        self._open_blob = open_blob
        self._segments = segments
        self._starts = [segment.start for segment in segments]
        self._size = segments[-1].start + segments[-1].size if segments else 0
        self._position = 0
        self._open: tuple[int, BlobFile] | None = None

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the open segment."""
        opened, self._open = self._open, None
        if opened is not None:
            opened[1].close()

    def _file(self, number: int) -> BlobFile:
        if self._open is None or self._open[0] != number:
            self.close()
            self._open = number, self._open_blob(self._segments[number].blob_key)
        return self._open[1]
