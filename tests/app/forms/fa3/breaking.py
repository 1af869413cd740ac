"""For each rule at least one document that breaks it, and exactly what is to be said about it: rules, lines and paths."""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from tests.app.forms.fa3.conftest import INVOICE

ROW = "<FaWiersz><NrWierszaFa>1</NrWierszaFa>"
ATTACHMENT = (
    "<Zalacznik><BlokDanych><MetaDane><ZKlucz>a</ZKlucz><ZWartosc>b</ZWartosc></MetaDane></BlokDanych></Zalacznik>"
)
THIRD = "<Podmiot3><DaneIdentyfikacyjne><IDWew>{id}</IDWew></DaneIdentyfikacyjne><Rola>{role}</Rola></Podmiot3>"

_FORM = "/Faktura/Naglowek/KodFormularza"
_CREATED = "/Faktura/Naglowek/DataWytworzeniaFa"
_FA = "/Faktura/Fa"
_ACCOUNT = "<Platnosc><RachunekBankowy><NrRB>123</NrRB></RachunekBankowy></Platnosc></Fa>"
_FA2 = "http://crd.gov.pl/wzor/2023/06/29/12648/"
_FA_RR = "http://crd.gov.pl/wzor/2026/03/06/14189/"
_AUTHORISED = (
    "<PodmiotUpowazniony><DaneIdentyfikacyjne><NIP>5260250275</NIP><Nazwa>K</Nazwa></DaneIdentyfikacyjne>"
    "<Adres><KodKraju>PL</KodKraju><AdresL1>A</AdresL1></Adres><RolaPU>2</RolaPU></PodmiotUpowazniony>"
)
_XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
_OTHER = '<?xml version="1.0" encoding="UTF-8"?>\n<Faktura xmlns="{namespace}">\n<Naglowek>{form}</Naglowek></Faktura>'

Pairs = tuple[tuple[str | bytes, str | bytes], ...]
Place = tuple[str, int | None, str | None]
"""A rule, a line and a path."""


@dataclass(frozen=True, slots=True)
class Breaking:
    """A document, what it is checked with beside the usual, and all that is to be found."""

    name: str
    document: bytes
    found: tuple[Place, ...]
    context: dict[str, Any] = field(default_factory=dict)


def edited(*pairs: tuple[str | bytes, str | bytes]) -> bytes:
    """Return the valid invoice with pairs of old and new text exchanged; each old text must be there."""
    document = INVOICE
    for old, new in pairs:
        before, after = (one.encode() if isinstance(one, str) else one for one in (old, new))
        assert before in document, before
        document = document.replace(before, after, 1)
    return document


def _one(
    rule: str, line: int | None, path: str | None, *pairs: tuple[str | bytes, str | bytes], **context: Any
) -> Breaking:
    return Breaking(rule, edited(*pairs), ((rule, line, path),), context)


def _other(name: str, namespace: str, form: str) -> Breaking:
    document = _OTHER.format(namespace=namespace, form=form).encode()
    return Breaking(name, document, (("form-not-supported", 2, "/Faktura"),))


def _issued(day: str) -> tuple[str, str]:
    return "<P_1>2026-11-22", f"<P_1>{day}"


OF_BYTES = (
    Breaking("empty", b"", (("empty-document", None, None),)),
    Breaking("blank", b" \n\t", (("empty-document", None, None),)),
    _one("byte-order-mark", 1, None, ("<?xml", b"\xef\xbb\xbf<?xml")),
    _one("not-utf-8", 13, None, ("Nabywca", b"Nabywc\xb1")),
    Breaking("utf-16", INVOICE.decode().encode("utf-16-le"), (("not-utf-8", 1, None),)),
    Breaking("utf-16 with a mark", b"\xff\xfe" + INVOICE.decode().encode("utf-16-le"), (("not-utf-8", 1, None),)),
    _one("declared-encoding", 1, None, ('"UTF-8"', '"ISO-8859-2"')),
    _one("declared-encoding", 1, None, ('"UTF-8"', "'windows-1250'")),
    _one("xml-version", 1, None, ('version="1.0"', 'version="1.1"')),
    _one("processing-instruction", 3, None, ("<Naglowek>", "<?print now?><Naglowek>")),
    _one("processing-instruction", 2, None, ("<Faktura", '<?xml-stylesheet href="a.xsl"?><Faktura')),
    _one("doctype", 2, None, ("<Faktura", "<!DOCTYPE Faktura><Faktura")),
    _one("doctype", 2, None, ("<Faktura", '<!DOCTYPE Faktura [<!ENTITY a "b">]><Faktura'), ("FV/1", "&a;")),
    *(
        _one("forbidden-character", 13, None, ("Nabywca", f"Nabywca{character}"))
        for character in ("\x7f", "\x81", "\x9f", "\ufdd0", "\U0001fffe", "\U0010ffff", "&#x0081;", "&#131071;")
    ),
    _one("not-well-formed", 7, None, ("</Naglowek>", "</Naglowe>")),
    _one("not-well-formed", 13, None, ("Nabywca", "A & B")),
    _one("not-well-formed", 13, None, ("Nabywca", "A &copy; B")),
    _one("not-well-formed", 13, None, ("Nabywca", "A\x01")),
    _one("not-well-formed", 13, None, ("Nabywca", "A\uffff")),
    _one("too-large", None, None, max_bytes=100, max_bytes_with_attachment=200),
    _one("too-large-without-attachment", None, None, max_bytes=1000),
)

OF_FORM = (
    _other("FA (1)", "http://crd.gov.pl/wzor/2021/11/29/11089/", ""),
    Breaking(
        "FA (2)",
        edited(("http://crd.gov.pl/wzor/2025/06/25/13775/", _FA2), ("FA (3)", "FA (2)")),
        (("form-not-supported", 2, "/Faktura"),),
    ),
    _other("FA_RR by its namespace", _FA_RR, ""),
    _other("FA_RR", _FA_RR, '<KodFormularza kodSystemowy="FA_RR (1)" wersjaSchemy="1-1E">FA_RR</KodFormularza>'),
    _other(
        "FA_RR as it was", "urn:older", '<KodFormularza kodSystemowy="FA_RR (1)" wersjaSchemy="1-0E">RR</KodFormularza>'
    ),
    _other("RR by its text", "urn:older", '<KodFormularza wersjaSchemy="1-0E">RR</KodFormularza>'),
    Breaking(
        "PEF",
        b'<Invoice xmlns="urn:oasis:names:specification:ubl:schema:xsd:Invoice-2"/>',
        (("form-not-supported", 1, "/Invoice"),),
    ),
    Breaking(
        "PEF_KOR",
        b'<CreditNote xmlns="urn:oasis:names:specification:ubl:schema:xsd:CreditNote-2"/>',
        (("form-not-supported", 1, "/CreditNote"),),
    ),
    Breaking(
        "no namespace",
        edited((' xmlns="http://crd.gov.pl/wzor/2025/06/25/13775/"', "")),
        (("form-not-supported", 2, "/Faktura"),),
    ),
    Breaking("a web page", b"<html><body/></html>", (("form-not-supported", 1, "/html"),)),
    _one("form-header-mismatch", 4, _FORM, ("FA (3)", "FA (2)")),
    _one("form-header-mismatch", 4, _FORM, ("FA (3)", "FA_RR (1)")),
    _one("form-header-mismatch", 4, _FORM, ("1-0E", "1-1E")),
    _one("form-header-mismatch", 4, _FORM, (">FA<", ">RR<")),
    _one(
        "form-header-mismatch",
        5,
        "/Faktura/Naglowek/WariantFormularza",
        ("<WariantFormularza>3", "<WariantFormularza>2"),
    ),
    _one(
        "attachment-not-allowed", 36, "/Faktura/Zalacznik", ("</Fa>\n", f"</Fa>{ATTACHMENT}"), attachments_allowed=False
    ),
)

OF_PARTIES = (
    _one(
        "nip-checksum",
        9,
        "/Faktura/Podmiot1/DaneIdentyfikacyjne/NIP",
        ("5265877635", "5265877634"),
        tenant_nip="5265877634",
    ),
    _one("nip-checksum", 13, "/Faktura/Podmiot2/DaneIdentyfikacyjne/NIP", ("5213814999", "5213814998")),
    _one(
        "nip-checksum",
        17,
        "/Faktura/Podmiot3/DaneIdentyfikacyjne/NIP",
        (
            "  <Fa>",
            THIRD.format(id="", role=2).replace("<IDWew></IDWew>", "<NIP>5213814998</NIP><Nazwa>K</Nazwa>") + "<Fa>",
        ),
    ),
    _one(
        "nip-checksum",
        17,
        "/Faktura/PodmiotUpowazniony/DaneIdentyfikacyjne/NIP",
        (
            "  <Fa>",
            _AUTHORISED + "<Fa>",
        ),
    ),
    _one(
        "internal-id-checksum",
        17,
        "/Faktura/Podmiot3/DaneIdentyfikacyjne/IDWew",
        ("  <Fa>", THIRD.format(id="5213814998-00001", role=2) + "<Fa>"),
    ),
    _one("seller-not-tenant", 9, "/Faktura/Podmiot1/DaneIdentyfikacyjne/NIP", tenant_nip="5260250274"),
)

OF_DATES = (
    _one("issue-date-in-future", 19, f"{_FA}/P_1", today=date(2026, 11, 21)),
    _one("will-be-offline", 19, f"{_FA}/P_1", today=date(2026, 11, 23)),
    Breaking(
        "issue-date-long-past",
        INVOICE,
        (("will-be-offline", 19, f"{_FA}/P_1"), ("issue-date-long-past", 19, f"{_FA}/P_1")),
        {"today": date(2027, 11, 24)},
    ),
    Breaking(
        "an issue date before FA(3)",
        edited(_issued("2026-01-31")),
        (("will-be-offline", 19, f"{_FA}/P_1"), ("issue-date-long-past", 19, f"{_FA}/P_1")),
    ),
    _one("creation-time-without-offset", 6, _CREATED, ("08:00:00Z", "08:00:00")),
    _one("may-be-refused", 6, _CREATED, ("2026-11-22T08:00:00Z", "2026-11-21T24:00:00Z")),
    _one("creation-time-in-future", 6, _CREATED, ("2026-11-22T08", "2026-11-24T08")),
    _one("delivery-date-unlikely", 21, f"{_FA}/P_6", ("<P_13_1>", "<P_6>2062-11-22</P_6><P_13_1>"), ("2062", "2046")),
    _one("delivery-date-unlikely", 21, f"{_FA}/P_6", ("<P_13_1>", "<P_6>2016-11-22</P_6><P_13_1>")),
    _one(
        "delivery-date-unlikely",
        21,
        f"{_FA}/OkresFa/P_6_Do",
        ("<P_13_1>", "<OkresFa><P_6_Od>2026-11-01</P_6_Od><P_6_Do>2036-11-30</P_6_Do></OkresFa><P_13_1>"),
    ),
    _one(
        "period-reversed",
        21,
        f"{_FA}/OkresFa/P_6_Od",
        ("<P_13_1>", "<OkresFa><P_6_Od>2026-11-30</P_6_Od><P_6_Do>2026-11-01</P_6_Do></OkresFa><P_13_1>"),
    ),
)

OF_AMOUNTS = (
    _one("total-mismatch", 23, f"{_FA}/P_15", ("<P_15>123.00", "<P_15>132.00")),
    _one("tax-mismatch", 22, f"{_FA}/P_14_1", ("<P_14_1>23.00", "<P_14_1>32.00"), ("<P_15>123.00", "<P_15>132.00")),
    _one(
        "tax-mismatch",
        22,
        f"{_FA}/P_14_2",
        ("P_13_1>100.00</P_13_1", "P_13_2>100.00</P_13_2"),
        ("P_14_1>23.00</P_14_1", "P_14_2>23.00</P_14_2"),
    ),
)

OF_SCHEMA = (
    _one("xsd-missing-element", 21, _FA, ("<P_2>FV/1</P_2>", "")),
    _one("xsd-missing-element", 12, "/Faktura/Podmiot2", ("<GV>2</GV>", "")),
    _one("xsd-unexpected-element", 35, f"{_FA}/FaWiersz/Extra", (ROW, ROW + "<Extra/>")),
    _one("xsd-foreign-namespace", 35, f"{_FA}/FaWiersz/UU_ID", (ROW, ROW + '<UU_ID xmlns="urn:x">1</UU_ID>')),
    _one("xsd-foreign-namespace", 35, f"{_FA}/FaWiersz/UU_ID", (ROW, ROW + '<UU_ID xmlns="">1</UU_ID>')),
    _one("xsd-bad-value", 23, f"{_FA}/P_15", ("<P_15>123.00", "<P_15>123,00")),
    _one("xsd-value-not-allowed", 18, f"{_FA}/KodWaluty", ("PLN", "ZLO")),
    _one("xsd-value-not-allowed", 18, f"{_FA}/KodWaluty", ("PLN", "CNH")),
    _one("xsd-pattern", 23, f"{_FA}/P_15", ("<P_15>123.00", "<P_15>0123.00")),
    _one("xsd-empty-value", 20, f"{_FA}/P_2", ("FV/1", "")),
    _one("xsd-too-short", 36, f"{_FA}/Platnosc/RachunekBankowy/NrRB", ("</Fa>\n", _ACCOUNT)),
    _one("xsd-too-long", 20, f"{_FA}/P_2", ("FV/1", "F" * 257)),
    _one("xsd-out-of-range", 6, _CREATED, ("2026-11-22T08", "2024-11-22T08")),
    _one("xsd-too-many-digits", 23, f"{_FA}/P_15", ("<P_15>123.00", "<P_15>123.001")),
    _one("xsd-missing-attribute", 4, _FORM, (' wersjaSchemy="1-0E"', "")),
    _one("xsd-unexpected-attribute", 17, _FA, ("<Fa>", '<Fa id="1">')),
    _one("xsd-unexpected-text", 17, _FA, ("<Fa>", "<Fa>text")),
    _one("xsd-unexpected-child", 20, f"{_FA}/P_2", ("FV/1", "FV/1<b/>")),
    _one("xsd-instruction", 20, f"{_FA}/P_2", ("<P_2>", f'<P_2 {_XSI} xsi:nil="true">')),
    _one("xsd-instruction", 20, f"{_FA}/P_2", ("<P_2>", f'<P_2 {_XSI} xsi:type="TKwotowy">')),
)

BREAKING = (*OF_BYTES, *OF_FORM, *OF_PARTIES, *OF_DATES, *OF_AMOUNTS, *OF_SCHEMA)
