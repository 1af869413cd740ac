"""The stored body as a range of bytes, read in large blocks: each read of a blob costs some 50 to 100 µs."""

from typing import TYPE_CHECKING, Final, Protocol

from app.reading.faults import unreadable

if TYPE_CHECKING:
    from typing_extensions import Buffer

BLOCK_BYTES: Final = 1 << 20
# After a jump it is not certain that reading goes on from there, so the first block is small.
_FIRST_BLOCK_BYTES: Final = 1 << 15


class SeekableFile(Protocol):
    """The methods that a stored body has. Reads may be short before the end."""

    def read(self, size: int, /) -> "Buffer":
        """Return up to `size` bytes, none at the end."""

    def seek(self, offset: int, /) -> object:
        """Move to `offset` from the start."""


class Source:
    """A range of a file; offsets count from the start of the range. Other sources may read the file in between.

    It holds one block. Sequential reads fetch growing blocks of up to 1 MiB and jumps fetch small ones, so
    that an archive whose entries lie in disorder does not cost a megabyte an entry.
    """

    def __init__(self, file: SeekableFile, start: int, size: int) -> None:
        """Read `size` bytes of `file` from `start`, both in bytes of the file."""
        self._file = file
        self.start = start
        self.size = size
        self._buffer = b""
        self._buffer_at = 0
        self._block = _FIRST_BLOCK_BYTES

    def window(self, start: int, size: int) -> "Source":
        """Return a part of this range as a source of its own, with its own block."""
        return Source(self._file, self.start + start, size)

    def holds(self, offset: int) -> bool:
        """Return whether the bytes from `offset` can (still) be read."""
        return offset >= 0

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer only where the range ends."""
        length = min(length, self.size - offset)
        if length <= 0:
            return b""
        begin = offset - self._buffer_at
        if begin < 0 or begin + length > len(self._buffer):
            self._fill(offset, length)
            begin = 0
        return self._buffer[begin : begin + length]

    def some_at(self, offset: int, limit: int) -> bytes:
        """Return up to `limit` bytes from `offset`, as many as one block holds; none at the end."""
        if not 0 <= offset - self._buffer_at < len(self._buffer):
            if offset >= self.size:
                return b""
            self._fill(offset, 1)
        begin = offset - self._buffer_at
        return self._buffer[begin : begin + limit]

    def find(self, needle: bytes, offset: int, keep: int | None = None) -> int:
        """Return the offset of the next `needle` at or after `offset`, -1 if there is none.

        The bytes from `keep` to the find are probably read next: they stay in memory if they fit half a block.
        """
        while offset + len(needle) <= self.size:
            begin = offset - self._buffer_at
            if begin < 0 or begin + len(needle) > len(self._buffer):
                if keep is None or not 0 <= offset - keep <= BLOCK_BYTES // 2:
                    keep = offset
                self._fill(keep, offset - keep + len(needle))
                begin = offset - keep
            found = self._buffer.find(needle, begin)
            if found >= 0:
                return self._buffer_at + found
            # The needle may begin in this block and end in the next.
            offset = max(offset, self._buffer_at + len(self._buffer) - len(needle) + 1)
        return -1

    def _fill(self, offset: int, length: int) -> None:
        end = self._buffer_at + len(self._buffer)
        onward = self._buffer_at <= offset <= end + _FIRST_BLOCK_BYTES
        self._block = min(2 * self._block, BLOCK_BYTES) if onward else _FIRST_BLOCK_BYTES
        wanted = min(max(length, self._block), self.size - offset)
        # The old block goes first, so that two are never held.
        self._buffer = b""
        self._file.seek(self.start + offset)
        pieces: list[bytes] = []
        got = 0
        # Bytes beyond `length` are read ahead and may be missing.
        while got < min(length, wanted):
            piece = bytes(self._file.read(wanted - got))
            if not piece:
                self._end_at(offset + got)
                break
            pieces.append(piece)
            got += len(piece)
        self._buffer = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._buffer_at = offset

    def _end_at(self, offset: int) -> None:
        """Raise UnreadableUpload: the file ends within this range, but was recorded as longer."""
        raise unreadable(
            "body-incomplete",
            "The stored body is shorter than recorded",
            "Zapisana treść jest krótsza, niż odnotowano",
            self.start + offset,
        )
