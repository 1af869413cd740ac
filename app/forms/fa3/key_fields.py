"""Picks out of a parsed invoice the few elements that rules and later stages need, in one walk over its top."""

import re
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from lxml import etree

from app.forms.fa3.xsd.schema import FA3_NAMESPACE

_Element = etree._Element
# The XSD allows 100; a document with more is invalid anyway and must not cost more.
_MAX_THIRD_PARTIES = 100
_MAX_NAMESPACE = 200
# Bounds of the XSD. Beyond them a value is no fact but a fault, and stays out of later stages.
_MAX_NIP = 20
_MAX_KIND = 20
_MAX_NUMBER = 256
_MAX_FORM_CODE = 40
_MAX_CURRENCY = 20
_ISO_DATE_LENGTH = 10
_BLANKS = re.compile("[ \t\r\n]+")


class InvoiceFacts(NamedTuple):
    """What identifies an invoice. `kind` is `RodzajFaktury`, `number` is `P_2`, `issue_date` is `P_1`.

    Blanks in texts are collapsed the way the XSD type does it. For an invalid document the facts are what could be
    read, without a promise that they fit the schema.
    """

    seller_nip: str
    kind: str
    number: str
    issue_date: date
    form_code: str
    has_attachment: bool
    currency: str


@dataclass(slots=True)
class Party:
    """One entity of an invoice; any element may be missing."""

    element: _Element
    nip: _Element | None = None
    internal_id: _Element | None = None
    role: str = ""


@dataclass(slots=True)
class InvoiceElements:
    """The elements that the rules look at; None where the document does not have them."""

    form_code: _Element | None = None
    form_variant: _Element | None = None
    created_at: _Element | None = None
    seller: Party | None = None
    buyer: Party | None = None
    third_parties: list[Party] = field(default_factory=list)
    authorised: Party | None = None
    body: _Element | None = None
    currency: _Element | None = None
    issue_date: _Element | None = None
    number: _Element | None = None
    delivery: _Element | None = None
    period: _Element | None = None
    kind: _Element | None = None
    self_billing: bool = False
    # Net values and taxes by rate, without the restatements in zloty, and the total.
    amounts: list[_Element] = field(default_factory=list)
    total: _Element | None = None
    attachment: _Element | None = None


@dataclass(frozen=True, slots=True)
class _Names:
    """Full names of the elements in one namespace."""

    amounts: frozenset[str]
    header: str
    form_code: str
    form_variant: str
    created_at: str
    seller: str
    buyer: str
    third_party: str
    authorised: str
    body: str
    attachment: str
    identification: str
    nip: str
    internal_id: str
    role: str
    currency: str
    issue_date: str
    number: str
    annotations: str
    self_billing: str
    kind: str
    total: str
    delivery: str
    period: str


_LOCAL_NAMES = (
    *("Naglowek", "KodFormularza", "WariantFormularza", "DataWytworzeniaFa"),
    *("Podmiot1", "Podmiot2", "Podmiot3", "PodmiotUpowazniony", "Fa", "Zalacznik"),
    *("DaneIdentyfikacyjne", "NIP", "IDWew", "Rola"),
    *("KodWaluty", "P_1", "P_2", "Adnotacje", "P_17", "RodzajFaktury", "P_15", "P_6", "OkresFa"),
)


_NET = ("1", "2", "3", "4", "5", "6_1", "6_2", "6_3", "7", "8", "9", "10", "11")
_TAX = ("1", "2", "3", "4", "5")
_AMOUNTS = (*(f"P_13_{number}" for number in _NET), *(f"P_14_{number}" for number in _TAX))


@lru_cache(maxsize=8)
def _names(namespace: str) -> _Names:
    def name(local: str) -> str:
        return f"{{{namespace}}}{local}" if namespace else local

    return _Names(frozenset(map(name, _AMOUNTS)), *map(name, _LOCAL_NAMES))


def read_elements(root: _Element) -> InvoiceElements:
    """Return the elements of an invoice of any version that has the shape of FA(3); never fails on a strange one."""
    namespace = FA3_NAMESPACE if root.tag.startswith(f"{{{FA3_NAMESPACE}}}") else root.tag.rpartition("}")[0][1:]
    found = InvoiceElements()
    if len(namespace) > _MAX_NAMESPACE:
        return found
    names = _names(namespace)
    for child in root:
        tag = child.tag
        if tag == names.third_party:
            if len(found.third_parties) < _MAX_THIRD_PARTIES:
                found.third_parties.append(_party(child, names, with_role=True))
        elif tag == names.header:
            _read_header(child, names, found)
        elif tag == names.seller:
            found.seller = found.seller or _party(child, names)
        elif tag == names.buyer:
            found.buyer = found.buyer or _party(child, names)
        elif tag == names.authorised:
            found.authorised = found.authorised or _party(child, names)
        elif tag == names.body:
            if found.body is None:
                _read_body(child, names, found)
        elif tag == names.attachment:
            found.attachment = child
    return found


def text_of(element: _Element | None) -> str:
    """Return the text directly inside an element with blanks collapsed; empty when there is none.

    Blanks are those of XML: space, tab and line ends. A no-break space belongs to the value, as it does for KSeF.
    """
    if element is None:
        return ""
    text = element.text
    if text is None or len(element):
        # A comment may split the text: the value is all of it.
        text = "".join([text or "", *(child.tail or "" for child in element)])
    return collapsed(text)


def collapsed(text: str) -> str:
    """Return a text with its blanks collapsed as the XSD's token does it."""
    # Of the ASCII blanks that split() knows, XML allows only its own four.
    return " ".join(text.split()) if text.isascii() else _BLANKS.sub(" ", text).strip(" ")


def date_of(element: _Element | None) -> date | None:
    """Return the date an element holds in the form YYYY-MM-DD, or None when it does not."""
    text = text_of(element)
    if len(text) != _ISO_DATE_LENGTH or not text.isascii():
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def facts_of(found: InvoiceElements) -> InvoiceFacts | None:
    """Return the facts, or None when one of those that identify an invoice is missing or absurd."""
    seller_nip = text_of(found.seller.nip) if found.seller is not None else ""
    kind, number = text_of(found.kind), text_of(found.number)
    issue_date = date_of(found.issue_date)
    if not (seller_nip and kind and number) or issue_date is None:
        return None
    if len(seller_nip) > _MAX_NIP or len(kind) > _MAX_KIND or len(number) > _MAX_NUMBER:
        return None
    code = found.form_code
    form_code = (code.get("kodSystemowy") or text_of(code)) if code is not None else ""
    return InvoiceFacts(
        seller_nip=seller_nip,
        kind=kind,
        number=number,
        issue_date=issue_date,
        form_code=form_code[:_MAX_FORM_CODE],
        has_attachment=found.attachment is not None,
        currency=text_of(found.currency)[:_MAX_CURRENCY],
    )


def _first(parent: _Element, tag: str) -> _Element | None:
    # For the first few children a plain loop is several times faster than iterchildren(tag).
    for child in parent:
        if child.tag == tag:
            return child
    return None


def _party(element: _Element, names: _Names, *, with_role: bool = False) -> Party:
    party = Party(element)
    for child in element:
        tag = child.tag
        if tag == names.identification:
            party.nip = _first(child, names.nip)
            if not with_role:
                break
            if party.nip is None:
                party.internal_id = _first(child, names.internal_id)
        elif with_role and tag == names.role:
            party.role = text_of(child).lstrip("+0")
            break
    return party


def _read_header(header: _Element, names: _Names, found: InvoiceElements) -> None:
    for child in header:
        tag = child.tag
        if tag == names.form_code:
            found.form_code = child
        elif tag == names.form_variant:
            found.form_variant = child
        elif tag == names.created_at:
            found.created_at = child
            return


def _read_body(body: _Element, names: _Names, found: InvoiceElements) -> None:
    found.body = body
    for child in body:
        tag = child.tag
        if tag in names.amounts:
            found.amounts.append(child)
        elif tag == names.currency:
            found.currency = child
        elif tag == names.issue_date:
            found.issue_date = child
        elif tag == names.number:
            found.number = child
        elif tag == names.delivery:
            found.delivery = child
        elif tag == names.period:
            found.period = child
        elif tag == names.total:
            found.total = child
        elif tag == names.annotations:
            # A number for the XSD: 01 and +1 are the same.
            found.self_billing = text_of(_first(child, names.self_billing)).lstrip("+0") == "1"
        elif tag == names.kind:
            # Nothing that is wanted comes after it, but up to ten thousand lines do.
            found.kind = child
            return
