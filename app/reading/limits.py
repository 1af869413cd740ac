"""Limits on an upload while it is read. Each limit stops one kind of hostile body."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """Limits on one upload. An entry beyond a limit gets a fault; an upload beyond a limit is read no further.

    - `max_entries`: entries of one upload. A ZIP of empty entries costs its sender 100 bytes each, and our row far more.
    - `max_document_bytes`: one document, inflated and decoded. KSeF takes 3,000,000 bytes with an attachment
      (ksef-docs, limity); a larger one is refused by its name and not loaded.
    - `max_name_bytes`: the name as stored in the body. Names are for information only.
    - `max_ratio`: inflated bytes for each stored byte, of a ZIP entry or a gzip stream. Invoices that differ in
      little reach some hundred in a tar.gz; DEFLATE ends at 1032, which only a decompression bomb approaches.
    - `ratio_grace_bytes`: inflated bytes below which the ratio is not checked.
    - `max_total_bytes`: all documents of one upload together, inflated: a million invoices with room to spare.
    """

    max_entries: int = 1_000_000
    max_document_bytes: int = 3_000_000
    max_name_bytes: int = 1_024
    max_ratio: int = 400
    ratio_grace_bytes: int = 1_000_000
    max_total_bytes: int = 50_000_000_000

    @property
    def max_passed_over(self) -> int:
        """Return the limit on records that are no entries: two for each entry, and a thousand more.

        Such records are folders, form fields, extension headers of a tar, and members of gzip streams.
        """
        return 2 * self.max_entries + 1_000

    @property
    def max_line_bytes(self) -> int:
        """Return the longest NDJSON line that is loaded.

        Base64 takes 4/3 of the document. As text, a Polish letter that is written `\\u0142` takes three times its bytes in
        UTF-8, and some programs also write `<`, `>` and quotes that way.
        """
        return 3 * self.max_document_bytes + 65_536

    @property
    def max_compressed_bytes(self) -> int:
        """Return the longest compressed entry that is loaded: DEFLATE adds 5 bytes for each 64 KB at its worst."""
        return self.max_document_bytes + self.max_document_bytes // 1_000 + 4_096
