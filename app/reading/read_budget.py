"""Counts of an upload's entries and bytes. They give each entry its index and end an upload that exceeds a limit."""

from typing import Final

from app.reading.faults import unreadable
from app.reading.limits import ReadingLimits
from app.reading.passed_over import Passed, PassedOver

# A header and padding, which a tar has beside each document.
_OVERHEAD_BYTES: Final = 2_048


class ReadBudget:
    """The counts of one upload, shared by all its readers (archives inside a multipart body)."""

    def __init__(self, limits: ReadingLimits, start_index: int) -> None:
        self.limits = limits
        self.passed_over = PassedOver()
        self._start_index = start_index
        self._next_index = 0
        self._total_bytes = 0
        self._records = 0
        self._inflated = 0

    def admit(self, size: int, offset: int) -> int:
        """Count one entry with `size` bytes of document, at `offset` of the body, and return its index.

        Raises UnreadableUpload when there are more entries or bytes than allowed. Entries skipped when
        reading resumes count too, so that it stops at the same entry as the first reading.
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

    def expect_invoices(self) -> None:
        """Raise UnreadableUpload if the whole body has been read and no entry was in it."""
        if not self._next_index:
            raise self.passed_over.no_invoices()

    def pass_over(self, offset: int, kind: Passed, name: str = "") -> None:
        """Count a thing that is no entry (a folder, a form field); `name` is safe to show. Raises as `skip_record`."""
        self.passed_over.note(kind, name)
        self.skip_record(offset)

    def skip_record(self, offset: int) -> None:
        """Count a record that is no entry (an extension header, a gzip member, what is passed over).

        Raises UnreadableUpload beyond the limit, since skipping them costs time too.
        """
        self._records += 1
        if self._records > self.limits.max_passed_over:
            raise unreadable(
                "too-much-else",
                f"The upload has more than {self.limits.max_passed_over:,} folders, form fields and the like",
                f"Przesyłka ma ponad {self.limits.max_passed_over:,} folderów, pól formularza itp.",
                offset,
            )

    def inflate(self, size: int) -> bool:
        """Count bytes inflated from gzip streams; return False when they exceed the limit on all documents together."""
        self._inflated += size
        return self._inflated <= self.limits.max_total_bytes + _OVERHEAD_BYTES * self.limits.max_entries

    def wanted(self, index: int) -> bool:
        """Return whether the entry is to be yielded, not only counted."""
        return index >= self._start_index
