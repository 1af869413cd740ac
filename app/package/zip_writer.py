"""A ZIP package made by splicing: local headers and a directory around compressed data.

It uses only features that every reader supports: version 2.0, method 8, no flags, no extra fields, no
data descriptors, no ZIP64, one fixed time. The same entries therefore always give the same bytes, so that a
package built again after a crash has the hash that was declared to KSeF. Source of the layout: PKWARE APPNOTE
6.3, sections 4.3.7, 4.3.12 and 4.3.16.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from app.package.entries import PackageEntry, check_name
from app.package.errors import MalformedEntry, PackageLimitExceeded
from app.package.limits import ZIP_MAX_BYTES, ZIP_MAX_ENTRIES

__all__ = ["ZIP_END_BYTES", "PackageEntry", "zip_entry_size", "zip_package", "zip_size"]

# signature, version, flags, method, time, date | crc, compressed size, size, name length, extra length
_LOCAL: Final = struct.Struct("<4s5H3L2H")
# the same with the maker's version first, then comment length, disk, internal and external attributes, offset
_CENTRAL: Final = struct.Struct("<4s6H3L5H2L")
_END: Final = struct.Struct("<4s4H2LH")

_VERSION: Final = 20  # 2.0: deflate; made on FAT, whose attributes are 0 for a regular file
_DEFLATE: Final = 8
_DOS_TIME: Final = 0
_DOS_DATE: Final = 0x21  # 1980-01-01, the earliest

ZIP_END_BYTES: Final = _END.size
"""Bytes of a ZIP beyond its entries."""

# Entries are yielded in blocks, not one by one: cipher and hashes work best on large blocks.
_BLOCK_BYTES: Final = 1 << 20


def zip_entry_size(name_length: int, compressed_size: int) -> int:
    """Return the bytes that one entry adds to a ZIP, its line in the directory included."""
    return _LOCAL.size + _CENTRAL.size + 2 * name_length + compressed_size


def zip_size(entries: Iterable[tuple[int, int]]) -> int:
    """Return the exact size in bytes of the ZIP of entries with these (name length, compressed size).

    Checks no limit: sealing uses it to compute how many entries fit.
    """
    return ZIP_END_BYTES + sum(zip_entry_size(length, size) for length, size in entries)


def zip_package(entries: Iterable[PackageEntry]) -> Iterator[bytes]:
    """Yield the ZIP of the entries, in blocks of about 1 MiB; memory holds one block and the directory.

    Raises MalformedEntry on a bad or repeated name or a number out of range, PackageLimitExceeded when there
    is no entry, when there are more than 65,535, or when the ZIP would reach 4 GiB. Either can come after
    blocks were yielded: the caller then discards the package. It does not check that compressed data fit size and
    CRC-32; intake made them together.
    """
    directory = bytearray()
    names: set[str] = set()
    block: list[bytes | memoryview] = []
    block_bytes = 0
    offset = 0
    for entry in entries:
        if len(names) == ZIP_MAX_ENTRIES:
            raise PackageLimitExceeded(f"A ZIP package takes at most {ZIP_MAX_ENTRIES} entries")
        name = _name_of(entry, names)
        stored = len(entry.compressed)
        # ZIP64 begins where a number no longer fits; the sum bounds each single number as well.
        if offset + len(directory) + zip_entry_size(len(name), stored) + ZIP_END_BYTES > ZIP_MAX_BYTES:
            raise PackageLimitExceeded("A ZIP package stays below 4 GiB; seal it with fewer invoices")
        try:
            local = _LOCAL.pack(
                b"PK\3\4", _VERSION, 0, _DEFLATE, _DOS_TIME, _DOS_DATE,
                entry.crc32, stored, entry.size, len(name), 0,
            )  # fmt: skip
        except struct.error as error:
            raise MalformedEntry(f"Entry {entry.name} has a CRC-32 or size out of range") from error
        directory += _CENTRAL.pack(
            b"PK\1\2", _VERSION, _VERSION, 0, _DEFLATE, _DOS_TIME, _DOS_DATE,
            entry.crc32, stored, entry.size, len(name), 0, 0, 0, 0, 0, offset,
        )  # fmt: skip
        directory += name
        block += (local, name, entry.compressed)
        taken = _LOCAL.size + len(name) + stored
        offset += taken
        block_bytes += taken
        if block_bytes >= _BLOCK_BYTES:
            yield b"".join(block)
            block.clear()
            block_bytes = 0
    if not names:
        raise PackageLimitExceeded("A package holds at least one entry")
    end = _END.pack(b"PK\5\6", 0, 0, len(names), len(names), len(directory), offset, 0)
    yield b"".join((*block, directory, end))


def _name_of(entry: PackageEntry, names: set[str]) -> bytes:
    check_name(entry.name)
    if entry.name in names:
        # KSeF does not document two entries of one name, so none are sent.
        raise MalformedEntry(f"Two entries are called {entry.name}")
    names.add(entry.name)
    return entry.name.encode("ascii")
