"""Ready entries: documents compressed once, at intake, as a package stores them."""

import re
from typing import Final, NamedTuple, cast

from isal import isal_zlib

from app.package.errors import MalformedEntry
from app.package.limits import MAX_ENTRY_NAME_BYTES

# Raw DEFLATE, 32 KiB window, no zlib or gzip wrapping: the data behind a ZIP's local header.
_RAW_DEFLATE: Final = -15

# Measured on the official FA(3) samples (4 KB each, one core): level 1 makes 371 MB/s at 35.6 % of the size,
# level 2 365 MB/s at 35.5 %, level 3 269 MB/s at 35.2 %, level 0 814 MB/s at 42.9 %. zlib's own level 1
# makes 103 MB/s at 35.6 %. Higher levels save almost no bytes on documents this small.
_LEVEL: Final = 1

# Our own compression shrinks an invoice to some 40 %.
_WORTH_KEEPING: Final = 0.6

_DEFLATE_ERROR = cast("type[Exception]", isal_zlib.error)

_NAME = re.compile(r"[A-Za-z0-9._-]+\.xml")


class PackageEntry(NamedTuple):
    """One document ready for a package.

    `name` is flat ASCII ending in `.xml`; `crc32` and `size` (bytes) are the document's; `compressed` is
    its raw DEFLATE stream. This class checks nothing: the writers check their input.
    """

    name: str
    crc32: int
    size: int
    compressed: bytes | memoryview


def compress(document: bytes) -> bytes:
    """Return the document as one complete raw DEFLATE stream.

    Another processor or version of isal may produce other bytes that inflate to the same document. A package that
    must be repeatable is therefore stored, not built again.
    """
    return isal_zlib.compress(document, _LEVEL, _RAW_DEFLATE)


def ready_stream(document: bytes, deflated: bytes | None) -> bytes:
    """Return the raw DEFLATE stream of a document: `deflated`, unless it is missing or hardly compressed.

    `deflated` must be complete and have been read by zlib: KSeF reads with another library, and a stream that only some
    libraries take would cost a whole session.
    """
    if deflated is not None and len(deflated) <= _WORTH_KEEPING * len(document):
        return deflated
    return compress(document)


def crc32(document: bytes) -> int:
    """Return the CRC-32 of the document, as ZIP and gzip count it."""
    return isal_zlib.crc32(document)


def compress_entry(name: str, document: bytes) -> PackageEntry:
    """Return the ready entry of a document. Raises MalformedEntry if the name does not fit a package."""
    return PackageEntry(check_name(name), crc32(document), len(document), compress(document))


def decompress(data: bytes | memoryview, size: int) -> bytes:
    """Inflate one complete raw DEFLATE stream that must hold exactly `size` bytes.

    Holds at most `size` + 1 bytes of output. Raises MalformedEntry when
    the stream is damaged, cut, followed by other bytes, or of another size.
    """
    inflater = isal_zlib.decompressobj(_RAW_DEFLATE)
    try:
        document = inflater.decompress(data, size + 1)
    except _DEFLATE_ERROR as error:
        raise MalformedEntry(f"The entry's compressed data are damaged: {error}") from error
    if len(document) > size:
        raise MalformedEntry(f"The entry inflates to more than the {size} bytes on record")
    if not inflater.eof:
        raise MalformedEntry("The entry's compressed data end too early")
    if len(document) != size:
        raise MalformedEntry(f"The entry inflates to {len(document)} bytes, {size} are on record")
    if inflater.unused_data:
        raise MalformedEntry("The entry's compressed data are followed by other bytes")
    return document


def document_of(entry: PackageEntry) -> bytes:
    """Return the document inside a ready entry. Raises MalformedEntry if size or CRC-32 do not hold."""
    document = decompress(entry.compressed, entry.size)
    if crc32(document) != entry.crc32:
        raise MalformedEntry(f"Entry {entry.name} does not have the CRC-32 on record")
    return document


def check_name(name: str) -> str:
    """Return the name if a package may carry it: `[A-Za-z0-9._-]`, at most 100 bytes, ending in `.xml`.

    KSeF does not document other names, so none are sent. Raises MalformedEntry.
    """
    if len(name) > MAX_ENTRY_NAME_BYTES or _NAME.fullmatch(name) is None:
        raise MalformedEntry(f"Entry name {name[:120]!r} is not made of 1 to 100 of A-Z a-z 0-9 . _ - ending in .xml")
    return name
