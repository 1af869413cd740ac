"""Counting what was read: gives entries their index and ends an upload that asks for too much."""

from typing import Final

from app.reading.faults import unreadable
from app.reading.limits import ReadingLimits

# A header and padding, which a tar has beside each document.
_OVERHEAD_BYTES: Final = 2_048


class Ledger:
    """The count of one upload, shared by all readers that work on it (archives inside a multipart body)."""

    def __init__(self, limits: ReadingLimits, start_index: int) -> None:
        self.limits = limits
        self._start_index = start_index
        self._next_index = 0
        self._total_bytes = 0
        self._passed_over = 0
        self._inflated = 0

    def admit(self, size: int, offset: int) -> int:
        """Count one entry with `size` bytes of document, at `offset` of the body, and return its index.

        Raises UnreadableUpload when there are more entries or bytes than allowed. Skipped entries are counted
        just the same, so that a resumed reading ends where the first one would have.
        """
        index = self._next_index
        if index >= self.limits.max_entries:
            raise unreadable(
                "too-many-entries",
                f"The upload has more than {self.limits.max_entries:,} entries",
                f"Przesyłka ma więcej niż {self.limits.max_entries:,} pozycji",
                offset,
            )
        self._total_bytes += size
        if self._total_bytes > self.limits.max_total_bytes:
            raise unreadable(
                "too-many-bytes",
                f"The documents of the upload have more than {self.limits.max_total_bytes:,} bytes together",
                f"Dokumenty w przesyłce mają łącznie ponad {self.limits.max_total_bytes:,} bajtów",
                offset,
            )
        self._next_index = index + 1
        return index

    def pass_over(self, offset: int) -> None:
        """Count something that is no entry (a folder, a form field, a header of headers).

        Raises UnreadableUpload when there is far more of it than entries may be: passing over costs time as well.
        """
        self._passed_over += 1
        if self._passed_over > self.limits.max_passed_over:
            raise unreadable(
                "too-much-else",
                f"The upload has more than {self.limits.max_passed_over:,} folders, form fields and the like",
                f"Przesyłka ma ponad {self.limits.max_passed_over:,} folderów, pól formularza itp.",
                offset,
            )

    def inflate(self, size: int) -> bool:
        """Count bytes that came out of a gzip stream; False when all streams together gave more than documents may have."""
        self._inflated += size
        return self._inflated <= self.limits.max_total_bytes + _OVERHEAD_BYTES * self.limits.max_entries

    def wanted(self, index: int) -> bool:
        """Tell whether the entry is to be yielded, not only counted."""
        return index >= self._start_index
