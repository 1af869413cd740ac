"""The schema as one expression: what it matches is valid, whatever the type, and what it does not understand it never matches."""

import re
from collections.abc import Iterator
from random import Random
from xml.sax.saxutils import escape

import pytest
from lxml import etree

from app.forms.fa3.fast_path.simple_types import NEVER, STAND_INS, Facets, expression_of, literally, one_of
from app.forms.fa3.fast_path.xsd_to_regex import compile_grammar
from app.forms.fa3.schema import FA3_NAMESPACE, compile_schema
from app.forms.xsd.schema import UnusableSchemaError
from app.schema_files import load_schema_files
from tests.app.forms.fa3.schema_walk import SchemaWalk

XS = "{http://www.w3.org/2001/XMLSchema}"
FILES = load_schema_files()["FA (3)"]
MAIN = next(name for name, content in FILES.items() if f'targetNamespace="{FA3_NAMESPACE}"'.encode() in content)
PLACES = SchemaWalk.of(FILES).places()

# Beside those of the schema itself: what may stand at a border of a type, or beyond.
BLANKS = (" ", "\t", "\n", "\r", "\r\n", "\u00a0", "\u2003", "\u2028", "\u0085")
DIGITS = ("0", "7", "\u0663", "\u0967", "\uff11", "\U0001d7d8", "\u00b2")
OTHERS = (
    "a",
    "Z",
    "\u0105",
    "-",
    "+",
    ".",
    ",",
    "@",
    "*",
    "/",
    "?",
    "#",
    ":",
    "_",
    "&",
    "<",
    ">",
    '"',
    "'",
    "\U0001f9fe",
)
NUMBERS = (
    *("0", "-0", "-0.00", "+0", "00", "007", "1", "-1", "1.", ".5", "0.5", "1.0", "100", "100.0", "100.000001", "99.999999", "101", "1e2"),
    *("99.9999999", "-5", "NaN", "INF", "0x10", "1 0", "1,5", "123456789", "1234567890", "12345678901234567890"),
    *(f"{'9' * whole}.{'9' * rest}" for whole in (13, 14, 15, 16, 17) for rest in (1, 2, 3, 6, 7, 8, 9)),
    *(f"-{'9' * whole}" for whole in (13, 14, 15, 16, 17, 18, 19, 22, 23)),
)  # fmt: skip
DAYS = (
    "01-01",
    "01-31",
    "02-28",
    "02-29",
    "02-30",
    "04-30",
    "04-31",
    "12-31",
    "12-32",
    "13-01",
    "00-10",
    "10-00",
    "1-1",
)
YEARS = (
    *("0001", "0999", "1899", "1900", "1901", "1989", "1990", "1991", "2005", "2006", "2007", "2015", "2016", "2017", "2020", "2021"),
    *("2022", "2024", "2025", "2026", "2048", "2049", "2050", "2051", "9999", "10000", "-2020", "99"),
)  # fmt: skip
# The lengths that stand in any type, and those beside them.
LENGTHS = (0, 1, 2, 3, 8, 9, 10, 11, 13, 14, 16, 17, 20, 21, 32, 33, 34, 35, 50, 51, 240, 241, 255, 256, 257, 512, 513)
TIMES = (
    *(
        "00:00:00",
        "23:59:59",
        "23:59:60",
        "24:00:00",
        "24:00:01",
        "12:60:00",
        "12:00",
        "12:00:00.1",
        "12:00:00.123456789",
    ),
    *("12:00:00.", "12:00:00.1234567890123", "1:00:00"),
)
OFFSETS = (
    "",
    "Z",
    "z",
    "+00:00",
    "-00:00",
    "+13:59",
    "-13:59",
    "+14:00",
    "-14:00",
    "+14:01",
    "+1:00",
    "+01",
    " Z",
    "+13:60",
)
TEXTS = (
    *(
        "5265877635",
        "5005877635",
        "0265877635",
        "5265877635-00001",
        "5265877635-0000",
        "123456789",
        "12345678901234",
        "1234567890",
    ),
    *(
        "M123456789-20250826-0100001AF629-AF",
        "5265877635-20250826-0100001AF629-AF",
        "5265877635-20191326-010000-1AF629-AF",
    ),
    *(
        "AAAAPLPW",
        "AAAAPLPWXXX",
        "AAAAPLPWXX",
        "a@b.pl",
        "@",
        "a@",
        "@b",
        "a@b@c",
        "a b@c",
        "@@@",
        "PL",
        "EL",
        "XI",
        "PLN",
        "FA",
        "VAT",
    ),
    "https://pay.example/?IPKSeF=123abcdefghij",
    "https://pay.example/x?a=1&IPKSeF=123abcdefghij&b=2#c d",
    "https://pay.example/x?a=1&b'=\"&IPKSeF=123abcdefghij",
    "https://pay.example/?IPKSeF=\u0663\u0663\u0663abcdefghij",
    "http://a.b.cd:12345/?xIPKSeF=123abcdefghij",
    "https://pay.example/\u00a0?IPKSeF=123abcdefghij",
    "https://pay.example/?IPKSeF=123abcdefghij# ",
    "123abcdefghij",
)


def probing_schema(types: dict[str, etree._Element | str]) -> dict[str, bytes]:
    """The official files with another root: for each type an element that holds a value of it."""
    schema = etree.fromstring(FILES[MAIN])
    (root,) = schema.iterchildren(f"{XS}element")
    schema.remove(root)
    choice = etree.SubElement(
        etree.SubElement(etree.SubElement(schema, f"{XS}element", name="Faktura"), f"{XS}complexType"), f"{XS}choice"
    )
    for name, kind in types.items():
        element = etree.SubElement(choice, f"{XS}element", name=name)
        if isinstance(kind, str):
            element.set("type", kind)
        else:
            element.append(etree.fromstring(etree.tostring(kind)))
    return {**FILES, MAIN: etree.tostring(schema)}


def all_types() -> dict[str, etree._Element | str]:
    """Every simple type, named or not, of the schema and of the files that it builds on."""
    types: dict[str, etree._Element | str] = {}
    for file, content in FILES.items():
        prefix = "tns" if file == MAIN else "etd"
        for kind in etree.fromstring(content).iter(f"{XS}simpleType"):
            parent = kind.getparent()
            if kind.get("name"):
                types[f"{prefix}-{kind.get('name')}"] = f"{prefix}:{kind.get('name')}"
            elif parent is not None and parent.tag != f"{XS}union":
                types[f"{prefix}-{parent.get('name')}-{len(types)}"] = kind
    return types


TYPES = all_types()


@pytest.fixture(scope="module")
def probed() -> tuple[re.Pattern[str], etree.XMLSchema]:
    files = probing_schema(TYPES)
    return compile_grammar(files, {}), compile_schema(files)


def written(name: str, value: str) -> str:
    """What stands behind the start tag of the root."""
    return f"<{name}>{escape(value, {chr(34): '&quot;', chr(39): '&apos;'})}</{name}></Faktura>"


def seen(text: str) -> str:
    """The same with one character in the place of each escape, as the reader of plain invoices has it."""
    for escaped, meant in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&")):
        text = text.replace(escaped, STAND_INS[meant])
    return text


def takes(schema: etree.XMLSchema, text: str) -> bool:
    return bool(schema.validate(etree.fromstring(f'<Faktura xmlns="{FA3_NAMESPACE}">{text}'.encode())))


def enumerated(kind: etree._Element | str) -> list[str]:
    content = "".join(one.decode() for one in FILES.values()) if isinstance(kind, str) else ""
    if isinstance(kind, str):
        found = re.search(rf'simpleType name="{kind[4:]}".*?</xsd:simpleType>', content, re.DOTALL)
        return re.findall(r'enumeration value="([^"]*)"', found[0]) if found else []
    return [one.get("value") or "" for one in kind.iter(f"{XS}enumeration")]


def values(kind: etree._Element | str, dice: Random) -> Iterator[str]:
    """Values near the borders of all types, those of a list, and what becomes of both with a slip or two."""
    listed = enumerated(kind)
    sure = [*listed[:: max(1, len(listed) // 20)], *TEXTS, *NUMBERS]
    sure += [f"{year}-{day}" for year in YEARS for day in DAYS[::3]] + [f"2026-{day}" for day in DAYS]
    sure += [
        f"{year}-{day}T{time}{offset}"
        for year, day, time, offset in zip(YEARS, DAYS * 3, TIMES * 3, OFFSETS * 3, strict=False)
    ]
    sure += [f"2026-02-28T{time}{offset}" for time in TIMES for offset in OFFSETS[:3]]
    sure += [
        f"{moment}T00:00:00{offset}"
        for moment in ("2021-10-01", "2025-09-01", "2026-01-01", "2050-01-01", "2049-12-31")
        for offset in OFFSETS
    ]
    for length in LENGTHS:
        sure += [
            "x" * length,
            "7" * length,
            "\U0001f9fe" * length,
            " " * length,
            ("a " * length)[:length],
            "\u0663" * length,
        ]
        sure += ["&" * length, "\r\n" * length, "\u00a0" * length, f" {'x' * length} "]
    yield from sure
    short = [one for one in sure if len(one) < 60]
    pieces = (*BLANKS, *DIGITS, *OTHERS)
    for _ in range(600):
        value = dice.choice(dice.choice((short, TEXTS)))
        for _ in range(dice.choice((1, 1, 2))):
            at = dice.choice((0, len(value), dice.randrange(len(value) + 1)))
            value = value[:at] + dice.choice(pieces) * dice.choice((1, 1, 2)) + value[at + dice.choice((0, 0, 1)) :]
        yield value


@pytest.mark.parametrize("name", TYPES)
def test_what_the_expression_of_a_type_matches_is_of_that_type(
    name: str, probed: tuple[re.Pattern[str], etree.XMLSchema]
) -> None:
    grammar, schema = probed
    for value in values(TYPES[name], Random(name)):
        text = written(name, value)
        if grammar.fullmatch(seen(text)):
            assert takes(schema, text), value


def test_no_type_of_the_official_schema_is_left_out_of_the_expression() -> None:
    assert NEVER not in compile_grammar(FILES, {}).pattern


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("tns-TKwotowy", one) for one in ("0", "-0.5", "123.45", "-9999999999999999.99", "1000")),
        *(("tns-TKwotowy2", one) for one in ("0", "0.12345678", "-99999999999999.99999999")),
        *(("tns-TIlosci", one) for one in ("0", "0.123456", "9999999999999999.999999")),
        *(("tns-TProcentowy", one) for one in ("0", "100", "12.5", "99.999999")),
        *(("tns-TNaturalny", one) for one in ("1", "10000", "9" * 14)),
        *(("tns-TData", one) for one in ("2017-01-01", "2026-12-31", "2048-02-28", "2049-11-30")),
        *(("tns-TDataCzas", one) for one in ("2026-02-01T00:00:00Z", "2049-12-30T23:59:59.123+01:00", "2026-08-31T12:00:00.1234567-05:30")),
        *(("tns-TZnakowy", one) for one in ("a", "x" * 256, "&" * 256, "Zażółć  gęślą\njaźń ", "\u00a0", "\U0001f9fe" * 256)),
        *(("tns-TZnakowy2", one) for one in ("", " ", "x" * 256)),
        *(("tns-TNrRB", one) for one in ("1" * 26, "x" * 34, "PL 12 1234")),
        *(("tns-TNrVatUE", one) for one in ("1", "ABC+*1234567")),
        *(("etd-TNrREGON", one) for one in ("123456789", "12345678901234")),
        *(("etd-TAdresEmail", one) for one in ("a@b", "jan.kowalski@firma.example.pl", "a@b@c")),
        *(("tns-TKodWaluty", one) for one in ("PLN", "EUR")),
        *(("tns-TStawkaPodatku", one) for one in ("23", "0 KR", "np I", "oo")),
        *(("tns-TNumerKSeF", one) for one in ("5265877635-20250826-0100001AF629-AF", "M123456789-20991231-010000-1AF629-AF")),
    ],
)  # fmt: skip
def test_what_is_usually_written_is_matched(
    name: str, value: str, probed: tuple[re.Pattern[str], etree.XMLSchema]
) -> None:
    grammar, schema = probed
    assert takes(schema, written(name, value))
    assert grammar.fullmatch(seen(written(name, value)))


def test_each_value_of_each_list_is_matched(probed: tuple[re.Pattern[str], etree.XMLSchema]) -> None:
    grammar, schema = probed
    count = 0
    for name, kind in TYPES.items():
        for value in enumerated(kind):
            count += 1
            assert takes(schema, written(name, value))
            assert grammar.fullmatch(written(name, value)), (name, value)
    assert count > 500


def test_repetition_does_not_rest_on_possessive_groups() -> None:
    """Before Python 3.11.5 they match what they should not: half of a row was taken for a whole one (CPython, issue 106052)."""
    pattern = compile_grammar(FILES, {}).pattern
    assert not re.search(r"\)(?:[?*+]|\{\d+,\d*\})\+", pattern)
    # Of a single character they are right.
    assert set(re.findall(r"(\[[^]]*\])(?:\*|\{\d+,\d+\})\+", pattern)) == {r"[ \t\r\n]", "[^<]", r"[^<\r]"}


# What a schema can say, and the official one does not: it is never matched, however right.


def schema_of(root: str, more: str = "", head: str = 'elementFormDefault="qualified"') -> dict[str, bytes]:
    return {
        "a.xsd": (
            f'<xsd:schema xmlns:xsd="{XS[1:-1]}" xmlns:t="{FA3_NAMESPACE}" targetNamespace="{FA3_NAMESPACE}" {head}>{more}'
            f'<xsd:element name="Faktura">{root}</xsd:element></xsd:schema>'
        ).encode()
    }


def of_parts(parts: str, more: str = "", head: str = 'elementFormDefault="qualified"') -> dict[str, bytes]:
    return schema_of(f"<xsd:complexType><xsd:sequence>{parts}</xsd:sequence></xsd:complexType>", more, head)


def of_facets(facets: str, base: str = "xsd:token", more: str = "") -> dict[str, bytes]:
    return of_parts(
        f'<xsd:element name="A"><xsd:simpleType><xsd:restriction base="{base}">{facets}</xsd:restriction></xsd:simpleType></xsd:element>',
        more,
    )


SHORT = '<xsd:maxLength value="9"/>'
NAMED = f'<xsd:simpleType name="S"><xsd:restriction base="xsd:token">{SHORT}</xsd:restriction></xsd:simpleType>'
LIST = (
    '<xsd:simpleType name="L"><xsd:restriction base="xsd:token"><xsd:enumeration value="ab"/><xsd:enumeration value="c"/>'
    "</xsd:restriction></xsd:simpleType>"
)
COMPLEX = (
    '<xsd:complexType name="C" {}><xsd:sequence><xsd:element name="B" type="t:S"/></xsd:sequence>{}</xsd:complexType>'
)
ATTRIBUTED = (
    '<xsd:element name="A"><xsd:complexType><xsd:simpleContent><xsd:extension base="t:S">{}</xsd:extension></xsd:simpleContent>'
    "</xsd:complexType></xsd:element>"
)
A = '<xsd:element name="A" type="t:S"/>'
UNKNOWN = {
    "any": of_parts("<xsd:any/>"),
    "all": schema_of(f"<xsd:complexType><xsd:all>{A}</xsd:all></xsd:complexType>", NAMED),
    "no type": of_parts('<xsd:element name="A"/>'),
    "any type": of_parts('<xsd:element name="A" type="xsd:anyType"/>'),
    "text without end": of_parts('<xsd:element name="A" type="xsd:string"/>'),
    "boolean": of_parts('<xsd:element name="A" type="xsd:boolean"/>'),
    "missing type": of_parts('<xsd:element name="A" type="t:Missing"/>'),
    "type of a missing namespace": of_parts('<xsd:element name="A" xmlns:u="urn:u" type="u:token"/>'),
    "derived from a missing namespace": of_facets(SHORT, 'u:token" xmlns:u="urn:u'),
    "reference": of_parts('<xsd:element ref="t:Faktura"/>'),
    "group": of_parts('<xsd:group ref="t:G"/>', f'{NAMED}<xsd:group name="G"><xsd:sequence>{A}</xsd:sequence></xsd:group>'),
    "redefinition": of_parts(A, f'<xsd:redefine schemaLocation="b.xsd">{NAMED}</xsd:redefine>{NAMED}'),
    "key": of_parts(A.replace("/>", '><xsd:key name="k"><xsd:selector xpath="."/><xsd:field xpath="."/></xsd:key></xsd:element>'), NAMED),
    "abstract element": of_parts('<xsd:element name="A" type="t:S" abstract="true"/>', NAMED),
    "nillable": of_parts('<xsd:element name="A" type="t:S" nillable="true"/>', NAMED),
    "a type within itself": of_parts(
        '<xsd:element name="A" type="t:C"/>',
        NAMED + COMPLEX.format("", "").replace("</xsd:sequence>", '<xsd:element name="D" type="t:C" minOccurs="0"/></xsd:sequence>'),
    ),
    "nothing": of_parts('<xsd:element name="A"><xsd:complexType/></xsd:element>'),
    "an empty sequence": of_parts('<xsd:element name="A"><xsd:complexType><xsd:sequence/></xsd:complexType></xsd:element>'),
    "an empty choice": of_parts("<xsd:choice/>"),
    "none at all": of_parts('<xsd:element name="A" type="t:S" minOccurs="0" maxOccurs="0"/>', NAMED),
    "default": of_parts('<xsd:element name="A" type="t:S" default="a"/>', NAMED),
    "unqualified element": of_parts('<xsd:element name="A" type="t:S" form="unqualified"/>', NAMED),
    "unqualified elements": of_parts(A, NAMED, ""),
    "qualified attributes": of_parts(A, NAMED, 'elementFormDefault="qualified" attributeFormDefault="qualified"'),
    "mixed": of_parts('<xsd:element name="A" type="t:C"/>', NAMED + COMPLEX.format('mixed="true"', "")),
    "abstract type": of_parts('<xsd:element name="A" type="t:C"/>', NAMED + COMPLEX.format('abstract="true"', "")),
    "attribute of a named type": of_parts(
        '<xsd:element name="A" type="t:C"/>', NAMED + COMPLEX.format("", '<xsd:attribute name="a" use="required" fixed="x"/>')
    ),
    "any attribute": of_parts('<xsd:element name="A" type="t:C"/>', NAMED + COMPLEX.format("", "<xsd:anyAttribute/>")),
    "fixed markup": of_parts('<xsd:element name="A" type="xsd:integer" fixed="&lt;/A>&lt;A>"/>'),
    "fixed value of an unknown type": of_parts('<xsd:element name="A" type="xsd:anyURI" fixed="a"/>'),
    "extension that adds": of_parts(
        '<xsd:element name="A"><xsd:complexType><xsd:complexContent><xsd:extension base="t:C"><xsd:sequence>'
        f"{A}</xsd:sequence></xsd:extension></xsd:complexContent></xsd:complexType></xsd:element>",
        NAMED + COMPLEX.format("", ""),
    ),
    **{
        f"attribute {attribute}": of_parts(ATTRIBUTED.format(f"<xsd:attribute {attribute}/>"), NAMED)
        for attribute in (
            *('name="a" fixed="x"', 'name="a" use="optional" fixed="x"', 'name="a" use="prohibited"', 'name="a" use="required"'),
            *('ref="t:a" use="required" fixed="x"', 'name="a" use="required" fixed="x" form="qualified"'),
            *('name="a" use="required" fixed="&quot; b=&quot;"', 'name="a" use="required" type="xsd:string"'),
        )
    },
    "four attributes": of_parts(
        ATTRIBUTED.format("".join(f'<xsd:attribute name="{one}" use="required" fixed="x"/>' for one in "abcd")), NAMED
    ),
    "union of names": of_parts(
        '<xsd:element name="A"><xsd:simpleType><xsd:union memberTypes="t:S xsd:integer"/></xsd:simpleType></xsd:element>', NAMED
    ),
    "union, narrowed": of_facets(
        '<xsd:pattern value="a"/>',
        "t:U",
        f"<xsd:simpleType name='U'><xsd:union>{NAMED.replace(' name=' + chr(34) + 'S' + chr(34), '')}</xsd:union></xsd:simpleType>",
    ),
    "list of values": of_parts(
        '<xsd:element name="A"><xsd:simpleType><xsd:list itemType="xsd:integer"/></xsd:simpleType></xsd:element>'
    ),
    "list with a pattern": of_facets('<xsd:enumeration value="ab"/><xsd:enumeration value="c"/><xsd:pattern value="a."/>'),
    "list, narrowed": of_facets('<xsd:enumeration value="ab"/>', "t:L", LIST),
    "list, with a pattern later": of_facets('<xsd:pattern value="a."/>', "t:L", LIST),
    "list with blanks": of_facets('<xsd:enumeration value="a  b"/>', "xsd:string"),
    "list with markup": of_facets('<xsd:enumeration value="&lt;b>"/>', "xsd:string"),
    "list of which nothing is left": of_facets('<xsd:enumeration value="ab"/><xsd:minLength value="3"/>'),
    "list of a type that is not understood": of_facets(
        '<xsd:enumeration value="ab"/><xsd:enumeration value="abc"/>',
        "t:T",
        '<xsd:simpleType name="T"><xsd:restriction base="xsd:token"><xsd:length value="2"/></xsd:restriction></xsd:simpleType>',
    ),
    "length": of_facets('<xsd:length value="2"/>'),
    "no length at all": of_facets('<xsd:minLength value="1"/>'),
    "lengths that exclude each other": of_facets('<xsd:minLength value="3"/><xsd:maxLength value="2"/>'),
    "nothing but nothing": of_facets('<xsd:maxLength value="0"/>'),
    "blanks that do not count": of_facets('<xsd:minLength value="2"/><xsd:maxLength value="9"/>'),
    "text that is collapsed and long": of_facets(
        '<xsd:minLength value="2"/><xsd:maxLength value="9"/><xsd:whiteSpace value="collapse"/>', "xsd:string"
    ),
    "unknown facet": of_facets(SHORT + '<xsd:assertion test="true()"/>'),
    "bounds of a text": of_facets(SHORT + '<xsd:minInclusive value="b"/>'),
    "decimal without a pattern": of_facets('<xsd:totalDigits value="5"/><xsd:fractionDigits value="2"/>', "xsd:decimal"),
    "integer with a bound": of_facets('<xsd:minInclusive value="5"/>', "xsd:integer"),
    "natural number with a bound": of_facets(
        '<xsd:totalDigits value="5"/><xsd:maxInclusive value="7"/>', "xsd:nonNegativeInteger"
    ),
    "date without an end": of_facets('<xsd:minInclusive value="2020-01-01"/>', "xsd:date"),
    "date with another bound": of_facets(
        '<xsd:minInclusive value="2020-01-01"/><xsd:maxInclusive value="2050-01-01"/><xsd:maxExclusive value="2030-01-01"/>', "xsd:date"
    ),
    "moment with another bound": of_facets(
        '<xsd:minInclusive value="2020-01-01T00:00:00Z"/><xsd:maxInclusive value="2050-01-01T00:00:00Z"/>'
        '<xsd:minExclusive value="2030-01-01T00:00:00Z"/>',
        "xsd:dateTime",
    ),
    "moment without an offset": of_facets(
        '<xsd:minInclusive value="2020-01-01T00:00:00"/><xsd:maxInclusive value="2050-01-01T00:00:00"/>', "xsd:dateTime"
    ),
    **{
        f"pattern {pattern}": of_facets(f'<xsd:pattern value="{pattern}"/>{SHORT}')
        for pattern in (
            *(r"\s", r"[\s]", r"[a\s]+", r"[^\d]", r"\w+", r"\p{L}+", r"\D", r"\S+", r"\i\c*", r"[a-z-[aeiou]]", "a b", "[a ]", "[^ ]"),
            *("a+?", "a*+", "a{2}?", "(?=a)b", "a|*b", "^a", "a$", "[^\u00e9]", "[a-\ufffd]", r"[\d-z]", r"a\n", "a&lt;b", "a'b", "[&#9;]"),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_understood_is_never_matched(name: str) -> None:
    assert NEVER in compile_grammar(UNKNOWN[name], {}).pattern


def test_what_is_understood_is_matched() -> None:
    attributed = ATTRIBUTED.format('<xsd:attribute name="a" use="required" fixed="x"/>')
    for files in (of_parts(A, NAMED), of_parts(attributed, NAMED), of_facets(SHORT + '<xsd:pattern value="[^a]+"/>')):
        assert NEVER not in compile_grammar(files, {}).pattern


@pytest.mark.parametrize(
    "pattern",
    [
        *("[^&gt;]+", "[^&lt;]+", "[^&amp;]+", "[^&quot;]+", "[^']+", "[^!-/]+", "[^#-~]+", r"[^\s?#]+", "[!-/]+", "[&gt;&lt;]+", "[&amp;]+"),
        *("[^a]+", "[a-z]*", ".+", ".*", "(a|b){2,3}", r"[\d-]+", "a{0,2}b?", "[+*-]+", "&amp;+", r"\.\?\+\*\\\-"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("limits", [SHORT, "", '<xsd:minLength value="2"/>' + SHORT], ids=["short", "any", "some"])
def test_a_pattern_means_what_the_schema_means(pattern: str, limits: str) -> None:
    files = of_facets(f'<xsd:pattern value="{pattern}"/>{limits}')
    grammar, schema, dice = compile_grammar(files, {}), compile_schema(files), Random(pattern)
    pieces = (*BLANKS, *DIGITS, *OTHERS, "b", "ab", "\\", "&", ">", "~", "!")
    tried = ["".join(dice.choices(pieces, k=dice.randrange(12))) for _ in range(1_500)]
    tried += [f"{one}{other}" for one in pieces for other in ("", one, "a", *pieces[:3])] + [
        "aab",
        ".?+*\\-",
        "a" * 9,
        "a" * 10,
    ]
    matched = 0
    for text in (written("A", value) for value in tried):
        if grammar.fullmatch(seen(text)):
            matched += 1
            assert takes(schema, text), text
    assert matched or NEVER in grammar.pattern


@pytest.mark.parametrize(
    ("base", "blanks"),
    [
        *(("xsd:string", one) for one in ("preserve", "replace", "collapse")),
        *(("xsd:normalizedString", one) for one in ("replace", "collapse")),
        ("xsd:token", "collapse"),
    ],
)
def test_blanks_count_as_the_schema_counts_them(base: str, blanks: str) -> None:
    """A text whose blanks are collapsed is empty when it has nothing else, whatever it was derived from."""
    for least in (0, 1, 2):
        files = of_facets(
            f'<xsd:minLength value="{least}"/><xsd:maxLength value="3"/><xsd:whiteSpace value="{blanks}"/>', base
        )
        grammar, schema = compile_grammar(files, {}), compile_schema(files)
        for value in (
            "",
            " ",
            "  ",
            "   ",
            "    ",
            "\t",
            "\r\n",
            "\n\n",
            "\r\r",
            "a",
            " a",
            "a ",
            "a  b",
            "ab",
            "abc",
            "abcd",
            "\u00a0",
        ):
            if grammar.fullmatch(written("A", value)):
                assert takes(schema, written("A", value)), (least, value)


def test_words_are_matched_whole_and_nothing_else() -> None:
    words = ("a", "ab", "abc", "b.", "(c", "")
    expression = re.compile(one_of(words))
    for word in (*words, "ac", "abcd", "bx", "c", "aba"):
        assert bool(expression.fullmatch(word)) == (word in words)
    assert one_of(()) == NEVER
    assert re.fullmatch(literally("FA (3)"), "FA (3)")
    for word in ("<b>", "a&b", 'a"b', "it's", " a", "a  b", "a\tb", STAND_INS["&"], "\x7f"):
        assert literally(word) == NEVER


def test_a_type_that_nobody_knows_is_never_matched() -> None:
    assert expression_of(Facets("unknown")) == NEVER
    assert expression_of(Facets("gYear", {"minInclusive": "1900"})) == NEVER


def test_files_without_the_form_are_unusable() -> None:
    with pytest.raises(UnusableSchemaError):
        compile_grammar({name: content for name, content in FILES.items() if name != MAIN}, {})
