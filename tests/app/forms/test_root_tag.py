"""The form read from the first bytes is the one that an XML parser reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from app.forms.encoding import check_bytes
from app.forms.registry import DEFAULT_FORM, form_of_document
from app.forms.root_tag import RootTag, read_root_tag

NAMESPACE = "http://crd.gov.pl/wzor/2025/06/25/13775/"

_blank = st.sampled_from(("", " ", "\n", "\t\r\n "))
_value = st.sampled_from(
    (NAMESPACE, "urn:a", "urn:a&amp;b", "urn:&#97;", "urn:&#x61;b", "ur\nn", "", "urn:ą", "Faktura>")
)
_quote = st.sampled_from("'\"")
_attribute = st.tuples(st.sampled_from(("xmlns", "xmlns:p", "xmlns:q", "a", "xsi")), _blank, _value, _quote)
_misc = st.sampled_from(("", " ", "<!-- x -->", "<!--<Faktura>-->", "<!-- Faktura> -->", "<?pi <Faktura a='>'?>", "\n"))


@st.composite
def _documents(draw: st.DrawFn) -> bytes:
    declaration = draw(st.sampled_from(("", "<?xml version='1.0'?>", '<?xml version="1.0" encoding="UTF-8"?>')))
    misc = "".join(draw(st.lists(_misc, max_size=4)))
    name = draw(st.sampled_from(("Faktura", "p:Faktura", "q:Zażółć", "x")))
    attributes = "".join(
        f" {key}{blank}={blank}{quote}{value}{quote}"
        for key, blank, value, quote in draw(st.lists(_attribute, max_size=4))
    )
    end = draw(st.sampled_from((f"></{name}>", "/>", f"><a>x</a></{name}>", "", "></y>")))
    return f"{declaration}{misc}<{name}{attributes}{draw(_blank)}{end}".encode()


@given(_documents())
def test_the_root_of_a_well_formed_document_is_what_a_parser_reads(document: bytes) -> None:
    try:
        root = etree.fromstring(document, etree.XMLParser(resolve_entities=False))
    except etree.XMLSyntaxError:
        read_root_tag(document)
        return
    name = etree.QName(root)
    assert read_root_tag(document) == RootTag(name.namespace or "", name.localname)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"no XML",
        b"<!DOCTYPE Faktura><Faktura/>",
        b"<!-- never ends",
        b"<Faktura xmlns='a",
        b"<p:Faktura/>",
        "<Faktura/>".encode("utf-16"),
        b"<Faktura xmlns='\xff'/>",
        b"<!--" + b"-" * 300_000,
        b"<?" * 300_000,
        b"<a" + b' b="" ' * 100_000,
    ],
)
def test_a_document_that_the_check_refuses_has_no_root_and_the_default_form(document: bytes) -> None:
    assert read_root_tag(document) is None
    assert form_of_document(document) is DEFAULT_FORM


def test_a_byte_order_mark_is_passed_over_as_the_check_does() -> None:
    document = b"\xef\xbb\xbf<Faktura xmlns='urn:a'/>"
    assert read_root_tag(document) == RootTag("urn:a", "Faktura")
    assert check_bytes(document).parsable == document[3:]
