"""The inflated bytes of a gzip-coded body (RFC 9110, section 8.4.1.3), as a source.

The inflated body is never stored: it is read forward, and the last bytes stay in memory, so that a line or a part can be read
from its beginning after its end was found.
"""

from collections import deque
from typing import Final

from app.errors import UnreadableUpload
from app.reading.faults import unreadable
from app.reading.read_budget import ReadBudget
from app.reading.source import BLOCK_BYTES, Source
from app.reading.streams import GzipStream

_UNKNOWN_SIZE: Final = 1 << 62
# Kept blocks have at least this size, so that many small pieces of input do not become many blocks.
_KEPT_BYTES: Final = 1 << 18


class InflatedFile:
    """An inflated gzip stream as a file that allows seeking back by a few megabytes.

    `read` raises the errors of GzipStream, but only after it has returned all bytes before the fault, and UnreadableUpload for
    bytes that are no longer in memory.
    """

    def __init__(self, coded: Source, budget: ReadBudget) -> None:
        """Inflate `coded`, the bytes as sent. The longest allowed line, part or document stays in memory."""
        self._stream = GzipStream(coded, budget)
        # A reader searches up to two blocks beyond the end of the range that it then reads.
        self._behind = max(budget.limits.max_line_bytes, budget.limits.max_document_bytes) + 2 * BLOCK_BYTES
        self._blocks: deque[bytes] = deque()
        self._first = 0  # where the oldest block begins
        self._end = 0  # where the newest one ends
        self._position = 0
        self._error: UnreadableUpload | None = None

    def seek(self, offset: int, /) -> object:
        """Move to `offset` of the inflated bytes."""
        self._position = offset
        return offset

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer at the end and before a fault, none only at the end."""
        begin, end = self._position, self._position + size
        if begin < self._first:
            raise unreadable(
                "gzip-read-back",
                "The gzip-coded body would have to be read twice",
                "Treść skompresowaną gzip trzeba by odczytać dwukrotnie",
                self._stream.offset,
            )
        while self._end < end and self._advance(begin):
            pass
        if self._error is not None and self._end <= begin:
            raise self._error
        pieces: list[bytes] = []
        at = self._first
        for block in self._blocks:
            if at >= end:
                break
            if at + len(block) > begin:
                pieces.append(block[max(0, begin - at) : end - at])
            at += len(block)
        read = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._position += len(read)
        return read

    def holds(self, offset: int) -> bool:
        """Return whether the bytes from `offset` can still be read."""
        return offset >= self._first

    def drain(self) -> None:
        """Read to the end, which verifies the checksums. Raises the errors of `read`."""
        while self._advance(self._end):
            pass
        if self._error is not None:
            raise self._error

    def _advance(self, needed: int) -> bool:
        """Inflate another block and drop the oldest ones, but no byte from `needed` on; return False at the end."""
        pieces: list[bytes] = []
        size = 0
        try:
            while self._error is None and size < _KEPT_BYTES and (piece := self._stream.block()):
                pieces.append(piece)
                size += len(piece)
        except UnreadableUpload as error:
            self._error = error
        if not pieces:
            return False
        self._blocks.append(b"".join(pieces))
        self._end += size
        while self._first + len(self._blocks[0]) <= min(needed, self._end - self._behind):
            self._first += len(self._blocks.popleft())
        return True


class InflatedSource(Source):
    """A range of an inflated body. The size of the whole is known once its end was read."""

    def __init__(self, file: InflatedFile, start: int = 0, size: int = _UNKNOWN_SIZE) -> None:
        super().__init__(file, start, size)
        self._inflated = file

    def window(self, start: int, size: int) -> Source:
        """Return a part of this range as a source of its own."""
        return InflatedSource(self._inflated, self.start + start, size)

    def holds(self, offset: int) -> bool:
        """Return whether the bytes from `offset` can still be read."""
        return self._inflated.holds(self.start + offset)

    def _end_at(self, offset: int) -> None:
        self.size = offset
