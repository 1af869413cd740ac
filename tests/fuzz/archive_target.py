"""One fuzzed upload body: read it, decode every entry, resume in the middle, and hold the outcome to what is promised.

The first byte of the input chooses how the rest becomes a body, the second where reading is resumed. Some ways put the
rest into a container with right checksums, so that the fuzzer need not guess those.
"""

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.errors import UnreadableUpload
from app.reading import faults
from app.reading.entry import RawEntry, decode_entry
from app.reading.faults import EntryUnreadable
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries

BOUNDARY = "x"
LIMITS = ReadingLimits(
    max_entries=40,
    max_document_bytes=20_000,
    max_name_bytes=128,
    max_ratio=50,
    ratio_grace_bytes=8_192,
    max_total_bytes=200_000,
)
"""The product's limits, scaled down so that small inputs reach them."""
MAX_BODY = 1 << 20
MAX_INFLATED = 1 << 30
MAX_REASONS = 21
_BLOCK = 512
_MAX_NAME = 255
_PAD = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reading gave: the entries in order, and the reasons why something could not be read, none when all could."""

    entries: tuple[RawEntry, ...]
    reasons: tuple[str, ...]


def _as_it_is(data: bytes) -> bytes:
    return data


def repaired_tar(data: bytes) -> bytes:
    """Return the same tar with right checksums in every header that the sizes lead to, and with an end."""
    tar = bytearray(data.ljust(-(-len(data) // _BLOCK) * _BLOCK, b"\0"))
    at = 0
    while at + _BLOCK <= len(tar) and tar[at : at + _BLOCK].strip(b"\0"):
        header = tar[at : at + _BLOCK]
        header[148:156] = b" " * 8
        tar[at + 148 : at + 156] = b"%06o\0 " % sum(header)
        digits = bytes(header[124:136]).strip(b" \0")
        size = int(digits, 8) if digits and all(byte in b"01234567" for byte in digits) else 0
        at += _BLOCK + -(-min(size, MAX_BODY) // _BLOCK) * _BLOCK
    return bytes(tar) + bytes(2 * _BLOCK)


def _gzipped(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def repaired_zip(data: bytes) -> bytes:
    """Return a ZIP of the pieces of `data` between `|PK|`, each `flags, method, name | content`, with right checksums."""
    local, central = io.BytesIO(), io.BytesIO()
    pieces = data.split(b"|PK|")[:64]
    for piece in pieces:
        name, _, content = piece[4:].partition(b"|")
        flags, method = struct.unpack("<HH", piece[:4].ljust(4, b"\0"))
        packer = zlib.compressobj(1, zlib.DEFLATED, -15)
        packed = packer.compress(content) + packer.flush() if method == zlib.DEFLATED else content
        numbers = (20, flags, method, 0, 33, zlib.crc32(content), len(packed), len(content), len(name), 0)
        offset = local.tell()
        local.write(struct.pack("<4s5HLLLHH", b"PK\3\4", *numbers) + name + packed)
        central.write(struct.pack("<4sBB5HLLL5HLL", b"PK\1\2", 20, 3, *numbers, 0, 0, 0, 0, offset) + name)
    counts = (0, 0, len(pieces), len(pieces), central.tell(), local.tell(), 0)
    return local.getvalue() + central.getvalue() + struct.pack("<4sHHHHLLH", b"PK\5\6", *counts)


@dataclass(frozen=True, slots=True)
class Way:
    """How the rest of the input becomes a body of a kind, and whether it is then sent gzip-coded."""

    kind: BodyKind
    make: Callable[[bytes], bytes] = _as_it_is
    coded: bool = False


WAYS = (
    Way(BodyKind.ZIP),
    Way(BodyKind.TAR),
    Way(BodyKind.TARGZ),
    Way(BodyKind.NDJSON),
    Way(BodyKind.MULTIPART),
    Way(BodyKind.XML),
    Way(BodyKind.TAR, repaired_tar),
    Way(BodyKind.TARGZ, lambda data: _gzipped(repaired_tar(data))),
    Way(BodyKind.TARGZ, _gzipped),
    Way(BodyKind.ZIP, repaired_zip),
    Way(BodyKind.NDJSON, coded=True),
    Way(BodyKind.MULTIPART, coded=True),
    Way(BodyKind.XML, coded=True),
    Way(BodyKind.TAR, repaired_tar, coded=True),
)


class _ShortReads(io.BytesIO):
    """A file that never gives all that is asked for at once, as stored bodies may."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most seven eighths of what was asked for, but something."""
        return super().read(size if size is None or size <= _PAD else max(1, size - size // 8))


def check_archive(data: bytes) -> None:
    """Read one fuzzed body in every way that is promised to give the same. Raises AssertionError where it does not.

    Any other exception, a hang or a flood of memory is a fault of the readers.
    """
    if len(data) < 2 or len(data) > MAX_BODY:
        return
    way, body = _body_of(data)
    whole = _read(way.kind, io.BytesIO(body), len(body), 0)
    assert len(whole.entries) <= LIMITS.max_entries
    for position, entry in enumerate(whole.entries):
        assert entry.index == position, "indexes ascend without a gap"
        _check_entry(entry)
    if whole.entries:
        resumed_at = data[1] % (len(whole.entries) + 1)
        rest = _read(way.kind, _ShortReads(body), len(body), resumed_at)
        assert rest == Reading(whole.entries[resumed_at:], whole.reasons), "a resumed reading gives the same tail"
    if way.coded:
        _check_coded(way.kind, body, whole)


def _check_coded(kind: BodyKind, body: bytes, plain: Reading) -> None:
    """The same body, gzip-coded in transit, holds the same entries; only bounds of its own may make a difference."""
    for sent in (_gzipped(body), body):
        coded = _read(kind, _ShortReads(sent), len(sent), 0, coded=True)
        of_coding = any(reason.startswith(("gzip-", "not-a-gzip", "too-")) for reason in coded.reasons)
        if sent is not body and not of_coding and not any(_is_of_coding(entry) for entry in coded.entries):
            assert coded == plain, "a coding changes nothing"
        for entry in coded.entries:
            _check_entry(entry)


def _is_of_coding(entry: RawEntry) -> bool:
    return entry.fault is not None and entry.fault == faults.PART_TOO_LARGE_CODED


def reading_of(data: bytes) -> Reading:
    """What reading this input gives, without a look at the promises."""
    way, body = _body_of(data)
    return _read(way.kind, io.BytesIO(body), len(body), 0)


def _body_of(data: bytes) -> tuple[Way, bytes]:
    way = WAYS[data[0] % len(WAYS)]
    return way, way.make(data[2:])


def _read(kind: BodyKind, file: io.BytesIO, size: int, start_index: int, *, coded: bool = False) -> Reading:
    found: list[RawEntry] = []
    boundary = BOUNDARY if kind is BodyKind.MULTIPART else None
    entries: Iterator[RawEntry] = read_entries(
        kind, file, size=size, limits=LIMITS, boundary=boundary, start_index=start_index, gzip_coded=coded
    )
    try:
        for entry in entries:
            found.append(entry)  # noqa: PERF402  # what came before an error must be kept
    except UnreadableUpload as error:
        # Of a coded body, offsets count what was inflated.
        return Reading(tuple(found), _checked_reasons(error, MAX_INFLATED if coded else size))
    return Reading(tuple(found), ())


def _checked_reasons(error: UnreadableUpload, size: int) -> tuple[str, ...]:
    assert error.errors
    assert len(error.errors) <= MAX_REASONS
    for shape in error.errors:
        json.dumps(shape, ensure_ascii=False).encode()
        assert shape["message"]
        assert shape["message_pl"]
        assert shape["offset"] is None or 0 <= shape["offset"] <= size, "an error names a place of the body"
    return tuple(str(shape["reason"]) for shape in error.errors)


def _check_entry(entry: RawEntry) -> None:
    _check_name(entry.name)
    assert len(entry.payload) <= max(LIMITS.max_compressed_bytes, LIMITS.max_line_bytes)
    try:
        document = decode_entry(entry, LIMITS.max_document_bytes)
    except EntryUnreadable as error:
        shape = error.finding().as_dict()
        json.dumps(shape, ensure_ascii=False).encode()
        assert shape["rule"]
        assert shape["message"]
        assert shape["message_pl"]
        return
    assert entry.fault is None
    _check_name(document.name)
    assert len(document.content) <= LIMITS.max_document_bytes
    assert entry.size is None or entry.size == len(document.content)
    assert entry.crc32 is None or entry.crc32 == zlib.crc32(document.content)


def _check_name(name: str) -> None:
    assert 0 < len(name) <= _MAX_NAME
    name.encode()
    assert name.isprintable()
    assert not name.startswith("/")
    assert ".." not in name.split("/")
