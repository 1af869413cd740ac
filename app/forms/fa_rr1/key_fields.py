"""Reads the elements of an FA_RR(1) document that rules and later stages need, in one walk over its top."""

from dataclasses import dataclass, field
from typing import Final

from lxml import etree

from app.forms.fields import InvoiceFacts, first_child, make_facts

_Element = etree._Element

FA_RR1_NAMESPACE: Final = "http://crd.gov.pl/wzor/2026/03/06/14189/"
# The XSD allows 100; a document with more is invalid anyway and must not cost more.
_MAX_THIRD_PARTIES: Final = 100


@dataclass(slots=True)
class RrParty:
    """One entity of an invoice; its NIP or internal identifier may be missing."""

    element: _Element
    nip: _Element | None = None
    internal_id: _Element | None = None


@dataclass(slots=True)
class RrElements:
    """The elements that the rules read; None where the document does not have them.

    `supplier` is the farmer (`Podmiot1`), `buyer` issues the invoice (`Podmiot2`).
    """

    form_code: _Element | None = None
    form_variant: _Element | None = None
    supplier: RrParty | None = None
    buyer: RrParty | None = None
    third_parties: list[RrParty] = field(default_factory=list)
    currency: _Element | None = None
    issue_date: _Element | None = None
    number: _Element | None = None
    kind: _Element | None = None


def _name(local: str) -> str:
    return f"{{{FA_RR1_NAMESPACE}}}{local}"


_HEADER, _BODY = _name("Naglowek"), _name("FakturaRR")
_SUPPLIER, _BUYER, _THIRD = _name("Podmiot1"), _name("Podmiot2"), _name("Podmiot3")
_IDENTIFICATION, _NIP, _INTERNAL_ID = _name("DaneIdentyfikacyjne"), _name("NIP"), _name("IDWew")
_FORM_CODE, _FORM_VARIANT = _name("KodFormularza"), _name("WariantFormularza")
_CURRENCY, _ISSUE_DATE, _NUMBER, _KIND = _name("KodWaluty"), _name("P_4B"), _name("P_4C"), _name("RodzajFaktury")


def read_elements(root: _Element) -> RrElements:
    """Return the elements of a document of FA_RR(1); never fails on a strange one."""
    found = RrElements()
    for child in root:
        tag = child.tag
        if tag == _THIRD:
            if len(found.third_parties) < _MAX_THIRD_PARTIES:
                found.third_parties.append(_party(child))
        elif tag == _HEADER:
            found.form_code = first_child(child, _FORM_CODE)
            found.form_variant = first_child(child, _FORM_VARIANT)
        elif tag == _SUPPLIER:
            found.supplier = found.supplier or _party(child)
        elif tag == _BUYER:
            found.buyer = found.buyer or _party(child)
        elif tag == _BODY:
            _read_body(child, found)
            break
    return found


def facts_of(found: RrElements) -> InvoiceFacts | None:
    """Return the facts: the farmer's NIP, `RodzajFaktury`, `P_4C` and `P_4B`; None when one is missing or too long."""
    return make_facts(
        seller_nip=found.supplier.nip if found.supplier is not None else None,
        kind=found.kind,
        number=found.number,
        issue_date=found.issue_date,
        form_code=found.form_code,
        currency=found.currency,
        has_attachment=False,
    )


def _party(element: _Element) -> RrParty:
    known = first_child(element, _IDENTIFICATION)
    if known is None:
        return RrParty(element)
    return RrParty(element, first_child(known, _NIP), first_child(known, _INTERNAL_ID))


def _read_body(body: _Element, found: RrElements) -> None:
    for child in body:
        tag = child.tag
        if tag == _CURRENCY:
            found.currency = child
        elif tag == _ISSUE_DATE:
            found.issue_date = child
        elif tag == _NUMBER:
            found.number = child
        elif tag == _KIND:
            # The lines come after it, up to ten thousand of them, and no rule reads those.
            found.kind = child
            return
