"""Plain invoices are recognised without a tree, and never judged otherwise than by the careful check: same facts, same findings."""

import re
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import date, timedelta
from functools import cache
from random import Random

import pytest
from lxml import etree

from app.forms.fa3.checker import InvoiceChecker
from app.forms.fa3.fast_path.recogniser import FastPathRecogniser, PlainInvoice
from app.forms.fa3.schema import FA3_NAMESPACE, compile_schema
from app.forms.form import CheckContext, CheckedInvoice
from app.forms.xsd.schema_check import LARGE_DOCUMENT_BYTES
from app.schema_files import load_schema_files
from tests.agreement.header_mutations import TENANT
from tests.agreement.making import make_cases, samples, valid_invoices
from tests.app.forms.fa3.breaking import ATTACHMENT, BREAKING, THIRD, Breaking, edited
from tests.app.forms.fa3.conftest import INVOICE
from tests.app.forms.fa3.schema_walk import Place, SchemaWalk, lined

FILES = load_schema_files()["FA (3)"]
SCHEMA = compile_schema(FILES)
WALK = SchemaWalk.of(FILES)
PLACES = WALK.places()
SELLER = "5265877635"
DAY = date(2026, 11, 22)
NAMESPACE = f'xmlns="{FA3_NAMESPACE}"'
ROOT = f"<Faktura {NAMESPACE}>"
CREATED = "2026-11-22T08:00:00Z"
# Options of which the first may be left out: what comes next is then left to libxml2.
_LEFT_TO_LIBXML2 = {"P_22B2", "P_22B3", "P_22B4"}


def context(**changes: object) -> CheckContext:
    usual: dict[str, object] = {
        "tenant_nip": SELLER,
        "today": DAY,
        "check_nip_checksums": True,
        "attachments_allowed": True,
    }
    return CheckContext(**(usual | changes))  # type: ignore[arg-type]  # test settings


class Both:
    """The careful check beside the one that recognises plain invoices."""

    def __init__(self) -> None:
        self.careful = InvoiceChecker(SCHEMA)
        self.reader = FastPathRecogniser(FILES)
        self.fast = InvoiceChecker(SCHEMA, self.reader)

    def judged(self, document: bytes, **changes: object) -> CheckedInvoice:
        """Judge a document in both ways, which must agree, also when its head was seen before. Returns what they say."""
        where = context(**changes)
        careful = self.careful.check(document, where)
        for _ in range(2):
            assert self.fast.check(document, where) == careful
        return careful

    def recognised(self, document: bytes, **changes: object) -> PlainInvoice | None:
        where = context(**changes)
        return self.reader.read(document, where.tenant_nip, where.today, check_nip_checksums=where.check_nip_checksums)


@pytest.fixture(scope="module")
def both() -> Both:
    made = Both()
    made.judged(INVOICE)
    return made


# What is recognised


def test_an_invoice_is_recognised_when_one_with_its_head_was_found_valid() -> None:
    both = Both()
    assert both.recognised(INVOICE) is None
    both.judged(INVOICE)
    found = both.recognised(INVOICE)
    assert found is not None
    assert found.facts == both.careful.check(INVOICE, context()).facts


def test_generated_invoices_of_every_kind_are_recognised_and_judged_the_same(both: Both) -> None:
    kinds = set()
    documents = [one for one in valid_invoices(400, DAY, seed=5) if len(one) < 60_000]
    for document in documents:
        for changes in (
            {},
            {"today": DAY + timedelta(days=400)},
            {"attachments_allowed": False, "check_nip_checksums": False},
        ):
            both.judged(document, tenant_nip=TENANT, **changes)
        found = both.recognised(document, tenant_nip=TENANT)
        assert found is not None
        kinds.add((found.facts.kind, found.facts.has_attachment))
    assert {kind for kind, _ in kinds} >= {"VAT", "KOR", "ZAL", "ROZ", "UPR", "KOR_ROZ"}
    assert {attached for _, attached in kinds} == {True, False}


def test_a_large_invoice_is_recognised(both: Both) -> None:
    document = edited(
        ("<FaWiersz>", "<FaWiersz><NrWierszaFa>1</NrWierszaFa><P_7>Ł</P_7></FaWiersz>\n" * 9_999 + "<FaWiersz>")
    )
    assert len(document) > 2 * LARGE_DOCUMENT_BYTES
    assert both.judged(document).valid
    assert both.recognised(document)


def test_official_samples_are_recognised_and_judged_the_same(both: Both) -> None:
    recognised = 0
    for document in samples():
        for changes in ({}, {"check_nip_checksums": False}, {"today": DAY + timedelta(days=400)}):
            both.judged(document, tenant_nip=TENANT, **changes)
        recognised += both.recognised(document, tenant_nip=TENANT, check_nip_checksums=False) is not None
    assert recognised >= 0.7 * len(samples())


@cache
def _template(place: Place) -> etree._Element:
    root = WALK.document(place.path)
    for kind in root.iter(f"{{{FA3_NAMESPACE}}}RodzajFaktury"):
        # Amounts are ones, and no sums.
        kind.text = "KOR"
    for element in root.iter():
        # Never an empty tag.
        element.text = element.text or ("" if len(element) == 0 else None)
    return root


def _written(place: Place) -> tuple[etree._Element, etree._Element]:
    """Return a document with an element at that place, and that element."""
    root = deepcopy(_template(place))
    element = root
    for name in place.path[1:]:
        (element, *_) = element.iterchildren(f"{{{FA3_NAMESPACE}}}{name}")
    return root, element


def _plain(root: etree._Element) -> bytes:
    return re.sub(rb"<(\w+)/>", rb"<\1></\1>", lined(root))


@pytest.mark.slow
def test_each_place_of_the_schema_is_recognised(both: Both) -> None:
    assert len(PLACES) > 400
    for place in PLACES:
        document = _plain(_written(place)[0])
        changes = {"today": date(2026, 2, 1), "check_nip_checksums": False}
        assert both.judged(document, **changes).valid
        assert (both.recognised(document, **changes) is None) == (place.path[-1] in _LEFT_TO_LIBXML2), place.path


BREAKERS: dict[str, Callable[[etree._Element], object]] = {
    "text": lambda element: setattr(element, "text", (element.text or "") + "text"),
    "no text": lambda element: setattr(element, "text", None),
    "text behind": lambda element: setattr(element, "tail", "x"),
    "twice": lambda element: element.addnext(deepcopy(element)),
    "gone": lambda element: _parent(element).remove(element),
    "first": lambda element: _parent(element).insert(0, element),
    "last": lambda element: _parent(element).append(element),
    "attribute": lambda element: element.set("extra", "1"),
    "no attributes": lambda element: element.attrib.clear(),
    "another name": lambda element: setattr(element, "tag", f"{{{FA3_NAMESPACE}}}Extra"),
    "child": lambda element: etree.SubElement(element, f"{{{FA3_NAMESPACE}}}Extra"),
    "long": lambda element: setattr(element, "text", "x" * 513),
    "other digits": lambda element: setattr(element, "text", re.sub("[0-9]", "\u0663", element.text or "")),
    "blanks": lambda element: setattr(element, "text", f" {element.text or ''}\n "),
}


def _parent(element: etree._Element) -> etree._Element:
    parent = element.getparent()
    assert parent is not None
    return parent


@pytest.mark.slow
@pytest.mark.parametrize("breaker", BREAKERS)
def test_each_place_of_the_schema_is_judged_the_same_when_it_is_broken(breaker: str, both: Both) -> None:
    for place in PLACES[1:]:
        root, element = _written(place)
        BREAKERS[breaker](element)
        document = _plain(root)
        where = context(today=date(2026, 2, 1), check_nip_checksums=False)
        # Where it is not recognised, both are the same check.
        if both.recognised(document, today=where.today, check_nip_checksums=False) is not None:
            assert both.fast.check(document, where) == both.careful.check(document, where), place.path


def _repeated() -> Iterator[tuple[Place, int]]:
    for place in PLACES:
        most = place.definition.get("maxOccurs", "1")
        # Fifty thousand corrected invoices are more than any document may have bytes for.
        if most not in {"1", "50000", "unbounded"}:
            yield place, int(most)


@pytest.mark.parametrize(
    ("place", "most"), list(_repeated()), ids=lambda one: one.path[-1] if isinstance(one, Place) else None
)
def test_an_element_is_counted_as_the_schema_counts_it(place: Place, most: int, both: Both) -> None:
    changes = {"today": date(2026, 2, 1), "check_nip_checksums": False}
    root, element = _written(place)
    one = re.sub(rb' xmlns="[^"]*"', b"", _plain(element)).strip()
    before, _, after = _plain(root).partition(one)
    for count in (most - 1, most, most + 1):
        document = before + one * count + after
        if both.recognised(document, **changes) is not None:
            assert count <= most
            assert SCHEMA.validate(etree.fromstring(document))
    assert both.recognised(before + one * most + after, **changes) is not None


# What is judged the same


@pytest.mark.slow
def test_mutated_invoices_are_judged_the_same() -> None:
    both = Both()
    recognised = 0
    for case in make_cases(1_200, DAY, seed=23):
        if len(case.document) > 200_000:
            continue
        for changes in ({"check_nip_checksums": False}, {"attachments_allowed": False}):
            where = context(tenant_nip=TENANT, **changes)
            before = both.reader.read(case.document, TENANT, DAY, check_nip_checksums=where.check_nip_checksums)
            checked = both.fast.check(case.document, where)
            if before is not None:
                # Where it was not recognised, both are the same check.
                recognised += 1
                assert checked == both.careful.check(case.document, where), (case.name, case.mutations)
    assert recognised > 250


@pytest.mark.parametrize("breaking", BREAKING, ids=lambda one: one.name)
def test_a_broken_invoice_is_judged_the_same(breaking: Breaking, both: Both) -> None:
    assert both.judged(breaking.document, **breaking.context).findings


def _in_name(text: str | bytes) -> bytes:
    return edited(("Nabywca", text))


def _amounts(**amounts: str) -> bytes:
    """The invoice with other net values, taxes and total."""
    document = re.sub(rb"    <P_1[345][^\n]*\n", b"", INVOICE)
    written = "".join(f"<{name}>{value}</{name}>" for name, value in amounts.items())
    return document.replace(b"</P_2>", f"</P_2>{written}".encode())


TRAPS: dict[str, bytes] = {
    **{
        f"characters {text!r}": _in_name(text)
        for text in (
            *("]]>", "]]&gt;", "]]&#62;", "]>", "a > b", "\"'", "&amp;lt;", "&lt;NIP&gt;", "&amp;amp;", "\u00a0", "\u2028", "\u0085", "\ufeff"),
            *("\x7f", "\x80", "\x84", "\x86", "\x9f", "\ufdd0", "\ufdef", "\ufdcf", "\ufffd", "\ufffe", "\U0001fffe", "\U0001fffd", "\U0002ffff"),
            *("\U0003fffe", "\U0010ffff", "\U0001f9fe", "\ue001", "\ue002", "\uf8ff", "\x00", "\x01", "\x0b", "\x1f", "a\tb", "a\nb", "a\rb"),
            *("a\r\nb", "\r", " ", "", "  \t ", " a ", "a\n\n\nb", "<b/>", "<b>", "</Nazwa>", "<!-- -->", "<![CDATA[x]]>", "<?pi?>", "&nbsp;"),
            *("&#160;", "&#xA0;", "&#x0000000000000000A0;", "&#x9f;", "&#159;", "&#133;", "&#x41;", "&#65;", "&#60;", "&#38;", "&#x26;lt;"),
            *("&#32;", "&#10;", "&#13;", "&#0;", "&#x0;", "&#xD800;", "&#xDFFF;", "&#xE001;", "&#57345;", "&#xFFFE;", "&#x1FFFE;", "&#x110000;"),
            *("&#xFDD0;", "&#x1F9FE;", "&#129534;", "&#X41;", "&#;", "&#x;", "&#65", "&", "& ", "&&amp;", "&amp", "&AMP;", "&#4294967361;"),
            *("x" * 512, "x" * 513, "&amp;" * 512, "&amp;" * 513, "&#xA0;" * 512, "\U0001f9fe" * 512, "\U0001f9fe" * 513, " " * 513 + "x"),
            "x" + " " * 600 + "x",
        )
    },
    **{
        f"bytes {text!r}": _in_name(text)
        for text in (b"\xff", b"\xc2", b"\xed\xa0\x80", b"\xc0\xbc", b"\xe0\x80\xbc", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80")
    },
    **{
        f"tag {new!r}": edited((old, new))
        for old, new in (
            *(("<P_2>", one) for one in ("<P_2 >", "<P_2\n>", '<P_2 a="1">', "< P_2>", "<P&#95;2>", "<P_2&#32;>", "<p_2>", "<x:P_2>", f"<P_2 {NAMESPACE}>")),
            *(("</P_2>", one) for one in ("</P_2 >", "</ P_2>", "</P_2/>", "</P_2", "<P_2>", "</P_1>", "</P_2>&#32;", "</P_2>]]>")),
            *(("<P_2>FV/1</P_2>", one) for one in ("<P_2/>", "<P_2></P_2>", "<P_2> </P_2>", "", "<P_2>a</P_2><P_2>b</P_2>", "<P_2><P_2>a</P_2></P_2>")),
            (' wersjaSchemy="1-0E"', ""),
            (' kodSystemowy="FA (3)" wersjaSchemy="1-0E"', ' wersjaSchemy="1-0E" kodSystemowy="FA (3)"'),
            (' kodSystemowy="FA (3)" wersjaSchemy="1-0E"', " kodSystemowy='FA (3)' wersjaSchemy='1-0E'"),
            (' kodSystemowy="FA (3)"', '  kodSystemowy="FA (3)"'),
            (' kodSystemowy="FA (3)"', ' kodSystemowy="FA (3)" kodSystemowy="FA (3)"'),
            *((' kodSystemowy="FA (3)"', f' kodSystemowy="{one}"') for one in ("FA  (3)", "FA&#32;(3)", " FA (3)", "FA\t(3)", "FA (3) ", "FA&#160;(3)")),
            ("</Faktura>\n", "</Faktura>"),
            ("</Faktura>\n", "</Faktura>\r\n \t"),
            *(("</Faktura>\n", f"</Faktura>{one}") for one in ("<!-- -->", "x", "\x00", "<a/>", "</Faktura>", "&#32;", "<?pi?>", "\ufeff", "\x1a")),
            ("</Fa>\n", f"</Fa>{ATTACHMENT}"),
        )
    },
    **{
        f"number {text!r}": edited(("FV/1", text))
        for text in (
            *("FV  1", " FV/1", "FV/1\n", "FV\t\r\n1", "FV&amp;1", "&lt;1&gt;", "&quot;&apos;", "FV\u00a01", "\u00a0FV", "FV\u2003", "\u0085FV", "1" * 256),
            *("&amp;" * 256, "1" * 257, "FV&#160;1", "FV&#xA0;", "\u0663", "Zażółć  gęślą"),
        )
    },
    **{
        f"date {text!r}": edited(("<P_1>2026-11-22", f"<P_1>{text}"))
        for text in (
            *("2026-11-21", "2026-11-23", "2024-02-29", "2023-02-29", "2026-02-28", "2026-01-31", "2016-07-01", "2016-06-30", "2050-01-01", "2050-01-02"),
            *(" 2026-11-22", "2026-11-22 ", "2026-11-22Z", "2026-11-22+01:00", "\uff12026-11-22", "2026-11-\u0662\u0662", "02026-11-22", "-2026-11-22"),
            *("2026-04-31", "2026-00-10", "2026-10-00", "1026-11-22", "9999-12-31", "0000-01-01", "2026-11-2&#50;"),
        )
    },
    **{
        f"moment {text!r}": edited((CREATED, text))
        for text in (
            *("2026-11-22T08:00:00", "2026-11-22T08:00:00+14:00", "2026-11-22T08:00:00+14:01", "2026-11-22T24:00:00Z", "2026-11-22T08:00:60Z"),
            *("2026-11-23T00:30:00+02:00", "2026-11-24T00:00:00Z", "2025-09-01T00:00:00Z", "2025-08-31T23:59:59-14:00", "2050-01-01T23:59:59Z"),
            *(" 2026-11-22T08:00:00Z", "2026-11-22T08:00:00Z\n", "2026-11-22T08:00:00.123456789123Z", "2026-11-22T08:00:00.Z", "2024-12-31T00:00:00Z"),
        )
    },
    **{
        f"amounts {amounts}": _amounts(**amounts)
        for amounts in (
            *({"P_13_1": "100.00", "P_14_1": tax, "P_15": "123.00"} for tax in ("23.00", "22.01", "22.00", "21.99", "23.99", "24.00", "24.01", "25.02")),
            *({"P_13_1": "100.00", "P_14_1": "23.00", "P_15": total} for total in ("122.01", "122.00", "121.99", "121.98", "123.99", "124.00", "124.01", "124.02")),
            *({"P_13_3": "1000", "P_14_3": tax, "P_15": "1050"} for tax in ("49", "49.01", "48.99", "51", "51.01", "51.02", "50")),
            *({"P_13_2": "1000", "P_14_2": tax, "P_15": "1075"} for tax in ("80", "70", "75", "71.01", "71.02", "69", "81", "81.01")),
            {"P_13_1": "-100.00", "P_14_1": "-23.00", "P_15": "-123.00"},
            {"P_13_1": "-100.00", "P_14_1": "23.00", "P_15": "-77.00"},
            {"P_13_1": "-0", "P_14_1": "-0.00", "P_15": "-0"},
            {"P_13_1": "0", "P_14_1": "0.99", "P_15": "1"},
            {"P_13_1": "0", "P_14_1": "1.01", "P_15": "1.01"},
            {"P_13_1": "9999999999999999.99", "P_14_1": "2299999999999999.99", "P_15": "9999999999999999.99"},
            {"P_13_8": "9999999999999999.99", "P_15": "9999999999999999.99"},
            {"P_13_8": "9999999999999999.99", "P_13_9": "-9999999999999999.99", "P_15": "1.00"},
            {"P_13_8": "9999999999999999.99", "P_13_9": "-9999999999999998.98", "P_15": "0"},
            {"P_13_8": "99999999999.99", "P_13_9": "99999999999.99", "P_15": "200000000000.97"},
            {"P_13_8": "99999999999.99", "P_13_9": "99999999999.99", "P_15": "200000000000.99"},
            {"P_13_8": "100000000000.01", "P_15": "100000000000.01"},
            {"P_15": "0"},
            {"P_13_1": "100.00", "P_15": "100.00"},
            {"P_13_1": "100.00", "P_14_1": "23.00", "P_14_1W": "900", "P_15": "123.00"},
            {"P_13_1": "+100.00", "P_14_1": "23.00", "P_15": "123.00"},
            {"P_13_1": "100.", "P_14_1": "23.00", "P_15": "123.00"},
            {"P_13_1": "\uff11\uff10\uff10", "P_14_1": "23.00", "P_15": "123.00"},
            {"P_13_1": "100.00", "P_14_1": "23.00", "P_15": "123.00 "},
            {"P_13_6_1": "1", "P_13_6_2": "1", "P_13_6_3": "1", "P_13_7": "1", "P_13_10": "1", "P_13_11": "1", "P_15": "6"},
            {"P_13_6_1": "1", "P_13_6_2": "1", "P_13_6_3": "1", "P_13_7": "1", "P_13_10": "1", "P_13_11": "1", "P_15": "4.99"},
        )
    },
    **{
        f"delivery {first} {last}": edited(
            ("<P_13_1>", f"<OkresFa><P_6_Od>{first}</P_6_Od><P_6_Do>{last}</P_6_Do></OkresFa><P_13_1>")
        )
        for first, last in (
            *(("2026-11-01", "2026-11-30"), ("2026-11-30", "2026-11-01"), ("2026-11-22", "2026-11-22"), ("2021-11-21", "2027-11-23")),
            *(("2021-11-22", "2027-11-24"), ("2021-11-20", "2026-11-22"), ("2021-11-16", "2026-11-22"), ("2021-11-17", "2027-11-22")),
        )
    },
    **{
        f"delivery {day}": edited(("<P_13_1>", f"<P_6>{day}</P_6><P_13_1>"))
        for day in ("2027-11-23", "2027-11-24", "2021-11-21", "2021-11-20", "2021-11-19", "2021-11-18", "2021-11-17", "2006-01-01", "2005-12-31", "2007-01-01")
    },
    **{
        f"other party {id_}": edited(("  <Fa>", THIRD.format(id=id_, role=2) + "<Fa>"))
        for id_ in ("5213814999-00001", "5213814998-00001", "5213814999-0000", "\u06651213814999-00001", "")
    },
    "many other parties": edited(("  <Fa>", THIRD.format(id="5213814999-00001", role=2) * 100 + "<Fa>")),
    "too many other parties": edited(("  <Fa>", THIRD.format(id="5213814999-00001", role=2) * 101 + "<Fa>")),
    "a wrong NIP in the last of many other parties": edited(
        ("  <Fa>", THIRD.format(id="5213814999-00001", role=2) * 99 + THIRD.format(id="5213814998-00001", role=2) + "<Fa>")
    ),
    "carriage returns": INVOICE.replace(b"\n", b"\r\n"),
    "lone carriage returns": INVOICE.replace(b"\n", b"\r"),
    "one line": INVOICE.replace(b"\n", b""),
    "an old copy behind it": INVOICE + INVOICE,
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_is_judged_the_same(name: str, both: Both) -> None:
    for changes in (
        {},
        {"today": DAY + timedelta(days=3), "check_nip_checksums": False},
        {"attachments_allowed": False},
    ):
        both.judged(TRAPS[name], **changes)


def _with_head(head: str) -> bytes:
    return (head + INVOICE.decode().partition(ROOT)[2]).encode()


def _prefixed(document: bytes, prefix: str) -> bytes:
    text = re.sub(r"<(/?)(?=[A-Z])", rf"<\1{prefix}:", document.decode())
    return text.replace("xmlns=", f"xmlns:{prefix}=").encode()


HEADS = {
    **{head[:60]: _with_head(head) for head in (
        ROOT,
        f"\n{ROOT}",
        f'<?xml version="1.0"?>{ROOT}',
        f"<?xml version='1.0' encoding='utf-8' standalone='yes'?>\r\n{ROOT}",
        f"<!-- a\nb\n-->{ROOT}",
        f"<!-- a\rb -->\r{ROOT}",
        f"<!-- Faktura > -->{ROOT}",
        f"<!-- Faktura --> \n{ROOT}",
        f"<!-- <Faktura> -->{ROOT}",
        f"<!-- &#129; <?pi?> -->{ROOT}",
        f"<!-- -- -->{ROOT}",
        f"<!----><!--->-->{ROOT}",
        f"<!-- \u0081 -->{ROOT}",
        f"<?xml-stylesheet a?>{ROOT}",
        f"<?xml version='1.0' encoding='ISO-8859-2'?>{ROOT}",
        f"<?xml version='1.1'?>{ROOT}",
        f"<!DOCTYPE Faktura>{ROOT}",
        f"\ufeff{ROOT}",
        f"<Faktura\n {NAMESPACE}\r\n >",
        f"<Faktura {NAMESPACE} xmlns:a='Faktura' xmlns:b='b'>",
        f"<Faktura {NAMESPACE} xmlns:a='>'>",
        f"<Faktura {NAMESPACE} xmlns:a='&amp;'>",
        f"<Faktura {NAMESPACE} a='1'>",
        f"<Faktura {NAMESPACE} xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:schemaLocation='a b'>",
        f"<Faktura {NAMESPACE} xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:type='x'>",
        f"<Faktura {NAMESPACE} xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:nil='false'>",
        f"<Faktura {NAMESPACE} xml:lang='pl'>",
        "<Faktura xmlns='urn:x'>",
        "<Faktura>",
        f"<Faktura {NAMESPACE}/>",
        f"<Faktura {NAMESPACE} xmlns:a='{'x' * 1_000}'>",
        f"<!-- {'x' * 2_000} -->{ROOT}",
    )},
    "prefix": _prefixed(INVOICE, "tns"),
    "prefix of one letter": _prefixed(INVOICE, "a"),
    "prefix like the root": _prefixed(INVOICE, "Faktura"),
    "prefix, and one tag without": _prefixed(INVOICE, "tns").replace(b"tns:P_2>", b"P_2>"),
    "prefix, and one tag with two": _prefixed(INVOICE, "tns").replace(b"tns:P_2>", b"tns:tns:P_2>"),
    "prefix, and one tag with another": _prefixed(INVOICE, "tns").replace(b"tns:P_2>", b"tms:P_2>"),
    "prefix, and one tag of the default namespace": _prefixed(INVOICE, "tns").replace(b"tns:P_2>", b"P_2>").replace(b" xmlns:tns", f" {NAMESPACE} xmlns:tns".encode()),
    "prefix in attributes": _prefixed(INVOICE, "tns").replace(b" kodSystemowy", b" tns:kodSystemowy"),
    "no prefix, and one tag with one": INVOICE.replace(b"P_2>", b"tns:P_2>").replace(b" xmlns=", f' xmlns:tns="{FA3_NAMESPACE}" xmlns='.encode()),
    "text like a prefix": _prefixed(INVOICE, "tns").replace(b"Nabywca", b"&lt;tns:a&gt; tns: /tns:"),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_judged_the_same_and_lends_itself_to_no_other_body(name: str) -> None:
    both = Both()
    document = HEADS[name]
    both.judged(document)
    for later in (DAY, DAY + timedelta(days=2)):
        both.judged(document, today=later)
        for old, new in (
            (b"Nabywca", b"a\x7fb"),
            (b"2026-11-22</", b"2026-02-30</"),
            (b"<GV>2</GV>", b""),
            (b"FV/1", b"\n\nFV/2\n"),
            (b"</Naglowek>", b"</Naglowek>\n\n"),
        ):
            both.judged(document.replace(old, new), today=later)
        # With the end of one that is written in another way.
        for other in (INVOICE, _prefixed(INVOICE, "tns")):
            both.judged(document[: document.find(b"Naglowek")] + other[other.find(b"Naglowek") :], today=later)


def test_the_check_of_a_head_holds_for_documents_of_any_size() -> None:
    """Seventy namespaces are no fault of a small document; of a large one they are, and it was passed once the small one was."""
    both = Both()
    many = "".join(f" xmlns:a{number}='b'" for number in range(65))
    small = _with_head(f"<Faktura {NAMESPACE}{many}>".replace("'", '"'))
    assert both.judged(small).valid
    large = small.replace(b"<Naglowek>", b"<Naglowek>" + b" " * 300_000)
    assert {one.rule for one in both.judged(large).findings} == {"too-many-attributes"}


def test_many_other_heads_do_not_shut_one_out_for_good() -> None:
    both = Both()
    for number in range(100):
        both.judged(_with_head(f"<!-- {number} -->{ROOT}"))
    both.judged(INVOICE)
    assert both.recognised(INVOICE)


def test_a_date_far_down_has_the_line_that_libxml2_gives() -> None:
    both = Both()
    both.judged(INVOICE)
    for lines in (64_000, 65_515, 65_516, 65_517, 65_535, 70_000, 140_000):
        for where in (b"<Fa>", b"<P_1>", b"</P_1>", b"<Naglowek>"):
            document = INVOICE.replace(where, b"\n" * lines + where)
            assert both.judged(document, today=DAY + timedelta(days=1)).findings[0].rule == "will-be-offline"


def test_size_limits_are_those_of_the_check(both: Both) -> None:
    attached = TRAPS[f"tag {f'</Fa>{ATTACHMENT}'!r}"]
    for document in (INVOICE, attached):
        for limits in (
            (len(document), 1),
            (len(document) - 1, len(document)),
            (len(document) - 1, 1),
            (1, len(document)),
            (1, 1),
        ):
            both.judged(document, max_bytes=limits[0], max_bytes_with_attachment=limits[1])
    assert not both.judged(attached, attachments_allowed=False).valid


def test_blanks_without_end_are_left_to_libxml2() -> None:
    both = Both()
    both.judged(INVOICE)
    document = INVOICE.replace(b"<Fa>", b"<Fa>" + b" " * 11_000_000)
    both.judged(document, max_bytes=20_000_000)


def test_the_tenant_and_the_day_are_those_of_the_context(both: Both) -> None:
    for tenant in (SELLER, "5213814999", "", "52658776350"):
        both.judged(INVOICE, tenant_nip=tenant)
    for days in (-400, -2, -1, 0, 1, 366, 367, 5_000):
        both.judged(INVOICE, today=DAY + timedelta(days=days))
        both.judged(edited((CREATED, "2026-11-23T00:30:00+02:00")), today=DAY + timedelta(days=days))


# How long it takes


def _hostile() -> Iterator[tuple[str, Callable[[int], bytes]]]:
    row = "<FaWiersz><NrWierszaFa>1</NrWierszaFa><P_7>{}</P_7></FaWiersz>"
    contact = "<DaneKontaktowe><Email>{}</Email></DaneKontaktowe>"
    yield "rows", lambda n: edited(("<FaWiersz>", row.format("x") * n + "<FaWiersz>"))
    yield "rows and a fault", lambda n: edited(("<FaWiersz>", row.format("x") * n + "<FaWiersz><x>"))
    yield "blanks", lambda n: edited(("<Fa>", "<Fa>" + " \r\n\t" * 20 * n + "x"))
    yield "escapes", lambda n: edited(("Nabywca", "&amp;" * 10 * n))
    yield "bare ampersands", lambda n: edited(("Nabywca", "&" * 40 * n))
    yield "zeros of a reference", lambda n: edited(("Nabywca", "&#" + "0" * 50 * n))
    yield "brackets", lambda n: edited(("Nabywca", "]" * 50 * n))
    yield "starts of tags", lambda n: edited(("Nabywca", "<" * 50 * n))
    yield "signs of an address", lambda n: edited(("</Podmiot1>", contact.format("@" * 255) * n + "</Podmiot1>"))
    yield (
        "addresses with a fault",
        lambda n: edited(
            ("  <Fa>", ("<Podmiot3>" + contact.format("@" * 254 + "x") * 3 + "</Podmiot3>") * (n // 10) + "<Fa>")
        ),
    )
    yield "comments in the head", lambda n: b"<!-- - -->" * 10 * n + INVOICE
    yield "attributes in the head", lambda n: edited(("<Faktura", "<Faktura" + " a='b'" * 10 * n))
    yield "forbidden beginnings", lambda n: edited(("Nabywca", "\u00a0\U0001fbfd" * 10 * n))
    yield "prefixes", lambda n: _prefixed(INVOICE, "tns").replace(b"Nabywca", b"&lt;tns:" * 10 * n)


@pytest.mark.parametrize(("name", "make"), list(_hostile()), ids=lambda one: one if isinstance(one, str) else "")
def test_a_hostile_document_takes_time_in_proportion_to_its_length(
    name: str, make: Callable[[int], bytes], both: Both
) -> None:
    def seconds(document: bytes) -> float:
        taken = []
        for _ in range(5):
            began = time.process_time()
            both.recognised(document)
            both.reader.remember_prologue(document)
            taken.append(time.process_time() - began)
        return min(taken)

    small, large = make(250), make(4_000)
    # Sixteen times the length: were it quadratic, this would be 256 times the time. Below a millisecond nothing can be told.
    assert seconds(large) < max(16 * 5 * seconds(small), 0.001 * 16), name


def test_random_damage_is_judged_the_same(both: Both) -> None:
    dice = Random(11)
    tags = re.compile(rb"</?\w+>")
    recognised = 0
    for _ in range(6_000):
        document = bytearray(INVOICE)
        for _ in range(dice.choice((1, 1, 2))):
            at = dice.randrange(150, len(document))
            if dice.random() < 0.7 and (tag := tags.search(document, at)) is not None:
                # Beside a tag, where values begin and end.
                at = min(tag.end() + dice.choice((0, 0, 1, 2)), len(document) - 1)
            new = dice.choice(
                (
                    b" ",
                    b"\n",
                    b"0",
                    b"9",
                    b"-",
                    b".",
                    b"a",
                    b"\xc2\xa0",
                    b"\xd9\xa3",
                    b"&amp;",
                    b"&#160;",
                    b">",
                    b"]",
                    b"/",
                    b"",
                )
            )
            document[at : at + dice.choice((0, 0, 1, 1, 2))] = new
        damaged = bytes(document)
        if both.recognised(damaged) is not None:
            recognised += 1
            where = context()
            assert both.fast.check(damaged, where) == both.careful.check(damaged, where), damaged
    assert recognised > 500
