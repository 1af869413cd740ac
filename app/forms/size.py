"""Limits on the bytes of an invoice and the attributes of an element."""

import re
from xml.parsers import expat

from app.domain.findings import Finding
from app.forms.rules import finding

# No element of FA(3) has more than two attributes, besides a few namespace declarations and xsi hints.
MAX_ATTRIBUTES = 64
# Between a start tag and the next tag, FA(3) has at most 3,500 characters. More is only a reason to count.
_LONG_STRETCH = re.compile(rb"<[^<!?/][^<]{8192}")


def check_hard_limit(document: bytes, max_bytes: int) -> Finding | None:
    """Return a finding when the document is larger than any invoice may be; it is then not parsed."""
    if len(document) <= max_bytes:
        return None
    return finding("too-large", size=len(document), limit=max_bytes)


def check_size(size: int, max_bytes: int, *, has_attachment: bool) -> list[Finding]:
    """Return a finding when a document without an attachment exceeds the limit for such documents."""
    if size <= max_bytes or has_attachment:
        return []
    return [finding("too-large-without-attachment", size=size, limit=max_bytes)]


def may_have_too_many_attributes(document: bytes) -> bool:
    """Return, from the bytes alone, whether a start tag may be too long. Used for large documents."""
    return _LONG_STRETCH.search(document) is not None


def check_attributes(document: bytes) -> list[Finding]:
    """Return a finding for the first element with more attributes and namespaces than any invoice needs.

    libxml2 reports every single attribute that is not allowed; half a million of them would fill the memory. Expat
    counts namespace declarations too. For well-formed documents without DTD; finds nothing in others.
    """
    parser = expat.ParserCreate("UTF-8")
    # [name, value, name, value ...]: cheaper than a dictionary.
    parser.ordered_attributes = True

    def on_start(name: str, attributes: list[str]) -> None:
        if len(attributes) // 2 > MAX_ATTRIBUTES:
            raise _TooManyError(name, len(attributes) // 2, parser.CurrentLineNumber)

    parser.StartElementHandler = on_start
    try:
        parser.Parse(document, True)
    except _TooManyError as found:
        name, count, line = found.args
        element = name.rpartition(":")[2][:60]
        return [finding("too-many-attributes", line=line, element=element, count=count, limit=MAX_ATTRIBUTES)]
    except expat.ExpatError:
        return []
    return []


class _TooManyError(Exception):
    """The signal that ends the count early: name, count, line."""
