"""The judgement on the first lines of a body sent as NDJSON: whether they are lines of JSON in UTF-8 at all.

A body of another encoding or format would otherwise give one finding for each of its lines, perhaps thousands, or have a few of
its lines sent.
"""

from typing import Final

from app.errors import UnreadableUpload
from app.reading.faults import unreadable
from app.reading.kinds import BodyKind, sniff
from app.reading.wide_encodings import title_of, wide_encoding

HEAD_BYTES: Final = 1 << 16
_BOM: Final = b"\xef\xbb\xbf"
_BLANK: Final = b" \t\r\n"
_MANY_LINES: Final = 3
"""So many lines that are no JSON objects, and no other, are another format and not a fault of each line."""

_OTHER_KINDS: Final = {
    BodyKind.XML: ("an XML document", "dokumentem XML"),
    BodyKind.ZIP: ("a ZIP", "archiwum ZIP"),
    BodyKind.TARGZ: ("a gzip stream", "strumieniem gzip"),
    BodyKind.TAR: ("a tar", "archiwum tar"),
}


def fault_of_head(head: bytes, *, whole: bool, offset: int) -> UnreadableUpload | None:
    """Return the fault of a body that begins with `head`, None if it may be NDJSON.

    `whole` says that the head is the whole body; `offset` is its place in the upload, for the message.
    """
    if (encoding := wide_encoding(head)) is not None:
        return wide_lines(title_of(encoding), 1, offset)
    other = _other_kind(head.removeprefix(_BOM), whole=whole)
    return None if other is None else _not_ndjson(*other, offset)


def _other_kind(text: bytes, *, whole: bool) -> tuple[str, str, str] | None:
    """Return what a text that is no NDJSON is, in English and Polish, and the way to send it; None if it may be NDJSON."""
    lines = [line for one in text.split(b"\n") if (line := one.strip(_BLANK))]
    # The last line of a longer body may be cut.
    complete = lines if whole else lines[:-1]
    objects = [line.startswith(b"{") for line in lines]
    found: tuple[str, str, str] | None = None
    if not lines:
        return None
    if lines[0].startswith(b"[") and not (any(objects) and lines[0].endswith(b"]")):
        found = "one JSON array", "jedną tablicą JSON", "`jq -c '.[]'`"
    elif not any(objects):
        kind = sniff("", text)
        if kind in _OTHER_KINDS:
            found = *_OTHER_KINDS[kind], f"Content-Type: {kind.content_type}"
        elif len(lines) >= _MANY_LINES:
            found = "a text whose lines are no JSON objects", "tekstem bez obiektów JSON", ""
    elif objects[0] and not all(objects[:2]) and not lines[0].endswith(b"}"):
        found = "JSON objects over several lines", "obiektami JSON w wielu wierszach", "`jq -c .`"
    elif len(complete) > 1 and all(line[:1] == b"{" and line[-1:] == b"," for line in complete[:2]):
        found = "JSON objects with commas between them", "obiektami JSON z przecinkami", ""
    return found


def is_wide(line: bytes) -> bool:
    """Return whether a line holds so many zero bytes that it is UTF-16 or UTF-32."""
    return 3 * line.count(0) > len(line)


def wide_lines(encoding: str, line: int, offset: int) -> UnreadableUpload:
    """Return the error for lines in UTF-16 or UTF-32, from this line on."""
    taken, taken_pl = "nothing of it was taken", "niczego z niej nie przyjęto"
    if line > 1:
        taken, taken_pl = f"only the lines before line {line:,} were read", f"odczytano tylko wiersze przed {line:,}"
    return unreadable(
        "ndjson-encoding",
        f"The lines are in {encoding}, and NDJSON must be UTF-8; {taken}. Save the file as UTF-8 "
        "(PowerShell: Out-File -Encoding utf8)",
        f"Wiersze są zapisane w {encoding}, a NDJSON musi być w UTF-8; {taken_pl}. Plik należy zapisać w UTF-8 "
        "(PowerShell: Out-File -Encoding utf8)",
        offset,
    )


def _not_ndjson(what: str, what_pl: str, way: str, offset: int) -> UnreadableUpload:
    way = f" ({way})" if way else ""
    return unreadable(
        "not-ndjson",
        f"The body is {what}, not NDJSON; nothing of it was taken. Send one JSON object a line, or the right type{way}",
        f"Treść jest {what_pl}, a nie NDJSON; niczego z niej nie przyjęto. Należy przesłać jeden obiekt JSON w wierszu "
        f"albo podać właściwy typ{way}",
        offset,
    )
