"""Recogniser of plain and faultless invoices: one match, without a tree.

Most invoices need no finding and have no comments, CDATA sections or the like. For those the
match proves that the full check would find nothing, and gives the same facts. Every other document goes to the full check, which alone
explains what is wrong.

The characters before the first element (prolog, root, namespaces) are the same in all documents of a sender. The recogniser does not
parse them: it remembers them as good once the full check has accepted a document that begins with them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final

from app.domain.findings import Finding
from app.forms.encoding import FORBIDDEN, line_of
from app.forms.fa3.checks.dates import FAR_AHEAD, FAR_BEFORE, fa3_issue_date_findings
from app.forms.fa3.checks.rates import RATE_TOLERANCE, RATES
from app.forms.fa3.checks.totals import TOTAL_TOLERANCE
from app.forms.fa3.fast_path.simple_types import STAND_INS
from app.forms.fa3.fast_path.xsd_to_regex import compile_grammar
from app.forms.fields import InvoiceFacts, collapsed
from app.forms.nip import is_nip

_GROUPS: Final = {
    "Naglowek/DataWytworzeniaFa": "created",
    "Podmiot1/DaneIdentyfikacyjne/NIP": "seller",
    "Fa/KodWaluty": "currency",
    "Fa/P_1": "issued",
    "Fa/P_2": "number",
    "Fa/P_15": "total",
    "Fa/RodzajFaktury": "kind",
}
_FORM_CODE: Final = "FA (3)"
_ISSUED_PATH: Final = "/Faktura/Fa/P_1"

# Substitutes for escaped characters. The characters themselves would change the document where they end a tag.
_NAMES: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'"}
_ESCAPES: Final = {f"&{name};".encode(): STAND_INS[meant].encode() for name, meant in _NAMES.items()}
_ESCAPE: Final = re.compile(rb"&(?:amp|lt|gt|quot|apos|#(?:x0*([0-9A-Fa-f]{1,6})|0*([0-9]{1,7})));")
_MEANT: Final = str.maketrans({stand_in: meant for meant, stand_in in STAND_INS.items()})
# Bytes that plain documents do not contain: controls, DEL, and first bytes of substitutes, private and possibly forbidden characters.
_SUSPECT: Final = bytes(byte for byte in range(0x20) if byte not in b"\t\n\r") + b"\x7f\xee\xef\xf1\xf2\xf3\xf4"
# KSeF counts a character beyond U+FFFF as two. The full check warns of a text that is too long when each is two.
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")
_TWO_UNITS: Final = "\ue006\ue006"
# The other forbidden characters, by their first byte.
_FORBIDDEN: Final = tuple((first, pattern.search) for first, pattern in FORBIDDEN if first[0] not in _SUSPECT)
_FIRST_PLAIN_REFERENCE: Final = 0xA0

_HEAD: Final = re.compile(
    rb"(?:<\?xml[^<>?]*\?>)?[ \t\r\n]*(?:<!--(?:[^<>-]|-(?![->]))*-->[ \t\r\n]*)*<(?:([A-Za-z_][\w.-]*):)?Faktura"
    rb"""(?:[ \t\r\n]+[\w:.-]+=(?:"[^"<>&]*"|'[^'<>&]*'))*[ \t\r\n]*>"""
)
_MOST_HEADS: Final = 64
_LONGEST_HEAD: Final = 1_000
# The most namespaces and hints: a large document with very many is a fault (see `size`), a small one is not.
_MOST_IN_HEAD: Final = 16
# Far below the length of one text, blanks between tags included, at which libxml2 gives up.
_LONGEST_DOCUMENT: Final = 4_000_000
# Beyond this line libxml2's line numbers are uncertain, and the full check reports those.
_LAST_SURE_LINE: Final = 65_000

# The elements between number and total: dates of delivery, net values and taxes without their restatements in zloty.
_AMOUNT: Final = re.compile(r"<P_(6|6_Od|6_Do|1[34]_[0-9_]+)>([^<]+)<")
_PARTY_NIP: Final = re.compile(r"<(?:NIP|IDWew)>(\d{10})")
# Amounts are floats here: up to this bound their sums are exact enough to compare, beyond it the full check decides.
_LARGEST_AMOUNT: Final = 1e11
_MARGIN: Final = 0.01
_TAX_RATES: Final = tuple((net.removeprefix("P_"), tax.removeprefix("P_"), rates) for net, tax, rates in RATES)


@dataclass(frozen=True, slots=True)
class PlainInvoice:
    """A faultless invoice: its facts, and the warnings that its date alone causes."""

    facts: InvoiceFacts
    findings: tuple[Finding, ...]


class FastPathRecogniser:
    """Recogniser of plain invoices. It belongs to one thread; make one per pool process and keep it."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Take the schema files, content by name. Raises UnusableSchemaError as `compile_grammar` does."""
        self._match = compile_grammar(files, _GROUPS).fullmatch
        self._heads: dict[bytes, str] = {}
        """Prologues of documents that passed the full check, and the prefix of their elements."""

    def remember_prologue(self, document: bytes) -> None:
        """Remember the prologue of a document in which the full check found no fault."""
        head = document[: _end_of_head(document)]
        if head in self._heads or head.count(b"=") > _MOST_IN_HEAD or (known := _HEAD.fullmatch(head)) is None:
            return
        if len(self._heads) >= _MOST_HEADS:
            # The oldest is dropped: a sender with a new prologue each time must not keep out all later ones.
            del self._heads[next(iter(self._heads))]
        self._heads[head] = f"{known[1].decode()}:" if known[1] else ""

    def read(self, document: bytes, tenant_nip: str, today: date, *, check_nip_checksums: bool) -> PlainInvoice | None:
        """Return the invoice if it is certainly faultless, None if it needs the full check."""
        end = _end_of_head(document)
        prefix = self._heads.get(document[:end]) if len(document) <= _LONGEST_DOCUMENT else None
        text = None if prefix is None else _without(prefix, _text_of(document[end:]))
        found = None if text is None else self._match(text)
        if prefix is None or text is None or found is None:
            return None
        created, seller, currency, issued_text, number, total, kind = found.groups()
        if seller != tenant_nip or created[:10] > today.isoformat() or not self._fits_in_utf_16(document, text):
            return None
        if check_nip_checksums and not _have_right_nips(text, found.start("seller"), found.start("currency")):
            return None
        issued = date.fromisoformat(issued_text)
        between = _AMOUNT.findall(text, found.end("number"), found.start("total"))
        if issued > today or (between and not _is_likely(between, kind, total, issued)):
            return None
        facts = InvoiceFacts(
            seller_nip=seller,
            kind=kind,
            number=collapsed(number.translate(_MEANT)),
            issue_date=issued,
            form_code=_FORM_CODE,
            has_attachment=text.startswith("</Zalacznik>", text.rfind("</", 0, text.rfind("</"))),
            currency=currency,
        )
        findings: list[Finding] = []
        if issued != today:
            line = line_of(document, document.index(f"<{prefix}P_1>".encode()))
            if line > _LAST_SURE_LINE:
                return None
            findings = fa3_issue_date_findings(issued, today, line=line, path=_ISSUED_PATH)
        return PlainInvoice(facts, tuple(findings))

    def _fits_in_utf_16(self, document: bytes, text: str) -> bool:
        """Return whether a text that matches still does with two characters for each that takes two units of UTF-16."""
        if b"\xf0" not in document and b"&#" not in document:
            return True
        return _ASTRAL.search(text) is None or self._match(_ASTRAL.sub(_TWO_UNITS, text)) is not None


def _without(prefix: str, text: str | None) -> str | None:
    """Return the text without the prefix in all tags, None if a tag lacks it, since it would be another element."""
    if not prefix or text is None:
        return text
    if text.count("<") != text.count(f"<{prefix}") + text.count(f"</{prefix}"):
        return None
    return text.replace(f"<{prefix}", "<").replace(f"</{prefix}", "</")


def _end_of_head(document: bytes) -> int:
    """Return the offset behind the root's start tag, 0 if there is none near the beginning."""
    return document.find(b">", max(document.find(b"Faktura", 0, _LONGEST_HEAD), 0), _LONGEST_HEAD) + 1


def _text_of(document: bytes) -> str | None:
    """Return the text of a document with one character for each escape, None if the document is not plain."""
    if len(document.translate(None, _SUSPECT)) != len(document):
        return None
    for first, search in _FORBIDDEN:
        if first in document and search(document):
            return None
    if b"]" in document and b"]]>" in document:
        return None
    if b"&" in document:
        document = _ESCAPE.sub(_stand_in, document)
        if b"&" in document:
            return None
    try:
        return document.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _stand_in(escape: re.Match[bytes]) -> bytes:
    """Return the substitute of an escape, `&` for one that is not plain."""
    known = _ESCAPES.get(escape[0])
    return _referenced(int(escape[1], 16) if escape[1] else int(escape[2])) if known is None else known


@lru_cache(maxsize=1_024)
def _referenced(point: int) -> bytes:
    # A reference to an ASCII letter or a blank could form part of a tag, and plain documents have none.
    if point < _FIRST_PLAIN_REFERENCE or 0xD800 <= point <= 0xDFFF or point > 0x10FFFF:
        return b"&"
    written = chr(point).encode()
    plain = written == written.translate(None, _SUSPECT) and not any(search(written) for _, search in _FORBIDDEN)
    return written if plain else b"&"


def _have_right_nips(text: str, start: int, end: int) -> bool:
    return all(map(_is_nip, _PARTY_NIP.findall(text, start - len("<NIP>"), end)))


_is_nip = lru_cache(maxsize=4_096)(is_nip)


def _is_likely(between: list[tuple[str, str]], kind: str, total: str, issued: date) -> bool:
    """Return whether the rules on delivery dates, totals and taxes certainly find nothing. It may be too careful."""
    days: dict[str, date] = {}
    amounts: dict[str, float] = {}
    added = 0.0
    for name, text in between:
        if name[0] == "6":
            days[name] = day = date.fromisoformat(text)
            if not FAR_BEFORE <= day - issued <= FAR_AHEAD:
                return False
        else:
            amounts[name] = amount = float(text)
            added += amount
            if not -_LARGEST_AMOUNT < amount < _LARGEST_AMOUNT:
                return False
    if "6_Od" in days and days["6_Od"] > days["6_Do"]:
        return False
    if kind != "VAT" or not amounts:
        return True
    return abs(added - float(total)) <= TOTAL_TOLERANCE - _MARGIN and _have_right_taxes(amounts)


def _have_right_taxes(amounts: Mapping[str, float]) -> bool:
    for net_field, tax_field, rates in _TAX_RATES:
        net, tax = amounts.get(net_field), amounts.get(tax_field)
        if net is not None and tax is not None:
            for rate in rates:
                if abs(tax - net * rate / 100) <= RATE_TOLERANCE - _MARGIN:
                    break
            else:
                return False
    return True
