"""The place of a ZIP's directory. Source: PKWARE APPNOTE 6.3, sections 4.3.14 to 4.3.16."""

import struct
from dataclasses import dataclass
from typing import Final

from app.errors import UnreadableUpload
from app.reading.faults import unreadable
from app.reading.limits import ReadingLimits
from app.reading.source import Source

_END: Final = struct.Struct("<4sHHHHLLH")
_LOCATOR: Final = struct.Struct("<4sLQL")
_END64: Final = struct.Struct("<4sQHHLLQQQQ")
_MAX_COMMENT: Final = 0xFFFF
_SMALLEST_RECORD: Final = 46
_SMALLEST_FILE: Final = 30
_LENGTHS: Final = struct.Struct("<3H")
_LENGTHS_AT: Final = 28
"""The lengths of a record's name, extra fields and comment."""
_WRAP: Final = 1 << 16
_FOUR_GIB: Final = 1 << 32
_PADDING: Final = b"\0\r\n"
_PADDING_BLOCK: Final = 1 << 16
_MAX_PADDING: Final = 1 << 20
_RECORD_MARK: Final = b"PK\1\2"
# The values of the classic record that refer to the 64-bit one.
_SATURATED: Final = (0xFFFF, 0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF)


@dataclass(frozen=True, slots=True)
class Directory:
    """Place, length (bytes) and number of lines of the directory.

    All offsets in the archive, that of the directory as well, count from `prefix` bytes into the body.
    """

    prefix: int
    offset: int
    size: int
    entries: int


def find_directory(source: Source, limits: ReadingLimits) -> Directory:
    """Return the place of the directory.

    Behind the end record there may be padding (zeros, line ends) and nothing else: two programs can read different contents
    from a ZIP with data behind it. Data before the archive are skipped, as in other readers, since self-extracting programs begin with code.
    Raises UnreadableUpload when there is no directory (the ZIP was cut, or the data are no ZIP), when it contradicts itself, is
    one of several volumes, or has more entries than allowed.
    """
    tail_at = max(0, source.size - _padding(source) - _END.size - _MAX_COMMENT)
    tail = source.window(tail_at, source.size - tail_at).read_at(0, source.size - tail_at)
    at = _end_record(tail)
    if at < 0:
        raise _no_end(source, tail)
    _, disk, start_disk, entries_here, entries, size, offset, _ = _END.unpack_from(tail, at)
    end = tail_at + at
    is_long = False
    # The locator of a 64-bit record lies just before the classic record.
    if at >= _LOCATOR.size and tail.startswith(b"PK\6\7", at - _LOCATOR.size):
        classic = (entries_here, entries, size, offset)
        end64, record = _end64(source, end - _LOCATOR.size, tail[at - _LOCATOR.size : at])
        _, _, _, _, disk, start_disk, entries_here, entries, size, offset = _END64.unpack(record)
        long_form = (entries_here, entries, size, offset)
        if any(short not in {long, limit} for short, long, limit in zip(classic, long_form, _SATURATED, strict=True)):
            raise _contradiction(source.start + end)
        end = end64
        is_long = True
    if disk or start_disk or entries_here != entries:
        raise unreadable(
            "zip-in-volumes",
            "The ZIP is one of several volumes; pack it into one file",
            "Archiwum ZIP jest jednym z kilku tomów; należy spakować je do jednego pliku",
            source.start + end,
        )
    prefix = end - size - offset
    # Without ZIP64 the number of entries counts modulo 65,536, so a directory with room for more is counted.
    wraps = not is_long and size >= _WRAP * _SMALLEST_RECORD
    if (
        prefix < 0
        or entries * _SMALLEST_RECORD > size
        or (not wraps and (entries == 0) != (size == 0))
        or (size and offset < _SMALLEST_FILE)
    ):
        raise _contradiction(source.start + end)
    if not is_long and prefix >= _FOUR_GIB:
        raise unreadable(
            "zip64-needed",
            "The ZIP is larger than 4 GiB and lacks the ZIP64 records that such a size needs; pack it again with ZIP64",
            "Archiwum ZIP ma ponad 4 GiB, a nie ma wymaganych wtedy rekordów ZIP64; należy spakować je ponownie z ZIP64",
            source.start + end,
        )
    if prefix and size and source.read_at(prefix + offset, 4) != _RECORD_MARK:
        # The extra bytes lie not before the archive but between its directory and its end, or the size is wrong.
        prefix = 0
        if _walk(source, offset, size) != (entries, size):
            size = end - offset
            wraps = True
    if wraps:
        entries = _counted(source, prefix + offset, size, entries)
    # Folders and system files have records but are no entries, so this bound is generous; reading counts exactly.
    if entries > limits.max_entries + limits.max_passed_over:
        raise unreadable(
            "too-many-entries",
            f"The ZIP has {entries:,} entries, more than the {limits.max_entries:,} allowed",
            f"Archiwum ZIP ma {entries:,} pozycji, więcej niż dozwolone {limits.max_entries:,}",
            source.start + end,
        )
    return Directory(prefix, offset, size, entries)


def _counted(source: Source, at: int, size: int, declared: int) -> int:
    """Return the number of records in the directory. Raises UnreadableUpload unless it is the declared one modulo 65,536."""
    count, walked = _walk(source, at, size)
    # Some programs write 65,535 for any larger number.
    agrees = count % _WRAP == declared or (declared == _WRAP - 1 and count > declared)
    if count < _WRAP and (walked != size or not agrees):
        raise _contradiction(source.start + at)
    if walked != size or not agrees:
        raise unreadable(
            "zip-entries-contradict",
            f"The ZIP says that it has {declared:,} entries and its directory has {count:,}; nothing of it was taken. More "
            "than 65,535 entries need ZIP64",
            f"Archiwum ZIP podaje {declared:,} pozycji, a jego katalog ma ich {count:,}; niczego z niego nie przyjęto. "
            "Ponad 65 535 pozycji wymaga ZIP64",
            source.start + at,
        )
    return count


def _walk(source: Source, at: int, size: int) -> tuple[int, int]:
    """Return how many records follow each other from an offset, within `size` bytes, and their bytes together."""
    directory = source.window(at, size)
    count = walked = 0
    while (record := directory.read_at(walked, _SMALLEST_RECORD)).startswith(_RECORD_MARK):
        if len(record) < _SMALLEST_RECORD:
            break
        length = _SMALLEST_RECORD + sum(_LENGTHS.unpack_from(record, _LENGTHS_AT))
        if walked + length > size:
            break
        walked += length
        count += 1
    return count, walked


def _padding(source: Source) -> int:
    """Return how many bytes of padding the body ends in, as far as padding is allowed."""
    length = 0
    while length < min(_MAX_PADDING, source.size):
        block = source.window(max(0, source.size - length - _PADDING_BLOCK), source.size).read_at(
            0, min(_PADDING_BLOCK, source.size - length)
        )
        kept = len(block.rstrip(_PADDING))
        length += len(block) - kept
        if kept:
            break
    return length


def _end64(source: Source, locator_at: int, locator: bytes) -> tuple[int, bytes]:
    """Return the offset of the 64-bit end record, and the record. Raises UnreadableUpload when it is missing."""
    _, _, declared, _ = _LOCATOR.unpack(locator)
    # At the declared offset, or, if data precede the archive, just before its locator.
    for at in (declared, locator_at - _END64.size):
        record = source.read_at(at, _END64.size) if 0 <= at <= locator_at - _END64.size else b""
        if record.startswith(b"PK\6\6"):
            return at, record
    raise _contradiction(source.start + locator_at)


def _no_end(source: Source, tail: bytes) -> UnreadableUpload:
    """Return the error for a body without an end record that closes it."""
    at = tail.rfind(b"PK\5\6")
    if 0 <= at <= len(tail) - _END.size and at + _END.size + _END.unpack_from(tail, at)[-1] < len(tail):
        return unreadable(
            "zip-data-after-end",
            "There are data behind the end of the ZIP",
            "Za końcem archiwum ZIP są dane",
            source.start + source.size - len(tail) + at,
        )
    if source.read_at(0, 4) not in {b"PK\3\4", b"PK\5\6"}:
        return unreadable("not-a-zip", "The data are not a ZIP", "Dane nie są archiwum ZIP", source.start)
    return unreadable(
        "zip-truncated",
        "The ZIP has no directory at its end; the upload was probably cut",
        "Archiwum ZIP nie ma katalogu na końcu; przesyłka została prawdopodobnie ucięta",
        source.start + source.size,
    )


def _end_record(tail: bytes) -> int:
    """Return the offset in the tail of the end record behind whose comment only padding follows, -1 if there is none."""
    data_end = len(tail.rstrip(_PADDING))
    at = tail.rfind(b"PK\5\6")
    while at >= 0:
        end = at + _END.size + (_END.unpack_from(tail, at)[-1] if at + _END.size <= len(tail) else len(tail))
        if data_end <= end <= len(tail):
            return at
        at = tail.rfind(b"PK\5\6", 0, at)
    return -1


def _contradiction(offset: int) -> UnreadableUpload:
    return unreadable(
        "zip-directory-damaged",
        "The end of the ZIP contradicts itself",
        "Koniec archiwum ZIP zawiera sprzeczne dane",
        offset,
    )
