"""Twenty bad invoices that a KSeF sender must refuse, each for one fault of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from invoicegen._catalogue import nip_from
from invoicegen._compose import NAMESPACE
from invoicegen.invoices import generate_invoices

_PROLOG = b'<?xml version="1.0" encoding="UTF-8"?>'
_FA2_NAMESPACE = "http://crd.gov.pl/wzor/2023/06/29/12648/"
_SEED = 20
_MOST_TRIES = 2000
_BOMB = (
    b'<!DOCTYPE Faktura [<!ENTITY a "zzzzzzzzzz">'
    b'<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">'
    b'<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;">'
    b'<!ENTITY f "&e;&e;&e;&e;&e;&e;&e;&e;&e;&e;"><!ENTITY g "&f;&f;&f;&f;&f;&f;&f;&f;&f;&f;">]>'
)


@dataclass(frozen=True, slots=True)
class BadInvoice:
    """One bad invoice: a safe file name, its bytes, the rule it breaks (an id of `app.forms.rules`), and the reason."""

    name: str
    xml: bytes
    rule: str
    why: str


class _Maker:
    """Maker of bad invoices: each is a valid invoice with its own number and one fault added."""

    def __init__(self, seller_nip: str, issue_date: date) -> None:
        sound = generate_invoices(
            _MOST_TRIES, seller_nip=seller_nip, issue_date=issue_date, seed=_SEED, profile="small", number_prefix="ZLE"
        )
        start = _PROLOG + f'<Faktura xmlns="{NAMESPACE}"><Naglowek>'.encode()
        self._sound = (
            invoice.xml for invoice in sound if invoice.xml.startswith(start) and b"<FaWiersz>" in invoice.xml
        )
        self.made: list[BadInvoice] = []

    def add(self, name: str, rule: str, why: str, breaking: Callable[[bytes], bytes]) -> None:
        """Add the fault to the next valid invoice."""
        xml = next(self._sound)
        broken = breaking(xml)
        if broken == xml:
            raise AssertionError(f"{name} was not broken")
        self.made.append(BadInvoice(f"{len(self.made) + 1:02d}-{name}.xml", broken, rule, why))


def _replacing(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda xml: xml.replace(old, new, 1)


def _with_content(tag: str, content: str) -> Callable[[bytes], bytes]:
    """Return a function that replaces the text of the first element of this name."""
    opening, closing = f"<{tag}>".encode(), f"</{tag}>".encode()

    def change(xml: bytes) -> bytes:
        before, _, rest = xml.partition(opening)
        _, _, after = rest.partition(closing)
        return before + opening + content.encode() + closing + after

    return change


def _without(tag: str) -> Callable[[bytes], bytes]:
    def change(xml: bytes) -> bytes:
        before, _, rest = xml.partition(f"<{tag}>".encode())
        return before + rest.partition(f"</{tag}>".encode())[2]

    return change


def _grown(count: int, width: int) -> Callable[[bytes], bytes]:
    """Return a function that adds `count` DodatkowyOpis elements with `width` characters each, all of them valid."""
    note = f"<DodatkowyOpis><Klucz>Uwaga</Klucz><Wartosc>{'x' * width}</Wartosc></DodatkowyOpis>".encode()
    return lambda xml: xml.replace(b"<FaWiersz>", note * count + b"<FaWiersz>", 1)


def _in_iso_8859_2(xml: bytes) -> bytes:
    # Letters outside ASCII become references, so that the declaration is the only fault.
    plain = xml.decode().encode("ascii", "xmlcharrefreplace")
    return plain.replace(b'encoding="UTF-8"', b'encoding="ISO-8859-2"', 1)


def _in_fa2(xml: bytes) -> bytes:
    text = xml.decode().replace(NAMESPACE, _FA2_NAMESPACE, 1).replace('kodSystemowy="FA (3)"', 'kodSystemowy="FA (2)"')
    return text.replace("<WariantFormularza>3<", "<WariantFormularza>2<").encode()


def bad_invoices(seller_nip: str, issue_date: date) -> list[BadInvoice]:
    """Make twenty bad invoices of the seller, for a check on the day of issue; the same arguments give the same bytes.

    An invoice may break further rules as a consequence (an FA(2) invoice fits no FA(3) schema), but without the named fault it
    is valid.
    """
    maker = _Maker(seller_nip, issue_date)
    add = maker.add
    stranger = next(nip for nip in map(nip_from, (7_000_001, 7_000_002)) if nip != seller_nip)
    future = (issue_date + timedelta(days=3)).isoformat()
    add("bom", "byte-order-mark", "starts with the bytes EF BB BF", lambda xml: b"\xef\xbb\xbf" + xml)
    add(
        "instruction", "processing-instruction", "has a style sheet instruction after the prolog",
        _replacing(_PROLOG, _PROLOG + b'<?xml-stylesheet type="text/xsl" href="faktura.xsl"?>'),
    )  # fmt: skip
    add(
        "control-character", "forbidden-character", "has U+0081 in a product's name",
        _replacing(b"<P_7>", "<P_7>\u0081".encode()),
    )  # fmt: skip
    add(
        "control-reference", "forbidden-character", "has U+0081 as a character reference",
        _replacing(b"<P_7>", b"<P_7>&#x81;"),
    )  # fmt: skip
    add("iso-8859-2", "declared-encoding", "its prolog names ISO-8859-2", _in_iso_8859_2)
    add("doctype", "doctype", "has an empty DOCTYPE", _replacing(_PROLOG, _PROLOG + b"<!DOCTYPE Faktura>"))
    add(
        "entity-bomb", "doctype", "has entities that unfold to ten million characters",
        lambda xml: xml.replace(_PROLOG, _PROLOG + _BOMB, 1).replace(b"<P_7>", b"<P_7>&g;", 1),
    )  # fmt: skip
    add("not-xml", "not-well-formed", "is JSON", lambda _: b'{"faktura": {"P_2": "ZLE/8", "P_15": 123.00}}\n')
    add("truncated", "not-well-formed", "ends in the middle", lambda xml: xml[: len(xml) * 2 // 3].rsplit(b">", 1)[0])
    add("empty", "empty-document", "has no bytes", lambda _: b"")
    add("missing-element", "xsd-missing-element", "Podmiot2 has no GV", _without("GV"))
    add("bad-enumeration", "xsd-value-not-allowed", "its currency does not exist", _with_content("KodWaluty", "ZLO"))
    add("bad-date", "xsd-bad-value", "is dated 30 February", _with_content("P_1", f"{issue_date.year}-02-30"))
    add("future", "issue-date-in-future", "is dated three days ahead", _with_content("P_1", future))
    add("wrong-seller", "seller-not-tenant", "is of another seller", _with_content("NIP", stranger))
    add("fa2", "form-not-supported", "is an invoice in the form FA(2)", _in_fa2)
    add("over-1-mb", "too-large-without-attachment", "is over 1,000,000 bytes, no attachment", _grown(5000, 160))
    add("over-3-mb", "too-large", "is over 3,000,000 bytes", _grown(9990, 256))
    add("invalid-utf-8", "not-utf-8", "has a letter in ISO-8859-2", _replacing(b"<P_7>", b"<P_7>\xb1"))
    add(
        "unknown-namespace", "form-not-supported", "has an unknown namespace",
        _replacing(NAMESPACE.encode(), b"http://faktury.example/wzor/1/"),
    )  # fmt: skip
    return maker.made
