"""Checks of the bytes before they are parsed: encoding, prolog, DTD, instructions, characters.

libxml2 and the XSD let a BOM, a prolog that names ISO-8859-2, processing instructions, an empty DOCTYPE and most
discouraged characters pass, and KSeF refuses each of them, so these checks come first. On a clean document they cost
a handful of searches for single bytes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from app.domain.findings import Finding
from app.forms.quoting import quoted
from app.forms.rules import finding

_BOM = b"\xef\xbb\xbf"
_WIDE_STARTS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff", b"<\x00", b"\x00<", b"\x00\x00\x00<")
_USUAL_PROLOGS = frozenset((b'<?xml version="1.0" encoding="UTF-8"', b'<?xml version="1.0" encoding="utf-8"'))
_VERSION = re.compile(rb"""\sversion\s*=\s*(["'])(.*?)\1""", re.DOTALL)
_ENCODING = re.compile(rb"""\sencoding\s*=\s*(["'])(.*?)\1""", re.DOTALL)
_TARGET = re.compile(rb"[^\s?>]{1,40}")

# U+007F-0084, 0086-009F, FDD0-FDEF and the last two of planes 1 to 16, as UTF-8. (U+FFFE and U+FFFF are not
# XML characters at all: the parser refuses them.) One pattern for each first byte: a document without that byte has none of
# its characters, and a pattern that begins with a known byte is found by searching for that byte, ten times faster.
FORBIDDEN = tuple(
    (first, re.compile(first + rest))
    for first, rest in (
        (b"\x7f", b""),
        (b"\xc2", rb"[\x80-\x84\x86-\x9f]"),
        (b"\xef", rb"\xb7[\x90-\xaf]"),
        (b"\xf0", rb"[\x9f\xaf\xbf]\xbf[\xbe\xbf]"),
        *((lead, rb"[\x8f\x9f\xaf\xbf]\xbf[\xbe\xbf]") for lead in (b"\xf1", b"\xf2", b"\xf3", b"\xf4")),
    )
)
_REFERENCE = re.compile(rb"&#(?:x0*([0-9A-Fa-f]{1,6})|0*([0-9]{1,7}));")
_MAX_LISTED_CHARACTERS = 20
_MAX_LISTED_INSTRUCTIONS = 20
_MAX_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class BytesSeen:
    """The findings in the bytes, and the bytes to parse: None when the document must not be parsed."""

    findings: list[Finding]
    parsable: bytes | None


def check_bytes(document: bytes) -> BytesSeen:
    """Return the findings on encoding, prolog, DTD, processing instructions and forbidden characters.

    `parsable` is UTF-8 without BOM. It is None for an empty document, for UTF-16 or UTF-32 and for any DTD: entities
    are refused before a parser sees them. Lines are counted from 1.
    """
    if not document or document.isspace():
        return BytesSeen([finding("empty-document")], None)
    findings: list[Finding] = []
    if document.startswith(_BOM):
        findings.append(finding("byte-order-mark", line=1))
        document = document[len(_BOM) :]
    if document.startswith(_WIDE_STARTS):
        reason = {"english_reason": "it looks like UTF-16 or UTF-32", "polish_reason": "wygląda na UTF-16 lub UTF-32"}
        findings.append(finding("not-utf-8", line=1, **reason))
        return BytesSeen(findings, None)
    document = _as_utf8(document, findings)
    after_prolog = _check_prolog(document, findings)

    literal_spans: list[tuple[int, int]] = []
    # "!" and "?" are rare and a single byte is found ten times faster than "<!".
    if b"!" in document or document.find(b"?", after_prolog) >= 0:
        instructions = 0
        for token, start, end in _marked_sections(document, after_prolog):
            if token == b"<?":
                instructions += 1
                if instructions <= _MAX_LISTED_INSTRUCTIONS:
                    findings.append(_instruction(document, start))
            elif token == b"<!":
                findings.append(finding("doctype", line=line_of(document, start)))
                return BytesSeen(findings, None)
            else:
                literal_spans.append((start, end))
    _check_characters(document, literal_spans, findings)
    return BytesSeen(findings, document)


def line_of(document: bytes, offset: int) -> int:
    """Return the line, from 1, of an offset in the document."""
    return document.count(b"\n", 0, offset) + 1


def _as_utf8(document: bytes, findings: list[Finding]) -> bytes:
    try:
        document.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = f"{document[error.start]:02X}"
        line = line_of(document, error.start)
        reasons = {"english_reason": f"byte {byte} cannot stand there", "polish_reason": f"niepoprawny bajt {byte}"}
        findings.append(finding("not-utf-8", line=line, **reasons))
        # Later checks still read the rest: numbers and dates of such a document are plain ASCII.
        return document.decode("utf-8", "replace").encode("utf-8")
    return document


def _check_prolog(document: bytes, findings: list[Finding]) -> int:
    """Return the offset behind the XML declaration (0 if there is none)."""
    if not document.startswith(b"<?xml") or not document[5:6].isspace():
        return 0
    end = document.find(b"?>")
    if end < 0:
        return 0
    if (prolog := document[:end]) not in _USUAL_PROLOGS:
        version, encoding = _VERSION.search(prolog), _ENCODING.search(prolog)
        if version and version[2] != b"1.0":
            findings.append(finding("xml-version", line=1, value=_shown(version[2])))
        if encoding and encoding[2].lower() != b"utf-8":
            findings.append(finding("declared-encoding", line=1, value=_shown(encoding[2])))
    return end + 2


def _marked_sections(document: bytes, position: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield comments and CDATA sections, instructions (`<?`) and declarations (`<!`), with start and end.

    Outside of these, well-formed XML has no `<!` and no `<?`. The search stops at one without an end: the
    parser reports it, and the search stays linear.
    """
    bang, question = document.find(b"<!", position), document.find(b"<?", position)
    while True:
        # Each search is repeated only behind its last find, so every byte is read a bounded number of times.
        if 0 <= bang < position:
            bang = document.find(b"<!", position)
        if 0 <= question < position:
            question = document.find(b"<?", position)
        if bang < 0 and question < 0:
            return
        if bang < 0 or 0 <= question < bang:
            token, start, closing = b"<?", question, b"?>"
        elif document.startswith(b"<!--", bang):
            token, start, closing = b"<!--", bang, b"-->"
        elif document.startswith(b"<![CDATA[", bang):
            token, start, closing = b"<![CDATA[", bang, b"]]>"
        else:
            token, start, closing = b"<!", bang, b">"
        end = document.find(closing, start + len(token))
        yield token, start, len(document) if end < 0 else end + len(closing)
        if end < 0:
            return
        position = end + len(closing)


def _instruction(document: bytes, start: int) -> Finding:
    target = _TARGET.match(document, start + 2)
    shown = "<?" + (target[0].decode("utf-8", "replace") if target else "") + " ...?>"
    return finding("processing-instruction", line=line_of(document, start), value=shown)


def _check_characters(document: bytes, literal_spans: list[tuple[int, int]], findings: list[Finding]) -> None:
    seen: dict[tuple[int, bool], list[int]] = {}
    for first, pattern in FORBIDDEN:
        if first in document:
            for match in islice(pattern.finditer(document), _MAX_COUNTED):
                _note(seen, ord(match[0].decode("utf-8")), False, match.start())
    if b"#" in document and b"&#" in document:
        spans = iter(literal_spans)
        span = next(spans, None)
        references = 0
        for match in _REFERENCE.finditer(document):
            while span is not None and span[1] <= match.start():
                span = next(spans, None)
            if span is not None and span[0] <= match.start():
                continue  # inside a comment or CDATA section it is plain text
            point = int(match[1], 16) if match[1] else int(match[2])
            if _is_forbidden(point):
                _note(seen, point, True, match.start())
                references += 1
                if references >= _MAX_COUNTED:
                    break
    for (point, as_reference), (count, offset) in _in_order(seen)[:_MAX_LISTED_CHARACTERS]:
        findings.append(
            finding(
                "forbidden-character",
                line=line_of(document, offset),
                code=f"{point:04X}",
                count=count,
                english_reference=", not even as a character reference" if as_reference else "",
                polish_reference=", także jako odwołanie znakowe" if as_reference else "",
            )
        )


def _in_order(seen: dict[tuple[int, bool], list[int]]) -> list[tuple[tuple[int, bool], list[int]]]:
    return sorted(seen.items(), key=lambda item: item[1][1])


def _note(seen: dict[tuple[int, bool], list[int]], point: int, as_reference: bool, offset: int) -> None:
    entry = seen.setdefault((point, as_reference), [0, offset])
    entry[0] += 1


def _is_forbidden(point: int) -> bool:
    if 0x7F <= point <= 0x9F:
        return point != 0x85
    return 0xFDD0 <= point <= 0xFDEF or (0x1FFFE <= point <= 0x10FFFF and point & 0xFFFE == 0xFFFE)


def _shown(value: bytes) -> str:
    return quoted(value.decode("utf-8", "replace"))
