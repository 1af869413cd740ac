"""KSeF's limits on a package, one named constant each, with its source.

The invoice count is not here: it differs from context to context and is asked for (`GET /limits/context`).
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
"""99,999,984: the documents do not say on which side of the encryption the part limit is measured, and a
slice of this size keeps within it on both sides (it encrypts to exactly 100,000,000 bytes)."""

MAX_ENTRY_NAME_BYTES: Final = 100
"""ASCII name of an entry: what a plain ustar header holds. KSeF shows up to 128 (`invoiceFileName`)."""

ZIP_MAX_ENTRIES: Final = 65_535
"""More entries need ZIP64, which KSeF does not document. Source: PKWARE APPNOTE 6.3, section 4.4.21."""

ZIP_MAX_BYTES: Final = 0xFFFF_FFFE
"""A larger ZIP needs ZIP64, which 0xFFFFFFFF in a field announces. Source: PKWARE APPNOTE 6.3, 4.4.24."""
