"""Reader of packages. It accepts only flat, regular, unambiguous archives.

KSeF documents little about packages (ksef-docs, sesja-wsadowa.md): ZIP, or tar.gz when declared, one invoice in each file.
Undocumented features are rejected here, so that a sender does not rely on them: folders, links, encryption, unneeded ZIP64,
bytes before, between or after the entries, several gzip members, PAX and GNU headers, names that occur twice.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

MAX_NAME = 128
"""The most characters of an entry name, the maximum of `invoiceFileName` (KSeF API 2.9)."""
_READ = 1 << 20
_BLOCK = 512
_FOUR_GIB = 1 << 32
_ZIP64_EXTRA = 0x0001
_LOCAL = struct.Struct("<4s5H3L2H")
_STREAMED = 0x08
_ENCRYPTED = 0x01
_KNOWN_FLAGS = 0x08 | 0x06 | 0x800
"""The allowed flags: streamed sizes, deflate's speed hint, UTF-8 names."""


class BrokenArchive(Exception):
    """The archive cannot be read as a flat set of invoices."""


class TooManyEntries(Exception):
    """The archive has more entries than a session may have."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(str(count))


def read_entries(path: Path, compression: str, max_entries: int) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield name and content, in pieces, of every entry in archive order; read each content before the next entry.

    Raises BrokenArchive or TooManyEntries. A ZIP's layout is checked before the first entry, a tar's during reading, and an
    entry's length and checksum while its content is read.
    """
    if compression == "TarGz":
        return _read_tar(path, max_entries)
    return _read_zip(path, max_entries)


def _check_name(name: str, seen: set[str]) -> None:
    if not name or len(name) > MAX_NAME:
        raise BrokenArchive(f"Nieprawidłowa długość nazwy pliku: {len(name)}.")
    if "/" in name or "\\" in name or name in {".", ".."}:
        raise BrokenArchive(f"Archiwum nie jest płaskie: '{name}'.")
    if any(ord(character) < 32 or character == "\x7f" for character in name):
        raise BrokenArchive("Nazwa pliku zawiera znak sterujący.")
    if name in seen:
        raise BrokenArchive(f"Nazwa pliku powtarza się: '{name}'.")
    seen.add(name)


# ZIP


def _read_zip(path: Path, max_entries: int) -> Iterator[tuple[str, Iterator[bytes]]]:
    size = path.stat().st_size
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BrokenArchive(f"To nie jest archiwum ZIP: {error}.") from error
    with archive, path.open("rb") as raw:
        entries = archive.infolist()
        if len(entries) > max_entries:
            raise TooManyEntries(len(entries))
        seen: set[str] = set()
        for entry in entries:
            _check_zip_entry(entry, seen, size)
        _check_zip_layout(archive, entries, raw, size)
        for entry in entries:
            yield entry.filename, _zip_chunks(archive, entry)


def _check_zip_entry(entry: zipfile.ZipInfo, seen: set[str], archive_size: int) -> None:
    _check_name(entry.orig_filename if "\0" in entry.orig_filename else entry.filename, seen)
    if entry.flag_bits & _ENCRYPTED:
        raise BrokenArchive(f"Plik '{entry.filename}' jest zaszyfrowany.")
    if entry.flag_bits & ~_KNOWN_FLAGS:
        raise BrokenArchive(f"Plik '{entry.filename}' ma nieobsługiwane flagi.")
    if entry.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise BrokenArchive(f"Plik '{entry.filename}' ma nieobsługiwaną metodę kompresji.")
    kind = (entry.external_attr >> 16) & 0o170000
    if entry.is_dir() or entry.external_attr & 0x10 or kind not in {0, 0o100000}:
        raise BrokenArchive(f"'{entry.filename}' nie jest zwykłym plikiem.")
    if archive_size < _FOUR_GIB and _ZIP64_EXTRA in _extra_ids(entry.extra):
        raise BrokenArchive(f"Plik '{entry.filename}' używa ZIP64 bez potrzeby.")


def _extra_ids(extra: bytes) -> set[int]:
    ids: set[int] = set()
    offset = 0
    while offset + 4 <= len(extra):
        identifier, length = struct.unpack_from("<HH", extra, offset)
        ids.add(identifier)
        offset += 4 + length
    if offset != len(extra):
        raise BrokenArchive("Uszkodzone pole dodatkowe pliku ZIP.")
    return ids


def _check_zip_layout(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], raw: BinaryIO, size: int) -> None:
    """Check that the entries follow each other from the first byte on, and only the directory follows them."""
    expected = 0
    for entry in sorted(entries, key=lambda item: item.header_offset):
        raw.seek(entry.header_offset)
        header = raw.read(_LOCAL.size)
        if len(header) != _LOCAL.size:
            raise BrokenArchive("Nagłówek pliku wykracza poza archiwum.")
        signature, _, flags, method, _, _, crc, packed, unpacked, name_size, extra_size = _LOCAL.unpack(header)
        if signature != b"PK\x03\x04" or flags != entry.flag_bits or method != entry.compress_type:
            raise BrokenArchive(f"Nagłówek pliku '{entry.filename}' różni się od katalogu.")
        streamed = bool(flags & _STREAMED)
        declared = (entry.CRC, entry.compress_size, entry.file_size)
        if not streamed and (crc, packed, unpacked) != declared:
            raise BrokenArchive(f"Rozmiar lub suma pliku '{entry.filename}' różni się od katalogu.")
        gap = entry.header_offset - expected
        if gap not in ({0, 12, 16} if expected else {0}):
            raise BrokenArchive("Archiwum zawiera bajty poza plikami.")
        data = entry.header_offset + _LOCAL.size + name_size + extra_size
        expected = data + entry.compress_size
        if streamed:
            expected = _skip_descriptor(raw, expected, declared)
    if entries and expected != archive.start_dir:
        raise BrokenArchive("Archiwum zawiera bajty poza plikami.")
    if archive.comment:
        raise BrokenArchive("Archiwum zawiera komentarz.")
    raw.seek(size - 22)
    if raw.read(4) != b"PK\x05\x06":
        raise BrokenArchive("Po katalogu archiwum występują dodatkowe bajty.")
    raw.seek(max(0, size - 42))
    if size < _FOUR_GIB and raw.read(4) == b"PK\x06\x07":
        raise BrokenArchive("Archiwum używa ZIP64 bez potrzeby.")


def _skip_descriptor(raw: BinaryIO, offset: int, declared: tuple[int, int, int]) -> int:
    """Return the end of a data descriptor, with or without its optional signature."""
    raw.seek(offset)
    found = raw.read(16)
    for start in (4, 0):
        if start and found[:4] != b"PK\x07\x08":
            continue
        if len(found) >= start + 12 and struct.unpack_from("<3L", found, start) == declared:
            return offset + start + 12
    raise BrokenArchive("Brak opisu danych po pliku archiwum.")


def _zip_chunks(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(entry) as stream:
            while chunk := stream.read(_READ):
                yield chunk
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        raise BrokenArchive(f"Nie można rozpakować '{entry.filename}': {error}.") from error


# tar.gz


class _Inflated:
    """Forward reader of the plain bytes of one gzip member."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._inflate = zlib.decompressobj(wbits=31)
        self._ready = b""
        self._at = 0
        """The number of bytes of `_ready` already read; removing them each time would copy the rest for every header."""

    def read(self, count: int) -> bytes:
        """Read exactly `count` bytes, fewer only at the end."""
        while len(self._ready) - self._at < count and not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._raw.read(_READ)
            if not packed:
                raise BrokenArchive("Strumień gzip jest ucięty.")
            try:
                more = self._inflate.decompress(packed, max(_READ, count))
            except zlib.error as error:
                raise BrokenArchive(f"To nie jest strumień gzip: {error}.") from error
            self._ready = self._ready[self._at :] + more
            self._at = 0
        taken = self._ready[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def check_nothing_follows(self) -> None:
        """Check that only zero bytes follow up to the end of the member, and no second member."""
        while rest := self.read(_READ):
            if rest.strip(b"\0"):
                raise BrokenArchive("Po końcu archiwum tar występują dane.")
        if self._inflate.unused_data or self._raw.read(1):
            raise BrokenArchive("Archiwum gzip ma więcej niż jeden element.")


def _read_tar(path: Path, max_entries: int) -> Iterator[tuple[str, Iterator[bytes]]]:
    seen: set[str] = set()
    count = 0
    with path.open("rb") as raw:
        stream = _Inflated(raw)
        while True:
            header = stream.read(_BLOCK)
            if len(header) < _BLOCK:
                raise BrokenArchive("Archiwum tar nie ma końca.")
            if not header.strip(b"\0"):
                if stream.read(_BLOCK).strip(b"\0"):
                    raise BrokenArchive("Archiwum tar ma tylko jeden blok końcowy.")
                stream.check_nothing_follows()
                break
            name, size = _read_tar_header(header)
            _check_name(name, seen)
            count += 1
            if count > max_entries:
                # The remaining entries are only counted, because the rejection names their real number.
                _skip(stream, size)
                continue
            yield name, _tar_chunks(stream, size)
    if count > max_entries:
        raise TooManyEntries(count)


def _read_tar_header(header: bytes) -> tuple[str, int]:
    if header[257:265] != b"ustar\x0000":
        raise BrokenArchive("Nagłówek tar nie jest w formacie ustar.")
    plain = header[:148] + b" " * 8 + header[156:]
    if _octal(header[148:156]) != sum(plain):
        raise BrokenArchive("Błędna suma kontrolna nagłówka tar.")
    if header[156:157] != b"0":
        raise BrokenArchive("Archiwum tar zawiera wpis, który nie jest zwykłym plikiem.")
    if header[345:500].strip(b"\0"):
        raise BrokenArchive("Archiwum nie jest płaskie: nagłówek tar ma prefiks.")
    try:
        name = header[:100].split(b"\0", 1)[0].decode("utf-8")
    except UnicodeDecodeError as error:
        raise BrokenArchive("Nazwa pliku w archiwum tar nie jest w UTF-8.") from error
    return name, _octal(header[124:136])


def _octal(field: bytes) -> int:
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise BrokenArchive("Błędna liczba w nagłówku tar.") from error


def _tar_chunks(stream: _Inflated, size: int) -> Iterator[bytes]:
    left = size
    while left:
        chunk = stream.read(min(left, _READ))
        if not chunk:
            raise BrokenArchive("Plik w archiwum tar jest ucięty.")
        left -= len(chunk)
        yield chunk
    padding = -size % _BLOCK
    if len(stream.read(padding)) < padding:
        raise BrokenArchive("Plik w archiwum tar jest ucięty.")


def _skip(stream: _Inflated, size: int) -> None:
    for _ in _tar_chunks(stream, size):
        pass
