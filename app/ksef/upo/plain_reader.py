"""Fast reader of receipts in the form that KSeF writes: ten thousand times the same eight elements, read without a tree.

A receipt of 10,000 documents costs half a second of CPU as trees, and its signature as much again. Its documents are text of one
form, which one regular expression proves, and text of that form is canonical XML already. So the receipt is split into its
documents and the frame around them, with a single marked document in their place. The frame is small, and lxml and signxml read
it like any receipt. A receipt that is not certainly of this form is left to `app.ksef.upo.reader`.
"""

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from lxml import etree

from app.domain.timestamps import to_utc
from app.ksef.errors import Unreadable
from app.ksef.upo.reader import parse_upo

_OPENING: Final = b"<Dokument>"
_CLOSING: Final = b"</Dokument>"

# The values are limited to text that canonical XML writes unchanged: no entity but these three, no `>`, no carriage return, and no
# character outside XML. Hashes are Base64 in its canonical form. Offsets are limited to the ones that PostgreSQL reads.
_TEXT: Final = r"[^<>&\x00-\x08\x0b-\x1f\ufffe\uffff]*+(?:&(?:amp|lt|gt);[^<>&\x00-\x08\x0b-\x1f\ufffe\uffff]*+)*+"
_TIME: Final = r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6}+)?+)[0-9]*+(Z|[+-](?:0[0-9]|1[0-4]):[0-5][0-9])"
_GAP: Final = r"[ \t\n]*+"
_ELEMENTS: Final = (
    ("NipSprzedawcy", r"[0-9]{10}"),
    ("NumerKSeFDokumentu", r"([0-9A-F-]{35,36}+)"),
    ("NumerFaktury", _TEXT),
    ("DataWystawieniaFaktury", r"[0-9-]{10}"),
    ("DataPrzeslaniaDokumentu", r"[0-9T:.Z+-]{20,40}+"),
    ("DataNadaniaNumeruKSeF", _TIME),
    ("SkrotDokumentu", r"([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=)"),
    ("TrybWysylki", r"(Online|Offline)"),
)
_DOCUMENT: Final = re.compile(
    "(<Dokument>" + _GAP + "".join(f"<{name}>{form}</{name}>{_GAP}" for name, form in _ELEMENTS) + f"</Dokument>{_GAP})"
)


@dataclass(frozen=True, slots=True)
class PlainUpo:
    """A split receipt. Each column has one field of all its documents, in the order of the receipt."""

    session_reference_number: str
    hashes: Sequence[str]
    """Base64 of the SHA-256 of each invoice."""
    ksef_numbers: Sequence[str]
    acquired: Sequence[str]
    """ISO 8601 with an offset and at most microseconds; only times that exist."""
    modes: Sequence[str]
    frame: bytes = field(repr=False)
    """The receipt with one document, which contains `mark`, in place of all."""
    mark: bytes = field(repr=False)
    documents: bytes = field(repr=False)
    """All documents in the canonical XML that they have inside the frame."""

    def whole(self, canonical_frame: bytes) -> bytes | None:
        """Return the canonical receipt for its canonical frame; None when the frame does not contain the marked document."""
        pieces = canonical_frame.split(_OPENING + self.mark + _CLOSING)
        return self.documents.join(pieces) if len(pieces) == 2 else None


def take_apart(receipt: bytes) -> PlainUpo | None:
    """Split a receipt; return None if it is not a receipt, is damaged or has another form. Raises nothing."""
    start, end = receipt.find(_OPENING), receipt.rfind(_CLOSING) + len(_CLOSING)
    if start < 0 or end <= start:
        return None
    documents = receipt[start:end]
    try:
        text = documents.decode()
    except UnicodeDecodeError:
        return None
    found = _DOCUMENT.findall(text)
    # There is no text between the documents. `xmlns` can only be in a number, and signxml removes some of it before its digest.
    if not found or sum(len(one[0]) for one in found) != len(text) or "xmlns" in text:
        return None
    _, ksef_numbers, moments, offsets, hashes, modes = zip(*found, strict=True)
    acquired = [moment + offset for moment, offset in zip(moments, offsets, strict=True)]
    mark = secrets.token_hex(16).encode()
    frame = b"".join((receipt[:start], _OPENING, mark, _CLOSING, receipt[end:]))
    try:
        for moment in acquired:
            to_utc(datetime.fromisoformat(moment))
        head = parse_upo(frame)
    except (Unreadable, ValueError):
        return None
    if not _holds_documents(frame, mark):
        return None
    return PlainUpo(head.session_reference_number, hashes, ksef_numbers, acquired, modes, frame, mark, documents)


def _holds_documents(frame: bytes, mark: bytes) -> bool:
    """Return whether documents in place of the marked one are the root's only children of their name, and unchanged."""
    if b"<!DOCTYPE" in frame:
        # A DTD could give every document attributes that are not in its text.
        return False
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(frame, parser)
    except etree.XMLSyntaxError:
        return False
    about = root.getroottree().docinfo
    if (about.encoding or "UTF-8").upper() != "UTF-8" or about.xml_version != "1.0":
        return False
    named = [child for child in root if isinstance(child.tag, str) and child.tag.rpartition("}")[2] == "Dokument"]
    return len(named) == 1 and named[0].text == mark.decode() and len(named[0]) == 0
