"""KSeF's limits on a package, one named constant each, with its source.

The invoice count is not here: it differs by context and comes from `GET /limits/context`.
"""

from typing import Final

MAX_PARTS: Final = 50
"""Parts of one package; more is error 21161. Source: KSeF API 2.9, POST /sessions/batch, `fileParts`."""

MAX_PART_PLAIN_BYTES: Final = 100_000_000
"""Bytes of one part before encryption (decimal MB); else error 21157. Source: ksef-docs, sesja-wsadowa.md."""

MAX_PACKAGE_BYTES: Final = 5_000_000_000
"""Bytes of the whole package, plain. Source: KSeF API 2.9, `batchFile.fileSize`; more is error 21405."""

AES_BLOCK_BYTES: Final = 16
"""AES block; also the length of the initialization vector. Source: ksef-docs, sesja-wsadowa.md."""

AES_KEY_BYTES: Final = 32
"""AES-256 key. Source: ksef-docs, sesja-wsadowa.md."""

DEFAULT_PART_PLAIN_BYTES: Final = MAX_PART_PLAIN_BYTES - AES_BLOCK_BYTES
"""99,999,984: KSeF's documents leave open whether the part limit counts plain or encrypted bytes, and a
slice of this size keeps the limit both ways (it encrypts to exactly 100,000,000 bytes)."""

_TARGZ_MARGIN: Final = 0.9
"""Share of the package limit that a tar.gz is planned for. It is compressed anew as a whole, and a package whose invoices do not
compress at all may become a little larger than their sum."""

MAX_ENTRY_NAME_BYTES: Final = 100
"""ASCII name of an entry: what a plain ustar header holds. KSeF shows up to 128 (`invoiceFileName`)."""

ZIP_MAX_ENTRIES: Final = 65_535
"""More entries need ZIP64, which KSeF does not document. Source: PKWARE APPNOTE 6.3, section 4.4.21."""

ZIP_MAX_BYTES: Final = 0xFFFF_FFFE
"""A larger ZIP needs ZIP64, which 0xFFFFFFFF in a field announces. Source: PKWARE APPNOTE 6.3, 4.4.24."""


def part_plain_bytes(configured: int) -> int:
    """Return the plain bytes of a part: the configured number, with sixteen bytes left for the padding below KSeF's limit."""
    return min(configured, DEFAULT_PART_PLAIN_BYTES)


def max_package_bytes(configured_part: int, compression: str) -> int:
    """Return the most bytes of a package: KSeF's limit, fifty parts, and the size that a ZIP without ZIP64 can address."""
    limit = min(MAX_PACKAGE_BYTES, MAX_PARTS * part_plain_bytes(configured_part))
    return int(limit * _TARGZ_MARGIN) if compression == "targz" else min(limit, ZIP_MAX_BYTES) - 22
