"""tar, plain or inflated from gzip, read as a stream: V7, ustar, GNU and PAX headers.

Our own reader replaces `tarfile`, which accepts a tar that ends between two entries, or has another one behind it, as
complete. Invoices would be lost that way. Sources of the layout: POSIX.1-2008, pax, sections
"ustar Interchange Format" and "pax Extended Header"; GNU tar manual, "Basic Tar Format".
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from app.errors import UnreadableUpload
from app.reading import faults
from app.reading.entry import Encoding, RawEntry
from app.reading.faults import EntryFault, unreadable
from app.reading.names import UNIX, clean_name, decode_name, is_junk
from app.reading.passed_over import Passed
from app.reading.read_budget import ReadBudget
from app.reading.source import BLOCK_BYTES
from app.reading.streams import Stream
from app.reading.tar_header import checksum_holds, name_of, size_of

_BLOCK: Final = 512
_ZERO_BLOCK: Final = bytes(_BLOCK)
_MAX_PAX_BYTES: Final = 1 << 20
_APPLE_DOUBLE: Final = b"\0\5\x16\7"

_REGULAR: Final = b"0\x007"  # regular, regular in V7 tars, contiguous
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _DIRECTORY, _SPARSE = b"L", b"K", b"x", b"g", b"5", b"S"
# Solaris's mark of a PAX header; GNU tar's records of a folder in an incremental backup, and of the volume.
_PAX_SOLARIS, _FOLDER_LIST, _LABEL = b"X", b"D", b"V"
_EXTENSIONS: Final = {_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL, _PAX_SOLARIS}
_NOT_AN_ENTRY: Final = {_DIRECTORY, _FOLDER_LIST, _LABEL}


@dataclass(slots=True)
class _Pending:
    """The values that extension headers give for the entry that follows them."""

    name: bytes | None = None
    name_too_long: bool = False
    size: int | None = None
    sparse: bool = False


def read_tar(stream: Stream, budget: ReadBudget) -> Iterator[RawEntry]:
    """Yield the entries of a tar; folders and system files are skipped, links and devices are faults.

    Raises UnreadableUpload when the tar is damaged, ends without its zero block, or has data behind it.
    """
    pending = _Pending()
    first = True
    while (header := stream.take(_BLOCK)) != _ZERO_BLOCK:
        if len(header) < _BLOCK:
            raise _truncated(stream)
        if not checksum_holds(header):
            raise _not_a_tar(stream) if first else _damaged(stream, "a header's checksum is wrong")
        first = False
        kind = header[156:157]
        if kind in _EXTENSIONS:
            _extend(pending, header, stream, budget)
        else:
            yield from _entry(header, pending, stream, budget)
            pending = _Pending()
    _expect_only_zeros(stream)


def _entry(header: bytes, pending: _Pending, stream: Stream, budget: ReadBudget) -> Iterator[RawEntry]:
    """Yield the entry of a header if it is wanted, and move the stream behind it."""
    kind = header[156:157]
    size = _size_of(header, stream) if pending.size is None else pending.size
    name = decode_name(pending.name or name_of(header), UNIX)
    if kind == _SPARSE:
        _skip_sparse_map(header, stream)
    if kind in _NOT_AN_ENTRY or (kind in _REGULAR and name.endswith("/")) or is_junk(name):
        passed = Passed.SYSTEM_FILE if is_junk(name) or kind == _LABEL else Passed.FOLDER
        budget.pass_over(stream.offset, passed, clean_name(name, 0))
        _skip(stream, size)
        return
    fault = _fault_of(kind, size, pending, budget)
    if kind not in _REGULAR and kind != _SPARSE and kind in b"12346":
        size = 0  # links and devices have no data; their size field has no meaning
    if fault is None and name.rpartition("/")[2].startswith("._"):
        payload = _take(stream, size)
        if payload.startswith(_APPLE_DOUBLE):  # metadata that macOS stores beside each file
            budget.pass_over(stream.offset, Passed.SYSTEM_FILE, clean_name(name, 0))
            return
        index = budget.admit(size, stream.offset)
    else:
        index = budget.admit(0 if fault else size, stream.offset)
        payload = b""
        if fault is None and budget.wanted(index):
            payload = _take(stream, size)
        else:
            _skip(stream, size)
    if budget.wanted(index):
        yield RawEntry(
            index,
            clean_name(name, index),
            Encoding.PLAIN,
            payload,
            size=size if fault is None else None,
            fault=fault,
        )


def _fault_of(kind: bytes, size: int, pending: _Pending, budget: ReadBudget) -> EntryFault | None:
    if kind == _SPARSE or pending.sparse:
        return faults.METHOD_UNSUPPORTED
    if kind not in _REGULAR:
        return faults.NOT_A_FILE
    if pending.name_too_long:
        return faults.NAME_UNUSABLE
    if size > budget.limits.max_document_bytes:
        return faults.too_large(budget.limits.max_document_bytes)
    return None


def _extend(pending: _Pending, header: bytes, stream: Stream, budget: ReadBudget) -> None:
    """Read an extension header, which describes the next entry."""
    budget.skip_record(stream.offset)
    kind = header[156:157]
    size = _size_of(header, stream)
    if kind in {_LONG_LINK, _PAX_GLOBAL}:
        _skip(stream, size)
    elif kind == _LONG_NAME:
        if size > budget.limits.max_name_bytes + 1:
            pending.name_too_long = True
            _skip(stream, size)
        else:
            pending.name = _take(stream, size).rstrip(b"\0")
    else:
        if size > _MAX_PAX_BYTES:
            raise _damaged(stream, "an extended header is absurdly large")
        _read_pax(_take(stream, size), pending, stream, budget)


def _read_pax(records: bytes, pending: _Pending, stream: Stream, budget: ReadBudget) -> None:
    """Read `<length> <key>=<value>\\n` records; only keys that change how the entry is read matter here."""
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
            pending.name_too_long = len(value) > budget.limits.max_name_bytes
        elif key == b"size":
            if not value.isdigit() or len(value) > 20:
                raise _damaged(stream, "an extended header gives no usable size")
            pending.size = int(value)
        elif key.startswith(b"GNU.sparse."):
            pending.sparse = True
        at += length


def _skip_sparse_map(header: bytes, stream: Stream) -> None:
    """Skip the blocks in which GNU tar continues the map of an old-style sparse file."""
    more = header[482:483] not in {b"\0", b""}
    while more:
        block = stream.take(_BLOCK)
        if len(block) < _BLOCK:
            raise _truncated(stream)
        more = block[504:505] != b"\0"


def _size_of(header: bytes, stream: Stream) -> int:
    size = size_of(header)
    if size is None:
        raise _damaged(stream, "a header gives no usable size")
    return size


def _take(stream: Stream, size: int) -> bytes:
    """Return an entry's data and skip the padding behind them."""
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
    """Read to the end and raise UnreadableUpload for data behind the tar. It also verifies the last gzip checksum."""
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
