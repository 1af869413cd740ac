"""What can happen to the head of an invoice: its form, who sells, who issues, who buys, attachments."""

import re
from collections.abc import Callable
from random import Random

TENANT = "5265877635"
"""For whom invoices are sent; may enforce."""
CONSENTING = "5213814999"
"""A seller that lets the tenant invoice in its name, by self-billing and as tax representative."""
STRANGER = "1111111111"
"""A seller that gave the tenant nothing."""
WRONG = "5517035945"
"""A NIP with a wrong check digit."""

_SELLER = re.compile(rb"(<(?:[\w.-]+:)?Podmiot1>.*?<(?:[\w.-]+:)?NIP>)[^<]*", re.DOTALL)
_BUYER = re.compile(
    rb"(<(?:[\w.-]+:)?Podmiot2>.*?<(?:[\w.-]+:)?DaneIdentyfikacyjne>).*?(<(?:[\w.-]+:)?Nazwa>)", re.DOTALL
)
_SELF = re.compile(rb"(<(?:[\w.-]+:)?P_17>)[^<]*")
_CODE = re.compile(rb"<((?:[\w.-]+:)?)KodFormularza[^>]*>[^<]*</")
_VARIANT = re.compile(rb"(<(?:[\w.-]+:)?WariantFormularza>)[^<]*")
_NAMESPACE = b"http://crd.gov.pl/wzor/2025/06/25/13775/"
_CODES = (
    b'kodSystemowy="FA (2)" wersjaSchemy="1-0E">FA', b'kodSystemowy="FA (3)" wersjaSchemy="1-1E">FA', b'kodSystemowy="FA (3)" wersjaSchemy="1-0E">FA_RR',
    b'kodSystemowy="FA_RR (1)" wersjaSchemy="1-1E">FA_RR', b'wersjaSchemy="1-0E" kodSystemowy="FA (3)">FA', b'kodSystemowy="FA(3)" wersjaSchemy="1-0E">FA',
    b'kodSystemowy=" FA (3)" wersjaSchemy="1-0E">FA', b'kodSystemowy="FA  (3)" wersjaSchemy="1-0E">FA', b'kodSystemowy="FA&#32;(3)" wersjaSchemy="1-0E">FA',
    b'kodSystemowy="FA\t(3)" wersjaSchemy="1-0E">FA', b'kodSystemowy="FA (3)">FA', b'wersjaSchemy="1-0E">FA', b">FA", b'kodSystemowy="FA (3)" wersjaSchemy="1-0E">',
    b'kodSystemowy="FA (3)" wersjaSchemy="1-0E"> FA ', b'kodSystemowy="FA (3)" wersjaSchemy="1-0E">fa', b'kodSystemowy="FA (3)" wersjaSchemy="1-0E">F<!-- -->A',
    b'kodSystemowy="FA (3)" wersjaSchemy="1-0e">FA', b'kodSystemowy="FA (3)" wersjaSchemy="1-0E" rodzaj="a">FA', b'kodSystemowy="" wersjaSchemy="">FA',
    b"kodSystemowy='FA (3)' wersjaSchemy='1-0E'>FA", b'kodSystemowy="FA (3)" wersjaSchemy="1-0E"><![CDATA[FA]]>', b'KodSystemowy="FA (3)" wersjaSchemy="1-0E">FA',
)  # fmt: skip
_ATTACHMENT = b"<Zalacznik><BlokDanych><MetaDane><ZKlucz>a</ZKlucz><ZWartosc>b</ZWartosc></MetaDane></BlokDanych></Zalacznik></Faktura>"
_ADDRESS = b"<Adres><KodKraju>PL</KodKraju><AdresL1>ul. Prosta 1</AdresL1></Adres>"


def sold_by(document: bytes, nip: str) -> bytes:
    """Return the document with another seller."""
    return _SELLER.sub(lambda found: found[1] + nip.encode(), document, count=1)


def _form_code(document: bytes, random: Random) -> bytes:
    code = random.choice(_CODES)
    return _CODE.sub(lambda found: b"<" + found[1] + b"KodFormularza " + code + b"</", document, count=1)


def _variant(document: bytes, random: Random) -> bytes:
    value = random.choice(
        (b"1", b"2", b"4", b"03", b"+3", b" 3 ", b"3.0", b"", b"3<!-- -->", b"33", b"&#51;", b"three", b"\n3")
    )
    return _VARIANT.sub(lambda found: found[1] + value, document, count=1)


def _namespace(document: bytes, random: Random) -> bytes:
    value = random.choice(
        (
            b"http://crd.gov.pl/wzor/2023/06/29/12648/", b"http://crd.gov.pl/wzor/2021/11/29/11089/", _NAMESPACE[:-1], _NAMESPACE.upper(), _NAMESPACE + b" ",
            b" " + _NAMESPACE, b"https" + _NAMESPACE[4:], b"", b"urn:oasis:names:specification:ubl:schema:xsd:Invoice-2", _NAMESPACE.replace(b"/", b"&#x2F;", 1),
            _NAMESPACE.replace(b"/13775/", b"/13775/\n"), b"http://crd.gov.pl/wzor/2026/03/06/14189/",
        )
    )  # fmt: skip
    return document.replace(_NAMESPACE, value, random.choice((1, -1)))


def _other_seller(document: bytes, random: Random) -> bytes:
    return sold_by(document, random.choice((STRANGER, CONSENTING, WRONG)))


def _role(seller: str, issue: Callable[[bytes, Random], bytes]) -> Callable[[bytes, Random], bytes]:
    def mutate(document: bytes, random: Random) -> bytes:
        return issue(sold_by(document, seller), random)

    return mutate


def _self_billed(document: bytes, random: Random) -> bytes:
    mark = random.choice((b"1", b"1", b"1", b"2", b"01", b" 1 ", b"1<!-- -->"))
    buyer = random.choice((TENANT, TENANT, TENANT, STRANGER)).encode()
    document = _SELF.sub(lambda found: found[1] + mark, document, count=1)
    return _BUYER.sub(lambda found: found[1] + b"<NIP>" + buyer + b"</NIP>" + found[2], document, count=1)


def _represented(document: bytes, random: Random) -> bytes:
    nip = random.choice((TENANT, TENANT, TENANT, WRONG)).encode()
    role = random.choice((b"1", b"2", b"3", b"3", b"03", b" 3", b"4"))
    party = (
        b"<PodmiotUpowazniony><DaneIdentyfikacyjne><NIP>"
        + nip
        + b"</NIP><Nazwa>P</Nazwa></DaneIdentyfikacyjne>"
        + _ADDRESS
    )
    return document.replace(b"<Fa>", party + b"<RolaPU>" + role + b"</RolaPU></PodmiotUpowazniony><Fa>", 1)


def _third_party(document: bytes, random: Random) -> bytes:
    identity = random.choice(
        (
            f"<NIP>{TENANT}</NIP>", f"<NIP>{TENANT}</NIP>", f"<NIP>{WRONG}</NIP>", f"<IDWew>{TENANT}-00001</IDWew>", f"<IDWew>{WRONG}-00001</IDWew>",
            f"<IDWew>{TENANT}-0001</IDWew>", f"<IDWew>{TENANT}</IDWew>", "<BrakID>1</BrakID>", "<KodKraju>DE</KodKraju><NrID>1</NrID>", "<NIP/>", "<IDWew/>",
            f"<IDWew>{TENANT}-٠٠٠٠١</IDWew>", f"<IDWew> {TENANT}-00001</IDWew>", "<KodUE>DE</KodUE><NrVatUE>123</NrVatUE>",
        )
    ).encode()  # fmt: skip
    role = random.choice((b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9", b"10", b"11", b"12", b"05"))
    party = b"<Podmiot3><DaneIdentyfikacyjne>" + identity + b"<Nazwa>T</Nazwa></DaneIdentyfikacyjne>" + _ADDRESS
    return document.replace(b"<Fa>", party + b"<Rola>" + role + b"</Rola></Podmiot3><Fa>", 1)


def _corrected_party(document: bytes, random: Random) -> bytes:
    """Give a corrected buyer or seller a NIP, perhaps a wrong one; only corrections may have them."""
    nip = random.choice((WRONG, STRANGER, TENANT)).encode()
    wrong = re.compile(rb"(<Podmiot[12]K>.*?<NIP>)[^<]*", re.DOTALL)
    if wrong.search(document):
        return wrong.sub(lambda found: found[1] + nip, document, count=1)
    return document.replace(
        b"<FaWiersz>",
        b"<Podmiot2K><DaneIdentyfikacyjne><NIP>" + nip + b"</NIP></DaneIdentyfikacyjne></Podmiot2K><FaWiersz>",
        1,
    )


def _attachment(document: bytes, random: Random) -> bytes:
    if b"Zalacznik>" in document:
        return re.sub(rb"<Zalacznik>.*</Zalacznik>", random.choice((b"", b"<Zalacznik/>")), document, flags=re.DOTALL)
    return document.replace(
        b"</Faktura>", _ATTACHMENT.replace(b"<ZWartosc>b", random.choice((b"<ZWartosc>b", b"<ZWartosc>"))), 1
    )


def _attachment_elsewhere(document: bytes, random: Random) -> bytes:
    attachment = _ATTACHMENT.removesuffix(b"</Faktura>")
    if random.random() < 0.3:
        attachment = attachment.replace(b"<Zalacznik>", b'<Zalacznik xmlns="urn:x">')
    place = random.choice((b"<Fa>", b"<Podmiot1>", b"</Fa>", b"<Naglowek>", b"</Faktura>"))
    return document.replace(place, attachment + place, 1)


MUTATIONS: dict[str, Callable[[bytes, Random], bytes]] = {
    "form code": _form_code,
    "form variant": _variant,
    "namespace of the form": _namespace,
    "other seller": _other_seller,
    "self-billing with consent": _role(CONSENTING, _self_billed),
    "self-billing without consent": _role(STRANGER, _self_billed),
    "representative with consent": _role(CONSENTING, _represented),
    "representative without consent": _role(STRANGER, _represented),
    "representative": _represented,
    "third party": _third_party,
    "third party issues": _role(STRANGER, _third_party),
    "corrected party": _corrected_party,
    "attachment": _attachment,
    "attachment elsewhere": _attachment_elsewhere,
}
ISSUED_FOR_OTHERS = frozenset(
    (
        "self-billing with consent", "self-billing without consent", "representative with consent", "representative without consent",
        "representative", "third party", "third party issues",
    )
)  # fmt: skip
"""Here KSeF may answer 410 for a permission that the seller did not give, which no check before sending can see."""
