"""tar, plain or out of gzip, read as a stream: V7, ustar, GNU and PAX headers.

Our own reader rather than `tarfile`, which takes a tar that breaks off between two entries, or is followed by
another one, for complete: here every invoice counts. Sources of the layout: POSIX.1-2008, pax, sections
"ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar Format".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.errors import UnreadableUpload
from app.reading import faults
from app.reading.entry import Encoding, RawEntry
from app.reading.faults import EntryFault, unreadable
from app.reading.ledger import Ledger
from app.reading.names import clean_name, decode_name, is_junk
from app.reading.source import BLOCK_BYTES
from app.reading.streams import Stream

_BLOCK: Final = 512
_ZERO_BLOCK: Final = bytes(_BLOCK)
_MAX_PAX_BYTES: Final = 1 << 20
_APPLE_DOUBLE: Final = b"\0\5\x16\7"

_REGULAR: Final = b"0\x007"  # regular, regular in V7 tars, contiguous
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _DIRECTORY, _SPARSE = b"L", b"K", b"x", b"g", b"5", b"S"


@dataclass(slots=True)
class _Pending:
    """What extension headers say about the entry that follows them."""

    name: bytes | None = None
    name_too_long: bool = False
    size: int | None = None
    sparse: bool = False


def read_tar(stream: Stream, ledger: Ledger) -> Iterator[RawEntry]:
    """Yield the entries of a tar; folders and system files are skipped, links and devices are faults.

    Raises UnreadableUpload when the tar is damaged, ends without its zero block, or has data behind it.
    """
    pending = _Pending()
    first = True
    while (header := stream.take(_BLOCK)) != _ZERO_BLOCK:
        if len(header) < _BLOCK:
            raise _truncated(stream)
        if not _checksum_holds(header):
            raise _not_a_tar(stream) if first else _damaged(stream, "a header's checksum is wrong")
        first = False
        kind = header[156:157]
        if kind in {_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL}:
            _extend(pending, header, stream, ledger)
        else:
            yield from _entry(header, pending, stream, ledger)
            pending = _Pending()
    _expect_only_zeros(stream)


def _entry(header: bytes, pending: _Pending, stream: Stream, ledger: Ledger) -> Iterator[RawEntry]:
    """Yield the entry of a header, if it is one that is wanted, and leave the stream behind it."""
    kind = header[156:157]
    size = _number(header[124:136], stream) if pending.size is None else pending.size
    name = decode_name(pending.name or _name_of(header), "iso8859_2")
    if kind == _SPARSE:
        _skip_sparse_map(header, stream)
    if kind == _DIRECTORY or (kind in _REGULAR and name.endswith("/")) or is_junk(name):
        ledger.pass_over(stream.offset)
        _skip(stream, size)
        return
    fault = _fault_of(kind, size, pending, ledger)
    if kind not in _REGULAR and kind != _SPARSE and kind in b"12346":
        size = 0  # links and devices have no data, whatever their size field says
    if fault is None and name.rpartition("/")[2].startswith("._"):
        payload = _take(stream, size)
        if payload.startswith(_APPLE_DOUBLE):  # what macOS keeps beside each file
            ledger.pass_over(stream.offset)
            return
        index = ledger.admit(size, stream.offset)
    else:
        index = ledger.admit(0 if fault else size, stream.offset)
        payload = b""
        if fault is None and ledger.wanted(index):
            payload = _take(stream, size)
        else:
            _skip(stream, size)
    if ledger.wanted(index):
        yield RawEntry(
            index,
            clean_name(name, index),
            Encoding.PLAIN,
            payload,
            size=size if fault is None else None,
            fault=fault,
        )


def _fault_of(kind: bytes, size: int, pending: _Pending, ledger: Ledger) -> EntryFault | None:
    if kind == _SPARSE or pending.sparse:
        return faults.METHOD_UNSUPPORTED
    if kind not in _REGULAR:
        return faults.NOT_A_FILE
    if pending.name_too_long:
        return faults.NAME_UNUSABLE
    if size > ledger.limits.max_document_bytes:
        return faults.too_large(ledger.limits.max_document_bytes)
    return None


def _extend(pending: _Pending, header: bytes, stream: Stream, ledger: Ledger) -> None:
    """Take in a header that only says something about the next entry."""
    ledger.pass_over(stream.offset)
    kind = header[156:157]
    size = _number(header[124:136], stream)
    if kind in {_LONG_LINK, _PAX_GLOBAL}:
        _skip(stream, size)
    elif kind == _LONG_NAME:
        if size > ledger.limits.max_name_bytes + 1:
            pending.name_too_long = True
            _skip(stream, size)
        else:
            pending.name = _take(stream, size).rstrip(b"\0")
    else:
        if size > _MAX_PAX_BYTES:
            raise _damaged(stream, "an extended header is absurdly large")
        _read_pax(_take(stream, size), pending, stream, ledger)


def _read_pax(records: bytes, pending: _Pending, stream: Stream, ledger: Ledger) -> None:
    """Read `<length> <key>=<value>\\n` records; only what changes how the entry is read matters here."""
    at = 0
    while at < len(records):
        digits = records[at : at + 8].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = records[at : at + length]
        if len(record) != length or not record.endswith(b"\n"):
            raise _damaged(stream, "an extended header cannot be read")
        key, _, value = record[len(digits) + 1 : -1].partition(b"=")
        if key == b"path":
            pending.name = value
            pending.name_too_long = len(value) > ledger.limits.max_name_bytes
        elif key == b"size":
            if not value.isdigit() or len(value) > 20:
                raise _damaged(stream, "an extended header gives no usable size")
            pending.size = int(value)
        elif key.startswith(b"GNU.sparse."):
            pending.sparse = True
        at += length


def _skip_sparse_map(header: bytes, stream: Stream) -> None:
    """Pass over the blocks in which GNU tar continues the map of an old-style sparse file."""
    more = header[482:483] not in {b"\0", b""}
    while more:
        block = stream.take(_BLOCK)
        if len(block) < _BLOCK:
            raise _truncated(stream)
        more = block[504:505] != b"\0"


def _name_of(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].split(b"\0", 1)[0]
        if prefix:
            return prefix + b"/" + name
    return name


def _number(field: bytes, stream: Stream) -> int:
    """Return a size: octal digits, or GNU's binary form when the first bit is set."""
    if field[0] & 0x80:
        number = int.from_bytes(field, "big") & ~(0x80 << 88)
        if field[0] & 0x40:
            raise _damaged(stream, "a header gives a negative size")
        return number
    digits = field.strip(b" \0")
    if any(byte not in b"01234567" for byte in digits):
        raise _damaged(stream, "a header gives no usable size")
    return int(digits or b"0", 8)


def _checksum_holds(header: bytes) -> bool:
    digits = header[148:156].strip(b" \0")
    if not digits or any(byte not in b"01234567" for byte in digits):
        return False
    told = int(digits, 8)
    counted = sum(header) - sum(header[148:156]) + 8 * 0x20
    if told == counted:
        return True
    # Some old writers summed signed bytes.
    return told == counted - 256 * sum(byte > 127 for byte in header[:148] + header[156:])


def _take(stream: Stream, size: int) -> bytes:
    """Take an entry's data and the padding behind them."""
    padded = size + -size % _BLOCK
    data = stream.take(padded)
    if len(data) < padded:
        raise _truncated(stream)
    return data[:size]


def _skip(stream: Stream, size: int) -> None:
    padded = size + -size % _BLOCK
    if stream.skip(padded) < padded:
        raise _truncated(stream)


def _expect_only_zeros(stream: Stream) -> None:
    """Read to the end, which also checks the last gzip checksum, and find what a second tar would hide."""
    while block := stream.take(BLOCK_BYTES):
        if block.count(0) != len(block):
            raise unreadable(
                "tar-data-after-end",
                "There are data behind the end of the tar; joined tars must be sent one by one",
                "Za końcem archiwum tar są dane; połączone archiwa należy wysłać osobno",
                stream.offset,
            )


def _truncated(stream: Stream) -> UnreadableUpload:
    return unreadable(
        "tar-truncated",
        "The tar ends too early; the upload was probably cut",
        "Archiwum tar kończy się za wcześnie; przesyłka została prawdopodobnie ucięta",
        stream.offset,
    )


def _not_a_tar(stream: Stream) -> UnreadableUpload:
    return unreadable("not-a-tar", "The data are not a tar archive", "Dane nie są archiwum tar", stream.offset)


def _damaged(stream: Stream, what: str) -> UnreadableUpload:
    return unreadable("tar-damaged", f"The tar is damaged: {what}", "Archiwum tar jest uszkodzone", stream.offset)
