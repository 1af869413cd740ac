"""Streams read once from start to end, for archives without a directory: plain, or inflated from gzip."""

from typing import Final, Protocol, cast

from isal import isal_zlib

from app.errors import UnreadableUpload
from app.reading.faults import unreadable
from app.reading.read_budget import ReadBudget
from app.reading.source import BLOCK_BYTES, Source

_DEFLATE_ERROR = cast("type[Exception]", isal_zlib.error)
_GZIP: Final = 31
_MAGIC: Final = b"\x1f\x8b"
# Input of one inflate call. It copies unused input, so that large pieces would make tiny members expensive.
_PIECE_BYTES: Final = 1 << 16


class Stream(Protocol):
    """The methods that the tar reader needs. The end of the stream is a short answer, never an exception."""

    @property
    def offset(self) -> int:
        """The position in the body, near enough for a message."""

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes, fewer only at the end."""

    def skip(self, length: int) -> int:
        """Skip the next `length` bytes without loading them; return how many there were."""


class PlainStream:
    """A source read in order. Skipping costs nothing."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0

    @property
    def offset(self) -> int:
        """The position in the body."""
        return self._source.start + self._position

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes, fewer only at the end."""
        taken = self._source.read_at(self._position, length)
        self._position += len(taken)
        return taken

    def skip(self, length: int) -> int:
        """Skip the next `length` bytes; return how many there were."""
        skipped = min(length, self._source.size - self._position)
        self._position += skipped
        return skipped


class GzipStream:
    """A gzip stream of any number of members, inflated in blocks; checksums are checked at each member's end.

    Raises UnreadableUpload: in the constructor when the data do not begin like gzip, from `take`, `skip` and `block` when the
    stream is cut or damaged, inflates to more than the limits allow, or has more members than an upload has entries.
    """

    def __init__(self, source: Source, budget: ReadBudget) -> None:
        """Open the stream; `budget` counts members and inflated bytes over all gzip streams of an upload."""
        if source.read_at(0, 2) != _MAGIC[: source.size]:
            raise unreadable(
                "not-a-gzip", "The data are not a gzip stream", "Dane nie są strumieniem gzip", source.start
            )
        self._source = source
        self._position = 0
        self._member = isal_zlib.decompressobj(wbits=_GZIP)
        self._input = b""
        self._between = True
        self._has_member = False
        self._ended = False
        self._budget = budget
        self._total = 0
        self._block = b""
        self._at = 0

    @property
    def offset(self) -> int:
        """The position in the body, up to one block ahead of the bytes returned."""
        return self._source.start + self._position

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes, fewer only at the end."""
        taken = self._block[self._at : self._at + length]
        self._at += len(taken)
        if len(taken) == length:
            return taken
        pieces = [taken]
        missing = length - len(taken)
        while missing and self._fill():
            piece = self._block[:missing]
            self._at = len(piece)
            missing -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def skip(self, length: int) -> int:
        """Skip the next `length` bytes; return how many there were."""
        skipped = min(length, len(self._block) - self._at)
        self._at += skipped
        while skipped < length and self._fill():
            self._at = min(length - skipped, len(self._block))
            skipped += self._at
        return skipped

    def block(self) -> bytes:
        """Return the bytes of the current block, or of the next one; none only at the end."""
        if self._at == len(self._block) and not self._fill():
            return b""
        taken = self._block[self._at :]
        self._at = len(self._block)
        return taken

    def _fill(self) -> bool:
        self._block, self._at = b"", 0
        while not self._block:
            if not self._input and not self._ended:
                self._input = self._source.some_at(self._position, _PIECE_BYTES)
                self._position += len(self._input)
                self._ended = not self._input
            if self._between:
                # Zeros after a member are padding, as the gzip program takes them; anything else must be another member.
                self._input = self._input.lstrip(b"\0")
                if not self._input:
                    if self._ended:
                        return False
                    continue
                if self._has_member and not self._begins_member():
                    raise self._data_after_end()
                self._budget.skip_record(self.offset)
                self._member = isal_zlib.decompressobj(wbits=_GZIP)
                self._between = False
                self._has_member = True
            self._inflate()
        self._total += len(self._block)
        limits = self._budget.limits
        allowed = max(limits.ratio_grace_bytes, limits.max_ratio * self._position)
        if self._total > allowed or not self._budget.inflate(len(self._block)):
            raise unreadable(
                "gzip-ratio",
                "The gzip stream inflates to far more than invoices can",
                "Strumień gzip rozpakowuje się do rozmiaru niemożliwego w przypadku faktur",
                self.offset,
            )
        return True

    def _begins_member(self) -> bool:
        """Return whether the next two bytes are those of a gzip member."""
        if len(self._input) == 1 and not self._ended:
            more = self._source.some_at(self._position, 1)
            self._input += more
            self._position += len(more)
        return self._input[:2] == _MAGIC

    def _data_after_end(self) -> UnreadableUpload:
        at = self._position - len(self._input)
        count = self._source.size - at
        return unreadable(
            "gzip-data-after-end",
            f"{count:,} bytes that are no gzip stream follow the end of the gzip stream, from byte {at:,} on. "
            "The stream itself is whole; remove what follows it",
            f"Za końcem strumienia gzip, od bajtu {at:,}, są jeszcze dane ({count:,} B), które nie są strumieniem gzip. "
            "Sam strumień jest kompletny; dane za nim należy usunąć",
            self._source.start + at,
        )

    def _inflate(self) -> None:
        """Inflate the next block from the current input. The block may be empty."""
        try:
            self._block = self._member.decompress(self._input, BLOCK_BYTES)
        except (_DEFLATE_ERROR, OverflowError) as error:
            raise unreadable(
                "gzip-damaged", "The gzip stream is damaged", "Strumień gzip jest uszkodzony", self.offset
            ) from error
        if self._ended and not self._block and not self._member.eof:
            # Raised only after the bytes before the cut were returned.
            raise unreadable(
                "gzip-truncated",
                "The gzip stream ends too early; the upload was probably cut",
                "Strumień gzip kończy się za wcześnie; przesyłka została prawdopodobnie ucięta",
                self.offset,
            )
        self._between = self._member.eof
        self._input = self._member.unused_data if self._between else self._member.unconsumed_tail
