"""Where the directory of a ZIP is. Source: PKWARE APPNOTE 6.3, sections 4.3.14 to 4.3.16."""

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


@dataclass(frozen=True, slots=True)
class Directory:
    """Place, length (bytes) and number of lines of the directory."""

    offset: int
    size: int
    entries: int


def find_directory(source: Source, limits: ReadingLimits) -> Directory:
    """Return where the directory is.

    The end record must close the body exactly: a ZIP with something behind it can show two programs two
    different contents. Raises UnreadableUpload when there is none (then it was cut, or is no ZIP), when it
    contradicts itself, is one of several volumes, or has more entries than allowed.
    """
    tail_at = max(0, source.size - _END.size - _MAX_COMMENT)
    tail = source.window(tail_at, source.size - tail_at).read_at(0, source.size - tail_at)
    at = _end_record(tail)
    if at < 0:
        if source.read_at(0, 4) not in {b"PK\3\4", b"PK\5\6"}:
            raise unreadable("not-a-zip", "The data are not a ZIP", "Dane nie są archiwum ZIP", source.start)
        raise unreadable(
            "zip-truncated",
            "The ZIP has no directory at its end; the upload was probably cut",
            "Archiwum ZIP nie ma katalogu na końcu; przesyłka została prawdopodobnie ucięta",
            source.start + source.size,
        )
    _, disk, start_disk, entries_here, entries, size, offset, _ = _END.unpack_from(tail, at)
    end = tail_at + at
    # Whoever writes the 64-bit record writes its locator just before the classic one.
    if at >= _LOCATOR.size and tail.startswith(b"PK\6\7", at - _LOCATOR.size):
        _, _, end64, _ = _LOCATOR.unpack_from(tail, at - _LOCATOR.size)
        record = source.read_at(end64, _END64.size) if end64 < source.size else b""
        if len(record) < _END64.size or not record.startswith(b"PK\6\6"):
            raise _contradiction(source.start + end)
        _, _, _, _, disk, start_disk, entries_here, entries, size, offset = _END64.unpack(record)
        end = end64
    if disk or start_disk or entries_here != entries:
        raise unreadable(
            "zip-in-volumes",
            "The ZIP is one of several volumes; pack it into one file",
            "Archiwum ZIP jest jednym z kilku tomów; należy spakować je do jednego pliku",
            source.start + end,
        )
    if offset + size > end or entries * _SMALLEST_RECORD > size or (entries == 0) != (size == 0):
        raise _contradiction(source.start + end)
    # Folders and system files have lines as well but are no entries, hence some room; the exact count follows.
    if entries > limits.max_entries + limits.max_passed_over:
        raise unreadable(
            "too-many-entries",
            f"The ZIP has {entries:,} entries, more than the {limits.max_entries:,} allowed",
            f"Archiwum ZIP ma {entries:,} pozycji, więcej niż dozwolone {limits.max_entries:,}",
            source.start + end,
        )
    return Directory(offset, size, entries)


def _end_record(tail: bytes) -> int:
    """Return where in the tail the end record begins whose comment ends with the tail, -1 if there is none."""
    at = tail.rfind(b"PK\5\6")
    while at >= 0:
        if at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail):
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
