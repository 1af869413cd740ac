"""Values of elements, read by the rules of XML Schema, and the facts that identify an invoice."""

import re
from datetime import date
from typing import NamedTuple

from lxml import etree

_Element = etree._Element
# Bounds of the XSD. A longer value is a fault and not a fact, and stays out of later stages.
_MAX_NIP = 20
_MAX_KIND = 20
_MAX_NUMBER = 256
_MAX_FORM_CODE = 40
_MAX_CURRENCY = 20
_ISO_DATE_LENGTH = 10
_BLANKS = re.compile("[ \t\r\n]+")


class InvoiceFacts(NamedTuple):
    """Fields that identify an invoice: in FA(3), `kind` is `RodzajFaktury`, `number` is `P_2`, `issue_date` is `P_1`.

    Blanks in texts are collapsed the way the XSD type does it. The facts of an invalid document may not fit the schema.
    """

    seller_nip: str
    kind: str
    number: str
    issue_date: date
    form_code: str
    has_attachment: bool
    currency: str


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
    # Of the ASCII blanks that split() separates at, XML allows only four.
    return " ".join(text.split()) if text.isascii() else _BLANKS.sub(" ", text).strip(" ")


def date_of(element: _Element | None) -> date | None:
    """Return the date that an element has in the form YYYY-MM-DD, or None when it has none."""
    text = text_of(element)
    if len(text) != _ISO_DATE_LENGTH or not text.isascii():
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def first_child(parent: _Element, tag: str) -> _Element | None:
    """Return the first child of that name, or None."""
    # For the first few children a plain loop is several times faster than iterchildren(tag).
    for child in parent:
        if child.tag == tag:
            return child
    return None


def make_facts(
    *,
    seller_nip: _Element | None,
    kind: _Element | None,
    number: _Element | None,
    issue_date: _Element | None,
    form_code: _Element | None,
    currency: _Element | None,
    has_attachment: bool,
) -> InvoiceFacts | None:
    """Return the facts, or None when one of those that identify an invoice is missing or longer than the XSD allows."""
    nip_text, kind_text, number_text, issued = text_of(seller_nip), text_of(kind), text_of(number), date_of(issue_date)
    if not (nip_text and kind_text and number_text) or issued is None:
        return None
    if len(nip_text) > _MAX_NIP or len(kind_text) > _MAX_KIND or len(number_text) > _MAX_NUMBER:
        return None
    code = (form_code.get("kodSystemowy") or text_of(form_code)) if form_code is not None else ""
    return InvoiceFacts(
        seller_nip=nip_text,
        kind=kind_text,
        number=number_text,
        issue_date=issued,
        form_code=code[:_MAX_FORM_CODE],
        has_attachment=has_attachment,
        currency=text_of(currency)[:_MAX_CURRENCY],
    )
