"""Bytes read once from start to end, for forms that have no directory: plain, or inflated from gzip."""

from typing import Final, Protocol, cast

from isal import isal_zlib

from app.reading.faults import unreadable
from app.reading.limits import ReadingLimits
from app.reading.source import BLOCK_BYTES, Source, SourceFile

_DEFLATE_ERROR = cast("type[Exception]", isal_zlib.error)
_TAR_OVERHEAD: Final = 2_048
_GZIP: Final = 31


class Stream(Protocol):
    """What the tar reader needs; running out is told by short answers, never by an exception."""

    @property
    def offset(self) -> int:
        """Where in the body we are, near enough for a message."""

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes, fewer only at the end."""

    def skip(self, length: int) -> int:
        """Pass over the next `length` bytes without holding them; return how many there were."""


class PlainStream:
    """A source read in order; skipping costs nothing."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._position = 0

    @property
    def offset(self) -> int:
        """Where in the body we are."""
        return self._source.start + self._position

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes, fewer only at the end."""
        taken = self._source.read_at(self._position, length)
        self._position += len(taken)
        return taken

    def skip(self, length: int) -> int:
        """Pass over the next `length` bytes; return how many there were."""
        skipped = min(length, self._source.size - self._position)
        self._position += skipped
        return skipped


class GzipStream:
    """A gzip stream of any number of members, inflated in blocks; checksums are checked at each member's end.

    Raises UnreadableUpload: at once when the data do not begin like gzip, from `take` and `skip` when the stream
    is cut or damaged, or inflates to more than the limits allow.
    """

    def __init__(self, source: Source, limits: ReadingLimits) -> None:
        if source.read_at(0, 2) != b"\x1f\x8b"[: source.size]:
            raise unreadable(
                "not-a-gzip", "The data are not a gzip stream", "Dane nie są strumieniem gzip", source.start
            )
        self._start = source.start
        self._raw = SourceFile(source)
        self._member = isal_zlib.decompressobj(wbits=_GZIP)
        self._input = b""
        self._between = True
        self._ended = False
        self._limits = limits
        self._total = 0
        self._block = b""
        self._at = 0

    @property
    def offset(self) -> int:
        """Where in the body we are, give or take the block that was read ahead."""
        return self._start + self._raw.position

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
        """Pass over the next `length` bytes; return how many there were."""
        skipped = min(length, len(self._block) - self._at)
        self._at += skipped
        while skipped < length and self._fill():
            self._at = min(length - skipped, len(self._block))
            skipped += self._at
        return skipped

    def _fill(self) -> bool:
        self._block, self._at = b"", 0
        while not self._block:
            if not self._input and not self._ended:
                self._input = self._raw.read(BLOCK_BYTES) or b""
                self._ended = not self._input
            if self._between:
                # Zeros after a member are padding, as gzip itself has it; anything else must be another member.
                self._input = self._input.lstrip(b"\0")
                if not self._input:
                    if self._ended:
                        return False
                    continue
                self._member = isal_zlib.decompressobj(wbits=_GZIP)
                self._between = False
            try:
                self._block = self._member.decompress(self._input, BLOCK_BYTES)
            except (_DEFLATE_ERROR, OverflowError) as error:
                raise unreadable(
                    "gzip-damaged",
                    "The gzip stream is damaged",
                    "Strumień gzip jest uszkodzony",
                    self.offset,
                ) from error
            if self._ended and not self._block and not self._member.eof:
                # Only now: what could be inflated before the cut has been given out.
                raise unreadable(
                    "gzip-truncated",
                    "The gzip stream ends too early; the upload was probably cut",
                    "Strumień gzip kończy się za wcześnie; przesyłka została prawdopodobnie ucięta",
                    self.offset,
                )
            self._input = self._member.unconsumed_tail
            if self._member.eof:
                self._input = self._member.unused_data
                self._between = True
        self._total += len(self._block)
        limits = self._limits
        allowed = max(limits.ratio_grace_bytes, limits.max_ratio * self._raw.position)
        # What the documents may have together, and a header with padding for each.
        ceiling = limits.max_total_bytes + _TAR_OVERHEAD * limits.max_entries
        if self._total > allowed or self._total > ceiling:
            raise unreadable(
                "gzip-ratio",
                "The gzip stream inflates to far more than invoices can",
                "Strumień gzip rozpakowuje się do rozmiaru niemożliwego w przypadku faktur",
                self.offset,
            )
        return bool(self._block)
