"""multipart/form-data: each file part is one document, or an archive that is read in its place.

Delimiters are searched for, not parsed byte by byte: the body is seekable, so a part is a range, and an archive
inside one needs no copy. Source: RFC 2046, section 5.1.1; RFC 7578.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from app.errors import UnreadableUpload
from app.reading import faults
from app.reading.entry import Encoding, RawEntry
from app.reading.faults import EntryFault, ends_everything, together, unreadable
from app.reading.filename import field_of, filename_of
from app.reading.kinds import BodyKind, kind_of_part, sniff
from app.reading.names import clean_name, is_junk
from app.reading.passed_over import Passed
from app.reading.read_budget import ReadBudget
from app.reading.source import Source

_MAX_HEADER_BYTES: Final = 16_384
_SNIFF_BYTES: Final = 512
_PADDING_BYTES: Final = 256
_MAX_PATH_BYTES: Final = 260
# Faults of archives that are listed one by one; the upload has failed with the first.
_MAX_BROKEN: Final = 20
_PLAIN_ENCODINGS: Final = {"", "binary", "8bit", "7bit"}
_ARCHIVES: Final = {BodyKind.ZIP, BodyKind.TARGZ, BodyKind.TAR}


@dataclass(frozen=True, slots=True)
class _Part:
    """One part: the place of its content, its first bytes, and its headers."""

    start: int
    size: int
    head: bytes
    field: str
    filename: str | None
    content_type: str
    transfer_encoding: str


def read_multipart(
    source: Source,
    budget: ReadBudget,
    boundary: str,
    read_part: Callable[[BodyKind, Source], Iterator[RawEntry]],
) -> Iterator[RawEntry]:
    """Yield the entries of all file parts; plain form fields, empty file inputs and system files are skipped.

    A part is a file if it has a file name or a known content type, or if it begins like XML or an archive.
    `read_part` reads an archive found in a part. After an archive that cannot be read to its end the next parts are
    still read, and the archive's fault is raised at the end. Raises UnreadableUpload when the closing delimiter is
    missing or a part's headers cannot be read.
    """
    broken: list[UnreadableUpload] = []
    try:
        for part in _parts(source, boundary.encode("ascii")):
            kind = _kind_of(part)
            if kind is None or (part.size == 0 and not part.filename) or is_junk(part.filename or ""):
                _pass_over(part, source, budget)
                continue
            fault = _fault_of(part, kind, source, budget)
            if fault is None and kind is not BodyKind.XML:
                budget.pass_over(source.start + part.start, Passed.ARCHIVE, clean_name(part.filename or "", 0))
                try:
                    yield from read_part(kind, source.window(part.start, part.size))
                except UnreadableUpload as error:
                    _note(broken, error, part)
                continue
            index = budget.admit(0 if fault else part.size, source.start + part.start)
            if budget.wanted(index):
                name = clean_name(part.filename or "", index)
                payload = b"" if fault else source.read_at(part.start, part.size)
                yield RawEntry(index, name, Encoding.PLAIN, payload, fault=fault)
    except UnreadableUpload as error:
        if not broken:
            raise
        raise together([*broken, error]) from error
    if broken:
        raise together(broken)


def _pass_over(part: _Part, source: Source, budget: ReadBudget) -> None:
    """Note a part that is no file. A field with the path of a file shows it: its sender meant the file."""
    place = source.start + part.start
    if part.filename:
        budget.pass_over(place, Passed.SYSTEM_FILE, clean_name(part.filename, 0))
        return
    name = clean_name(part.field, 0) if part.field else ""
    if part.size == 0:
        budget.pass_over(place, Passed.EMPTY_PART, name)
        return
    text = part.head.decode("utf-8", "replace").strip()
    if sniff(text, b"") is not None and text.isprintable() and part.size <= _MAX_PATH_BYTES:
        budget.passed_over.note_path()
        name = f"{name}={text}"
    budget.pass_over(place, Passed.FORM_FIELD, name)


def _fault_of(part: _Part, kind: BodyKind, source: Source, budget: ReadBudget) -> EntryFault | None:
    limits = budget.limits
    if part.transfer_encoding not in _PLAIN_ENCODINGS:
        return faults.PART_ENCODING
    if kind is not BodyKind.XML:
        # An archive is read from its beginning, or from its end, once its place in the body is known.
        return None if source.holds(part.start) else faults.PART_TOO_LARGE_CODED
    if part.size > limits.max_document_bytes:
        return faults.too_large(limits.max_document_bytes)
    if len((part.filename or "").encode("utf-8", "replace")) > limits.max_name_bytes:
        return faults.NAME_UNUSABLE
    return None


def _note(broken: list[UnreadableUpload], error: UnreadableUpload, part: _Part) -> None:
    """Keep the fault of an archive, with the part's name. Raises it at once if it ends the reading of the upload."""
    if ends_everything(error):
        raise error
    if len(broken) < _MAX_BROKEN:
        for item in error.errors or ():
            item["part"] = clean_name(part.filename or "", len(broken))
        broken.append(error)


def _parts(source: Source, boundary: bytes) -> Iterator[_Part]:
    dashes = b"--" + boundary
    # Some scripts end all lines by LF alone; other readers take that, too.
    end = b"\n" if source.read_at(0, len(dashes) + 1) == dashes + b"\n" else b"\r\n"
    delimiter = end + dashes
    # The first delimiter may open the body; anything before it is a preamble, which has no meaning.
    if source.read_at(0, len(dashes)) == dashes and (begin := _after(source, len(dashes), end)) is not None:
        found = (0, begin)
    else:
        found = _next_delimiter(source, delimiter, end, 0)
    while found[1] >= 0:
        start, headers = _headers(source, found[1], end)
        head = source.read_at(start, _SNIFF_BYTES)
        # The line end before a delimiter belongs to it; a part without content starts right behind one.
        found = _next_delimiter(source, delimiter, end, start - len(end), keep=start)
        size = max(0, found[0] - start)
        yield _Part(
            start,
            size,
            head[:size],
            field_of(headers.get(b"content-disposition", b"")),
            filename_of(headers.get(b"content-disposition", b"")),
            headers.get(b"content-type", b"").decode("latin-1"),
            headers.get(b"content-transfer-encoding", b"").decode("latin-1").strip().lower(),
        )


def _next_delimiter(
    source: Source, delimiter: bytes, end: bytes, offset: int, keep: int | None = None
) -> tuple[int, int]:
    """Return where the next delimiter begins, and where the part behind it does (-1 behind the closing one)."""
    while (at := source.find(delimiter, offset, keep)) >= 0:
        if (begin := _after(source, at + len(delimiter), end)) is not None:
            return at, begin
        offset = at + len(delimiter)
    raise unreadable(
        "multipart-truncated",
        "The multipart body has no closing delimiter; the upload was probably cut",
        "Treść multipart nie ma znacznika końca; przesyłka została prawdopodobnie ucięta",
        source.start + source.size,
    )


def _after(source: Source, offset: int, end: bytes) -> int | None:
    """Return where a part begins if a delimiter ends at `offset`, -1 for the closing one, None if it is none."""
    rest = source.read_at(offset, 2)
    if rest == b"--":
        return -1
    if rest.startswith(end):
        return offset + len(end)
    padding = source.read_at(offset, _PADDING_BYTES)
    length = padding.find(end)
    return offset + length + len(end) if length > 0 and not padding[:length].strip(b" \t") else None


def _headers(source: Source, offset: int, end: bytes) -> tuple[int, dict[bytes, bytes]]:
    """Return where the content begins, and the headers by lower-case name. A header may be folded (RFC 822, section 3.1.1)."""
    block = source.read_at(offset, _MAX_HEADER_BYTES)
    if block.startswith(end):
        return offset + len(end), {}
    length = block.find(end + end)
    if length < 0:
        raise _bad_headers(source.start + offset, "they have no end")
    headers: dict[bytes, bytes] = {}
    last = b""
    for line in block[:length].split(end):
        if line[:1] in {b" ", b"\t"} and last:
            headers[last] += b" " + line.strip()
            continue
        name, colon, value = line.partition(b":")
        if not colon:
            shown = "".join(char if char.isprintable() else "\ufffd" for char in line[:60].decode("utf-8", "replace"))
            raise _bad_headers(source.start + offset, f"this line has no colon: {shown}")
        last = name.strip().lower()
        headers[last] = value.strip()
    return offset + length + 2 * len(end), headers


def _kind_of(part: _Part) -> BodyKind | None:
    """Return the kind of a part: by first bytes that prove an archive, else by content type, then name, then first character."""
    seen = sniff("", part.head)
    declared = kind_of_part(part.content_type)
    if seen in _ARCHIVES:
        return seen
    if declared is not None and declared is not BodyKind.MULTIPART:
        return declared
    by_name = sniff(part.filename or "", b"")
    if by_name is not None or seen is not None:
        return by_name or seen
    # A named file of no known kind counts as a document: it gets a finding instead of being skipped.
    return BodyKind.XML if part.filename is not None else None


def _bad_headers(offset: int, why: str) -> UnreadableUpload:
    return unreadable(
        "multipart-damaged",
        f"The headers of a part cannot be read: {why}",
        "Nie można odczytać nagłówków części",
        offset,
    )
