"""ZIP, read along its directory, which gives sizes, methods and names. Local headers must agree with it.

The directory is read as a stream, so memory does not depend on the number of entries. Source of the
layout: PKWARE APPNOTE 6.3, sections 4.3 to 4.5.
"""

import stat
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from isal import isal_zlib

from app.errors import UnreadableUpload
from app.reading import faults
from app.reading.byte_ranges import ByteRanges
from app.reading.entry import Encoding, RawEntry
from app.reading.faults import EntryFault, unreadable
from app.reading.limits import ReadingLimits
from app.reading.names import clean_name, decode_name, is_junk
from app.reading.passed_over import Passed
from app.reading.read_budget import ReadBudget
from app.reading.source import Source
from app.reading.zip_directory import Directory, find_directory

_CENTRAL: Final = struct.Struct("<4sBB5HLLL5HLL")
_LOCAL: Final = struct.Struct("<4s5HLLLHH")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED: Final = 0x2041  # plain, strong and masked-header encryption
_PATCH: Final = 0x20
_SIZES_FOLLOW: Final = 0x08
_NEEDS_ZIP64: Final = 0xFFFF_FFFF
_DOS_FOLDER: Final = 0x10
_UNIX_SYSTEMS: Final = {3, 19}
# A pipe, too: Info-ZIP marks the data from its standard input so, and the bytes are in the archive.
_FILES: Final = {0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFIFO}
_USUAL_NAMES_BYTES: Final = 160
_USUAL_EXTRA_BYTES: Final = 64
_SMALL_BYTES: Final = 1 << 16
_ZIP64_EXTRA, _UNICODE_PATH_EXTRA = 0x0001, 0x7075


class _Record(NamedTuple):
    """One record of the directory."""

    system: int
    flags: int
    method: int
    crc32: int
    stored: int
    size: int
    attributes: int
    offset: int
    raw_name: bytes
    name: str

    @property
    def file_type(self) -> int:
        return stat.S_IFMT(self.attributes >> 16) if self.system in _UNIX_SYSTEMS else 0

    @property
    def is_folder(self) -> bool:
        by_mode = self.file_type == stat.S_IFDIR or (not self.file_type and bool(self.attributes & _DOS_FOLDER))
        return (by_mode or self.name.endswith(("/", "\\"))) and self.size == 0


def read_zip(source: Source, budget: ReadBudget) -> Iterator[RawEntry]:
    """Yield the entries of a ZIP in the order of its directory; folders and system files are skipped.

    An entry that cannot be used, or contradicts its local header, gets a fault. Raises
    UnreadableUpload when the directory is missing or damaged, so a ZIP that was cut yields nothing.
    """
    directory = find_directory(source, budget.limits)
    # Bytes before the archive (the program of a self-extracting one) are no part of it.
    source = source.window(directory.prefix, source.size - directory.prefix)
    spans = ByteRanges()
    files = source.window(0, directory.offset)
    for record in _records(source, directory):
        end = record.offset + _LOCAL.size + len(record.raw_name) + record.stored
        # A damaged directory may point anywhere; the error must name an offset within the body.
        place = source.start + min(record.offset, directory.offset)
        if record.is_folder:
            budget.pass_over(place, Passed.FOLDER, clean_name(record.name, 0))
            continue
        fault = _fault_of(record, budget.limits)
        if end > directory.offset:
            fault = fault or faults.damaged("it reaches into the directory", "zachodzi na katalog archiwum")
        elif not spans.occupy(record.offset, end):
            fault = faults.OVERLAPS
        if is_junk(record.name):
            budget.pass_over(place, Passed.SYSTEM_FILE, clean_name(record.name, 0))
            continue
        index = budget.admit(0 if fault else record.size, place)
        if not budget.wanted(index):
            continue
        name = clean_name(record.name, index)
        payload = b"" if fault else _payload_of(files, record)
        if isinstance(payload, EntryFault):
            fault, payload = payload, b""
        if fault is not None:
            yield RawEntry(index, name, Encoding.PLAIN, b"", fault=fault)
            continue
        encoding = Encoding.DEFLATE if record.method == _DEFLATED else Encoding.PLAIN
        yield RawEntry(index, name, encoding, payload, size=record.size, crc32=record.crc32)


def _records(source: Source, directory: Directory) -> Iterator[_Record]:
    """Yield the records of the directory. Raises UnreadableUpload if they are damaged or their count is wrong."""
    central = source.window(directory.offset, directory.size)
    at = 0
    count = 0
    while at < directory.size:
        # One read takes the record with a name of usual length and its extra fields.
        line = central.read_at(at, _CENTRAL.size + _USUAL_NAMES_BYTES)
        if len(line) < _CENTRAL.size or not line.startswith(b"PK\1\2"):
            raise _damaged(central.start + at)
        (_, _, system, _, flags, method, _, _, crc, stored, size, name_length, extra_length, comment_length,
         disk, _, attributes, offset) = _CENTRAL.unpack_from(line)  # fmt: skip
        names = line[_CENTRAL.size : _CENTRAL.size + name_length + extra_length]
        if len(names) < name_length + extra_length:
            names = central.read_at(at + _CENTRAL.size, name_length + extra_length)
        at += _CENTRAL.size + name_length + extra_length + comment_length
        count += 1
        if len(names) < name_length + extra_length or at > directory.size or count > directory.entries:
            raise _damaged(central.start + min(at, directory.size))
        raw_name = names[:name_length]
        extras = dict(_extras(names[name_length:])) if extra_length else {}
        if _NEEDS_ZIP64 in {stored, size, offset}:
            size, stored, offset = _zip64(extras.get(_ZIP64_EXTRA, b""), size, stored, offset, central.start + at)
        name = decode_name(_unicode_path(extras.get(_UNICODE_PATH_EXTRA, b""), raw_name) or raw_name)
        if disk not in {0, 0xFFFF}:
            raise _damaged(central.start + at)
        yield _Record(system, flags, method, crc, stored, size, attributes, offset, raw_name, name)
    if count != directory.entries:
        raise _damaged(central.start + at)


def _unicode_path(extra: bytes, raw_name: bytes) -> bytes | None:
    """Return the name in UTF-8 that Info-ZIP adds, None if it is missing or was made for another name."""
    if extra[:1] != b"\1" or len(extra) < 6 or int.from_bytes(extra[1:5], "little") != isal_zlib.crc32(raw_name):
        return None
    return extra[5:]


def _extras(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (id, content) of the extra fields; leftover bytes at the end are ignored, as in other readers."""
    at = 0
    while at + 4 <= len(data):
        field, length = struct.unpack_from("<HH", data, at)
        yield field, data[at + 4 : at + 4 + length]
        at += 4 + length


def _zip64(extra: bytes, size: int, stored: int, offset: int, at: int) -> tuple[int, int, int]:
    """Return the three numbers, those that refer to ZIP64 replaced in the order that the format fixes."""
    numbers = iter(struct.unpack(f"<{len(extra) // 8}Q", extra[: len(extra) // 8 * 8]))
    try:
        size, stored, offset = (
            next(numbers) if number == _NEEDS_ZIP64 else number for number in (size, stored, offset)
        )
    except RuntimeError as error:  # StopIteration inside a generator
        raise _damaged(at) from error
    return size, stored, offset


def _fault_of(record: _Record, limits: ReadingLimits) -> EntryFault | None:
    """Return the fault of an entry that its directory record shows."""
    if record.file_type not in _FILES or record.name.endswith(("/", "\\")):
        return faults.NOT_A_FILE
    if record.flags & _ENCRYPTED:
        return faults.ENCRYPTED
    if record.method not in {_STORED, _DEFLATED} or record.flags & _PATCH:
        return faults.METHOD_UNSUPPORTED
    if len(record.raw_name) > limits.max_name_bytes:
        return faults.NAME_UNUSABLE
    return _size_fault_of(record, limits)


def _size_fault_of(record: _Record, limits: ReadingLimits) -> EntryFault | None:
    if record.size > limits.max_document_bytes:
        return faults.too_large(limits.max_document_bytes)
    if record.size > max(limits.ratio_grace_bytes, record.stored * limits.max_ratio):
        return faults.RATIO
    if record.stored > limits.max_compressed_bytes or (record.method == _STORED and record.stored != record.size):
        return faults.damaged("its sizes contradict each other", "jej rozmiary są sprzeczne")
    return None


def _payload_of(files: Source, record: _Record) -> bytes | EntryFault:
    """Return the stored bytes of an entry, or the fault of a local header that contradicts the directory."""
    length = _LOCAL.size + len(record.raw_name)
    # One read takes header and data, unless the data are large.
    ahead = record.stored + _USUAL_EXTRA_BYTES if record.stored <= _SMALL_BYTES else 0
    header = files.read_at(record.offset, length + ahead)
    if len(header) < _LOCAL.size or not header.startswith(b"PK\3\4"):
        return faults.damaged("it has no header where the directory says", "brak nagłówka we wskazanym miejscu")
    (_, _, flags, method, _, _, crc, stored, size, name_length, extra_length) = _LOCAL.unpack_from(header)
    agrees = (
        method == record.method
        and not (flags ^ record.flags) & _ENCRYPTED
        and name_length == len(record.raw_name)
        and header[_LOCAL.size : length] == record.raw_name
    )
    if agrees and not flags & _SIZES_FOLLOW:
        agrees = crc == record.crc32 and stored in {record.stored, _NEEDS_ZIP64} and size in {record.size, _NEEDS_ZIP64}
    if not agrees:
        return faults.damaged("its header contradicts the directory", "nagłówek jest sprzeczny z katalogiem")
    start = length + extra_length
    payload = header[start : start + record.stored]
    if len(payload) < record.stored:
        payload = files.read_at(record.offset + start, record.stored)
    if len(payload) < record.stored:
        return faults.damaged("it reaches into the directory", "zachodzi na katalog archiwum")
    return payload


def _damaged(offset: int) -> UnreadableUpload:
    return unreadable(
        "zip-directory-damaged",
        "The directory of the ZIP is damaged",
        "Katalog archiwum ZIP jest uszkodzony",
        offset,
    )
