import codecs
import re
from collections.abc import Callable
from datetime import date

import pytest
from lxml import etree
from stdnum.pl import nip as polish_nip

from app.domain.findings import Severity
from app.forms.rules import RULES
from invoicegen.bad_invoices import BadInvoice, bad_invoices

SELLER = "5265877635"
DAY = date(2026, 11, 22)
BAD = bad_invoices(SELLER, DAY)
BY_NAME = {re.sub(r"^\d+-|\.xml$", "", bad.name): bad for bad in BAD}
ERRORS = {rule for rule in RULES if RULES[rule].severity is Severity.ERROR}
PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)


def parses(xml: bytes) -> bool:
    try:
        etree.fromstring(xml, PARSER)
    except etree.XMLSyntaxError:
        return False
    return True


def is_valid(schema: etree.XMLSchema, xml: bytes) -> bool:
    return parses(xml) and schema.validate(etree.fromstring(xml, PARSER))


def test_there_are_twenty_with_names_of_their_own() -> None:
    assert len(BAD) == len({bad.name for bad in BAD}) == len({bad.xml for bad in BAD}) == 20
    assert all(re.fullmatch(r"[a-z0-9-]+\.xml", bad.name) for bad in BAD)


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert bad_invoices(SELLER, DAY) == BAD


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_the_named_rule_is_one_that_refuses_an_invoice(bad: BadInvoice) -> None:
    assert bad.rule in ERRORS
    assert bad.why


def test_the_broken_invoices_all_have_numbers_of_their_own() -> None:
    numbers = [found.group(1) for bad in BAD if (found := re.search(rb"<P_2>(.*?)</P_2>", bad.xml))]
    assert len(numbers) == len(set(numbers)) >= 17


@pytest.mark.parametrize("name", ["not-xml", "truncated", "empty", "invalid-utf-8"])
def test_these_cannot_be_parsed(name: str) -> None:
    assert not parses(BY_NAME[name].xml)


@pytest.mark.parametrize("name", ["missing-element", "bad-enumeration", "bad-date", "fa2", "unknown-namespace"])
def test_these_parse_but_do_not_fit_the_schema(fa3_schema: etree.XMLSchema, name: str) -> None:
    assert parses(BY_NAME[name].xml)
    assert not is_valid(fa3_schema, BY_NAME[name].xml)


@pytest.mark.parametrize(
    "name",
    [
        "bom", "instruction", "control-character", "control-reference", "iso-8859-2", "doctype", "future",
        "wrong-seller", "over-1-mb", "over-3-mb",
    ],
)  # fmt: skip
def test_these_pass_parser_and_schema_and_need_a_rule_of_their_own(fa3_schema: etree.XMLSchema, name: str) -> None:
    assert is_valid(fa3_schema, BY_NAME[name].xml)


@pytest.mark.parametrize(
    ("name", "repaired"),
    [
        ("bom", lambda xml: xml.removeprefix(codecs.BOM_UTF8)),
        ("instruction", lambda xml: re.sub(rb"<\?xml-stylesheet.*?\?>", b"", xml)),
        ("control-character", lambda xml: xml.replace("\u0081".encode(), b"")),
        ("control-reference", lambda xml: xml.replace(b"&#x81;", b"")),
        ("iso-8859-2", lambda xml: xml.replace(b"ISO-8859-2", b"UTF-8")),
        ("doctype", lambda xml: xml.replace(b"<!DOCTYPE Faktura>", b"")),
        ("entity-bomb", lambda xml: re.sub(rb"<!DOCTYPE.*?\]>", b"", xml).replace(b"&g;", b"")),
        ("bad-enumeration", lambda xml: xml.replace(b">ZLO<", b">PLN<")),
        ("bad-date", lambda xml: xml.replace(b"<P_1>2026-02-30<", b"<P_1>2026-11-22<")),
        ("missing-element", lambda xml: xml.replace(b"</JST></Podmiot2>", b"</JST><GV>2</GV></Podmiot2>")),
        ("invalid-utf-8", lambda xml: xml.replace(b"<P_7>\xb1", b"<P_7>")),
        (
            "unknown-namespace",
            lambda xml: xml.replace(b"http://faktury.example/wzor/1/", b"http://crd.gov.pl/wzor/2025/06/25/13775/"),
        ),
    ],
)
def test_without_its_one_fault_the_invoice_is_valid(
    fa3_schema: etree.XMLSchema, name: str, repaired: Callable[[bytes], bytes]
) -> None:
    xml = repaired(BY_NAME[name].xml)
    assert xml != BY_NAME[name].xml
    assert is_valid(fa3_schema, xml)
    assert b"<!" not in xml
    assert not xml.startswith(codecs.BOM_UTF8)


def test_sizes_lie_where_the_limits_tell_them_apart() -> None:
    assert 1_000_000 < len(BY_NAME["over-1-mb"].xml) < 3_000_000
    assert len(BY_NAME["over-3-mb"].xml) > 3_000_000
    assert b"Zalacznik" not in BY_NAME["over-1-mb"].xml
    assert all(len(bad.xml) < 10_000 for bad in BAD if not bad.name.startswith(("17", "18")))


def test_the_other_seller_is_another_one_with_a_sound_nip() -> None:
    found = re.search(rb"<NIP>(\d+)</NIP>", BY_NAME["wrong-seller"].xml)
    assert found is not None
    assert found.group(1).decode() != SELLER
    assert polish_nip.is_valid(found.group(1).decode())


def test_a_seller_whose_nip_is_the_strangers_gets_another_stranger() -> None:
    stranger = re.search(rb"<NIP>(\d+)</NIP>", BY_NAME["wrong-seller"].xml)
    assert stranger is not None
    other = bad_invoices(stranger.group(1).decode(), DAY)[14]
    assert other.rule == "seller-not-tenant"
    assert b"<Podmiot1><DaneIdentyfikacyjne><NIP>" + stranger.group(1) not in other.xml
