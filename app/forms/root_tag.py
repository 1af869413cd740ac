"""Reads the name and the namespace of a document's root element from its first bytes, without parsing the document.

A single post is put into the lane of its form before it is checked, and the check chooses the rules by the form: both must read the
same form. For a document that passes the check, the result equals that of an XML parser.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

_BOM: Final = b"\xef\xbb\xbf"
_BLANK: Final = rb"[ \t\r\n]"
# The XML declaration, comments and processing instructions. A document type declaration is refused by the check, so the pattern ends
# there without a match.
_PROLOG: Final = re.compile(rb"(?:" + _BLANK + rb"+|<\?.*?\?>|<!--.*?-->)*+", re.DOTALL)
_NAME: Final = rb"[^\s<>/=&\"'!?]+"
_START_TAG: Final = re.compile(
    rb"<(" + _NAME + rb")((?:" + _BLANK + rb"+" + _NAME + _BLANK + rb"*+=" + _BLANK + rb"""*+(?:"[^"<]*"|'[^'<]*'))*+)"""
    + _BLANK + rb"*+/?>"
)  # fmt: skip
_ATTRIBUTE: Final = re.compile(rb"(" + _NAME + rb")" + _BLANK + rb"*+=" + _BLANK + rb"""*+(?:"([^"]*)"|'([^']*)')""")
_REFERENCE: Final = re.compile("&(?:#x([0-9A-Fa-f]{1,6})|#([0-9]{1,7})|(amp|lt|gt|quot|apos));")
_ENTITIES: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_LINE_ENDS: Final = re.compile("\r\n|[\t\r\n]")
_LAST_POINT: Final = 0x10FFFF
# All documents of a sender begin with the same bytes, up to the end of the root's start tag.
_USUAL_ROOT: Final = b"Faktura"
_LONGEST_USUAL_HEAD: Final = 1_000


class RootTag(NamedTuple):
    """The root element of a document: its namespace, empty when it has none, and its local name."""

    namespace: str
    name: str


def read_root_tag(document: bytes) -> RootTag | None:
    """Return the root element's namespace and name, or None for a document that cannot pass the check.

    Time is linear in the length of what comes before the end of the root's start tag.
    """
    end = document.find(b">", max(document.find(_USUAL_ROOT, 0, _LONGEST_USUAL_HEAD), 0), _LONGEST_USUAL_HEAD) + 1
    # A tag that ends in the head is the root's tag of the whole document as well.
    return _read_head(document[:end]) or _read(document)


def _read(document: bytes) -> RootTag | None:
    start = len(_BOM) if document.startswith(_BOM) else 0
    prolog = _PROLOG.match(document, start)
    tag = _START_TAG.match(document, prolog.end() if prolog is not None else start)
    if tag is None:
        return None
    try:
        prefix, colon, name = tag[1].decode("utf-8").rpartition(":")
        wanted = f"xmlns:{prefix}" if colon else "xmlns"
        for attribute, *quoted in _ATTRIBUTE.findall(tag[2]):
            if attribute.decode("utf-8") == wanted:
                return RootTag(_attribute_value("".join(part.decode("utf-8") for part in quoted)), name)
    except UnicodeDecodeError:
        return None
    return None if colon else RootTag("", name)


_read_head: Final = lru_cache(maxsize=256)(_read)


def _attribute_value(written: str) -> str:
    """Return an attribute's value: blanks normalised and references replaced (XML 1.0, section 3.3.3)."""
    return _REFERENCE.sub(_referenced, _LINE_ENDS.sub(" ", written))


def _referenced(reference: re.Match[str]) -> str:
    if reference[3]:
        return _ENTITIES[reference[3]]
    point = int(reference[1], 16) if reference[1] else int(reference[2])
    return chr(point) if point <= _LAST_POINT else ""
