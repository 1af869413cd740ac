"""Every element and every type that the official schema knows, broken in every way it can be: each fault in words and in place."""

import re
from collections.abc import Callable
from copy import deepcopy
from datetime import date
from typing import Any

import pytest
from lxml import etree

from app.domain.findings import Finding
from app.forms.fa3.checker import InvoiceChecker
from app.forms.fa3.schema import FA3_NAMESPACE, compile_schema
from app.forms.fa3.vocabulary import FA3_VOCABULARY
from app.forms.form import CheckContext
from app.forms.xsd.schema_messages import explain
from app.schema_files import load_schema_files
from tests.app.forms.fa3.schema_walk import Place, SchemaWalk, lined, plain_path

pytestmark = pytest.mark.slow

Element = etree._Element
Mutation = Callable[[Element], None]

NS = f"{{{FA3_NAMESPACE}}}"
XSI = "{http://www.w3.org/2001/XMLSchema-instance}"
WALK = SchemaWalk.of(load_schema_files()["FA (3)"])
PLACES = WALK.places()
CONTEXT = CheckContext("5265877635", date(2026, 2, 1), check_nip_checksums=False, attachments_allowed=None)
# About the bytes of a document and its schema. (Dates and totals are judged elsewhere.)
OF_THE_SCHEMA = ("xsd-", "form-")

# One text or another breaks each facet: enumeration, pattern, length, bounds, digits, and what dates and numbers are.
TEXTS = (
    *("", " \n ", "x" * 4_000, "\u00a4 !?", "-99999999999999999999999.99999999999", "-1", "0", "999", "1.123456789"),
    *(
        "1800-01-01",
        "2999-01-01",
        "1800-01-01T00:00:00Z",
        "2999-01-01T00:00:00Z",
        "2026-02-30",
        "1,5",
        "1 000.00",
        "1e3",
    ),
    "PL5265877635",
)


def _child(element: Element) -> None:
    etree.SubElement(element, f"{NS}Extra")


def _foreign_child(element: Element) -> None:
    etree.SubElement(element, "{urn:x}Extra")


def _attribute(element: Element) -> None:
    element.set("{urn:x}extra", "1")


def _nil(element: Element) -> None:
    element.set(f"{XSI}nil", "false")


def _type(element: Element) -> None:
    element.set(f"{XSI}type", "TKwotowy")


def _unknown_type(element: Element) -> None:
    element.set(f"{XSI}type", "no:such")


def _text(element: Element) -> None:
    element.text = (element.text or "") + "text"


def _text_after(element: Element) -> None:
    element.tail = "text"


def _rename(element: Element) -> None:
    element.tag = f"{NS}Extra"


def _remove(element: Element) -> None:
    if (parent := element.getparent()) is not None:
        parent.remove(element)


def _double(element: Element) -> None:
    element.addnext(deepcopy(element))


def _move_first(element: Element) -> None:
    if (parent := element.getparent()) is not None:
        parent.insert(0, element)


def _move_last(element: Element) -> None:
    if (parent := element.getparent()) is not None:
        parent.append(element)


def _empty(element: Element) -> None:
    for child in list(element):
        element.remove(child)


def _no_attributes(element: Element) -> None:
    element.attrib.clear()


def _odd_attributes(element: Element) -> None:
    for name in element.attrib:
        element.set(name, "zzz")


STRUCTURE: tuple[Mutation, ...] = (
    *(_child, _foreign_child, _attribute, _nil, _type, _unknown_type, _text, _text_after, _rename),
    *(_remove, _double, _move_first, _move_last, _empty, _no_attributes, _odd_attributes),
)


@pytest.fixture(scope="module")
def schema() -> etree.XMLSchema:
    return compile_schema(load_schema_files()["FA (3)"])


def _at(root: Element, place: Place) -> Element:
    element: Element | None = root
    for name in place.path[1:]:
        assert element is not None
        element = element.find(f"{NS}{name}")
    assert element is not None
    return element


def _findings(checker: InvoiceChecker, schema: etree.XMLSchema, document: bytes) -> tuple[Element, list[Finding]]:
    """Check a document and what must hold of every finding, whatever the document."""
    root = etree.fromstring(document)
    found = [one for one in checker.check(document, CONTEXT).findings if one.rule.startswith(OF_THE_SCHEMA)]
    assert schema.validate(root) == (not found), "the check and the schema disagree"
    for one in found:
        assert one.rule != "xsd-other", one.raw
        assert one.raw or not one.rule.startswith("xsd-"), "the words of the validator are lost"
        for message in (one.message, one.message_pl):
            assert not re.search(r"\{urn|\{http|None|\(\?|\[facet|\\d|\[A-Z]|\bxs:|atomic| \?[.;]", message), message
        assert one.path is not None
        assert one.line is not None
        named: Any = root.xpath(re.sub(r"/([^/\[]+)", r"/*[local-name()='\1']", one.path))
        assert len(named) == 1, one.path
        start, end = named[0].sourceline, max(each.sourceline for each in named[0].iter())
        # What is missing is reported where it should stand, inside the element that lacks it.
        assert start <= one.line <= (end if one.rule == "xsd-missing-element" else start), one
    return root, found


@pytest.mark.parametrize("mutation", STRUCTURE, ids=lambda mutation: mutation.__name__.strip("_"))
def test_a_broken_structure_is_explained_wherever_it_is(
    mutation: Mutation, checker: InvoiceChecker, schema: etree.XMLSchema
) -> None:
    broken = 0
    for place in PLACES:
        root = WALK.document(place.path)
        element = _at(root, place)
        if element is root and mutation in (_text_after, _double, _remove):
            continue
        mutation(element)
        here = "/" + "/".join(place.path)
        parent = here.rpartition("/")[0]
        _, found = _findings(checker, schema, lined(root))
        broken += bool(found)
        if found and element is not root:
            # The element, what lacks it, what stands beside it or inside it: nothing farther away is blamed.
            where = [re.sub(r"\[\d+]", "", one.path or "") for one in found]
            assert any({path, path.rpartition("/")[0]} & {here, parent} for path in where), (here, where)
    assert broken > (0 if mutation in (_no_attributes, _odd_attributes) else 50)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:24].strip() or "blank")
def test_a_wrong_value_of_each_type_is_explained(text: str, checker: InvoiceChecker, schema: etree.XMLSchema) -> None:
    broken = 0
    seen = set()
    for place in PLACES:
        kind = (place.definition.get("type"), None if place.definition.get("type") else place.path[-1])
        if not place.is_leaf or kind in seen:
            continue
        seen.add(kind)
        root = WALK.document(place.path)
        element = _at(root, place)
        element.text = text
        _, found = _findings(checker, schema, lined(root))
        broken += bool(found)
        # A value concerns nobody but its element.
        assert {one.path for one in found} <= {plain_path(element)}
    assert broken > 20


def test_each_required_element_that_is_missing_is_called_missing(
    checker: InvoiceChecker, schema: etree.XMLSchema
) -> None:
    missing = 0
    for place in PLACES:
        if not place.required or len(place.path) == 1:
            continue
        root = WALK.document(place.path)
        element = _at(root, place)
        parent = element.getparent()
        assert parent is not None
        path = plain_path(parent)
        parent.remove(element)
        _, found = _findings(checker, schema, lined(root))
        told = [one for one in found if one.rule == "xsd-missing-element" and one.path == path]
        if len(told) == 1:
            assert re.search(rf"\b{place.path[-1]}\b", told[0].message), told[0].message
            missing += 1
        else:
            # Where its place may be taken by others, what comes next is out of place.
            assert found
    assert missing > 80


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        (("P_1", "P_2"), 2),
        (("P_2", "P_15"), 2),
        (("KodWaluty", "P_1", "P_2", "P_15"), 4),
        (("P_16", "P_17", "P_18", "P_18A"), 4),
    ],
)
def test_each_of_several_elements_missing_in_a_row_is_told(
    gone: tuple[str, ...], expected: int, checker: InvoiceChecker, schema: etree.XMLSchema
) -> None:
    root = WALK.document(("Faktura", "Fa", "P_15"))
    for name in gone:
        for element in list(root.iter(f"{NS}{name}")):
            _remove(element)
    _, found = _findings(checker, schema, lined(root))
    assert [one.rule for one in found] == ["xsd-missing-element"] * expected
    for name in gone:
        assert any(re.search(rf"\b{name}\b", one.message) for one in found)


def test_an_element_that_may_not_be_repeated_is_not_taken_for_a_missing_optional_one(
    checker: InvoiceChecker, schema: etree.XMLSchema
) -> None:
    root = WALK.document(("Faktura", "Naglowek", "DataWytworzeniaFa"))
    _double(_at(root, next(one for one in PLACES if one.path[-1] == "DataWytworzeniaFa")))
    _, (found,) = _findings(checker, schema, lined(root))
    assert (found.rule, found.path) == ("xsd-unexpected-element", "/Faktura/Naglowek/DataWytworzeniaFa[2]")
    assert "more of them in a row" in found.message


def test_what_nobody_foresaw_is_passed_on_as_it_is() -> None:
    root = etree.Element(f"{NS}Faktura")
    found = explain("SCHEMAV_CVC_NEW", "Something new.", root, 1, "/Faktura", FA3_VOCABULARY)
    assert (found.rule, found.raw) == ("xsd-other", "Something new.")
