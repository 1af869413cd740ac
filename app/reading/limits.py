"""How much an upload may ask of us while it is read. Each limit is there against one kind of hostile body."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """Bounds of one upload. What one entry breaks is that entry's fault; what the whole breaks ends the reading.

    - `max_entries`: entries of one upload. A ZIP of empty entries costs 100 bytes each, our row far more.
    - `max_document_bytes`: one document, inflated and decoded. KSeF takes 3,000,000 bytes with an attachment
      (ksef-docs, limity); a larger one is refused by name, not held.
    - `max_name_bytes`: the name as it stands in the body. Names are for information only.
    - `max_ratio`: inflated bytes for each stored byte, of a ZIP entry or a gzip stream. Invoices that differ in
      little reach some hundred in a tar.gz; DEFLATE ends at 1032, which only a bomb comes near.
    - `ratio_grace_bytes`: inflated bytes below which nobody asks for the ratio.
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
        """Return how much that is no entry may lie between the entries: two of it for each, and some.

        Folders, form fields, headers of headers, members of gzip streams.
        """
        return 2 * self.max_entries + 1_000

    @property
    def max_line_bytes(self) -> int:
        """Return the longest NDJSON line worth holding.

        Base64 takes 4/3 of the document. As text, a Polish letter that is written `\\u0142` takes three times its bytes in
        UTF-8, and some programs also write `<`, `>` and quotes that way.
        """
        return 3 * self.max_document_bytes + 65_536

    @property
    def max_compressed_bytes(self) -> int:
        """Return the longest compressed entry worth holding: DEFLATE adds 5 bytes for each 64 KB at its worst."""
        return self.max_document_bytes + self.max_document_bytes // 1_000 + 4_096
