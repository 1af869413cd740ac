"""Reader of the few elements that rules and later stages need, in one pass over the top of an invoice."""

from dataclasses import dataclass, field
from functools import lru_cache

from lxml import etree

from app.forms.fa3.schema import FA3_NAMESPACE
from app.forms.fields import InvoiceFacts, first_child, make_facts, text_of

_Element = etree._Element
# The XSD allows 100. A document with more is invalid and must not cost more time.
_MAX_THIRD_PARTIES = 100
_MAX_NAMESPACE = 200


@dataclass(slots=True)
class Party:
    """One entity of an invoice; any element may be missing."""

    element: _Element
    nip: _Element | None = None
    internal_id: _Element | None = None
    role: str = ""


@dataclass(slots=True)
class InvoiceElements:
    """The elements that the rules read; None where the document lacks one."""

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
    """Return the elements of an invoice of any version that has the shape of FA(3); never fails on another document."""
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


def facts_of(found: InvoiceElements) -> InvoiceFacts | None:
    """Return the facts, or None when one of those that identify an invoice is missing or longer than the XSD allows."""
    return make_facts(
        seller_nip=found.seller.nip if found.seller is not None else None,
        kind=found.kind,
        number=found.number,
        issue_date=found.issue_date,
        form_code=found.form_code,
        currency=found.currency,
        has_attachment=found.attachment is not None,
    )


def _party(element: _Element, names: _Names, *, with_role: bool = False) -> Party:
    party = Party(element)
    for child in element:
        tag = child.tag
        if tag == names.identification:
            party.nip = first_child(child, names.nip)
            if not with_role:
                break
            if party.nip is None:
                party.internal_id = first_child(child, names.internal_id)
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
            # The XSD's type is a number: 01 and +1 are equal.
            found.self_billing = text_of(first_child(child, names.self_billing)).lstrip("+0") == "1"
        elif tag == names.kind:
            # No wanted element follows, but up to ten thousand lines do.
            found.kind = child
            return
