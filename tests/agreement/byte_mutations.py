"""What can happen to the bytes of an invoice: encodings, prologs, declarations, references, damage."""

import re
from collections.abc import Callable
from random import Random

_PROLOG = re.compile(rb"\A<\?xml[^>]*\?>\s*")
_TEXT = re.compile(rb">([^<>&]{2,})</")
_START_TAG = re.compile(rb"<([A-Za-z_][\w.:-]*)((?:\s[^<>]*)?)>")
_TWO_ATTRIBUTES = re.compile(rb'(\s[\w:]+="[^"<>]*")(\s[\w:]+="[^"<>]*")')
_PROLOGS = (
    b"",
    b"\n",
    b" ",
    b"\n<?xml version='1.0' encoding='UTF-8'?>",
    b"<?xml version='1.0' encoding='utf-8'?>",
    b'<?xml version="1.0"?>',
    b'<?xml version="1.0" ?>',
    b'<?xml\tversion = "1.0"\n encoding = "Utf-8"\r\n?>\n',
    b'<?xml version="1.0" encoding="utf8"?>',
    b'<?xml version="1.0" encoding="US-ASCII"?>',
    b'<?xml version="1.0" encoding="ISO-8859-2"?>',
    b'<?xml version="1.0" encoding="windows-1250"?>',
    b'<?xml version="1.0" encoding="UTF-16"?>',
    b'<?xml version="1.0" encoding="x-unknown"?>',
    b'<?xml version="1.0" encoding=""?>',
    b'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>',
    b'<?xml version="1.0" encoding="UTF-8" standalone="no"?>',
    b'<?xml version="1.0" standalone="yes"?>',
    b'<?xml version="1.0" standalone="maybe"?>',
    b'<?xml version="1.0" standalone="yes" encoding="UTF-8"?>',
    b'<?xml version="1.1" encoding="UTF-8"?>',
    b'<?xml version="1.2" encoding="UTF-8"?>',
    b'<?xml version="2.0" encoding="UTF-8"?>',
    b'<?xml version="" encoding="UTF-8"?>',
    b'<?xml encoding="UTF-8"?>',
    b'<?xml encoding="ISO-8859-1" version="1.0"?>',
    b'<?xml version="1.0" encoding="UTF-8"?><?xml version="1.0"?>',
    b'<?XML version="1.0"?>',
    b'<?xml version="1.0" encoding="UTF-8" encoding="UTF-8"?>',
    b'<?xml version="1.0" encoding="UTF-8">',
    b'<?xml version="1.0"encoding="UTF-8"?>',
    b'<?xml version="1.0" Encoding="ISO-8859-2"?>',
    b'<?xml version="1.0" encoding="UTF-8\'?>',
)
_MISC = (
    b"<!-- uwaga -->", b"<!-- -- -->", b"<!---->", b"<!--->-->", b"<!-- \x00 -->", b"<!-- <?pi?> &#x81; -->", b"<!-- <!DOCTYPE a> -->",
    b"<!-- \xc2\x81 -->", b"<!-- \xef\xbf\xbe -->", b"<!-- \xff -->", b"<!-- ", b"-->",
    b"<?pi?>", b"<?xml-stylesheet href='a'?>", b"<?php echo 1 ?>", b"<?xml?>", b"<? ?>", b"<?a:b c?>", b"<?pi",
    b"\n\n", b"\t", b"\r\n", b"\x0b", b"\x0c", b"\x00", b"\x1b", b"\xc2\xa0", b"\xe2\x80\xa8", b"\xc2\x85",
    b"x", b"]]>", b"<![CDATA[]]>", b"<![CDATA[ ]]>", b"<![CDATA[x]]>", b"&amp;", b"&#32;", b"&#xa0;", b"&x;", b"<a/>", b"</a>",
)  # fmt: skip
_DOCTYPES = (
    b"<!DOCTYPE Faktura>", b"<!doctype Faktura>", b"<!DOCTYPE Faktura []>", b'<!DOCTYPE Faktura [<!ENTITY e "x">]>',
    b'<!DOCTYPE Faktura SYSTEM "a.dtd">', b'<!DOCTYPE Faktura PUBLIC "-//A//B" "http://a.example/b">',
    b'<!DOCTYPE Faktura [<!ATTLIST Faktura a CDATA "b">]>', b"<!DOCTYPE Faktura [<!-- > -->]>", b"<!ENTITY a 'b'>", b"<!ELEMENT a ANY>",
    b"<!DOCTYPE Faktura [<?pi?>]>", b"<!DOCTYPE", b"<!DOCTYPE Faktura [", b"<!>", b"<!-DOCTYPE>",
)  # fmt: skip
_IN_TEXT = (
    "\x7f", "\x80", "\x84", "\x85", "\x86", "\x9f", "\xa0", "\xad", "\u034f", "\u061c", "\u2028", "\u200b", "\u202e", "\ufdcf", "\ufdd0",
    "\ufdef", "\ufdf0", "\ufeff", "\ufffc", "\ufffd", "\ufffe", "\uffff", "\U0001f9fe", "\U0001d54f", "\U0001fffd", "\U0001fffe",
    "\U0001ffff", "\U0002fffe", "\U0008ffff", "\U000efffe", "\U000f0000", "\U000fffff", "\U0010fffd", "\U0010fffe", "\U0010ffff",
    "\x00", "\x01", "\x08", "\x0b", "\x0c", "\x0e", "\x1f", "\t", "\n", "\r", "\r\n", "e\u0301", "\u05d0", "\ue000",
)  # fmt: skip
_REFERENCES = (
    "&#9;", "&#10;", "&#13;", "&#32;", "&#x20;", "&#0;", "&#x1;", "&#x1F;", "&#x7F;", "&#127;", "&#x00081;", "&#129;", "&#x85;", "&#133;",
    "&#x86;", "&#x9f;", "&#xA0;", "&#xD7FF;", "&#xD800;", "&#xDFFF;", "&#xE000;", "&#xFDD0;", "&#xfdef;", "&#64976;", "&#xFFFD;", "&#xFFFE;",
    "&#xFFFF;", "&#x1F9FE;", "&#x1FFFE;", "&#131070;", "&#x10FFFF;", "&#1114111;", "&#x10FFFD;", "&#x110000;", "&#1114112;", "&#99999999;",
    "&#xFFFFFFFF;", "&#x100000041;", "&#4294967361;", "&#X41;", "&#x;", "&#;", "&#x4G;", "&#x41", "&#65 ;", "&# 65;", "&#-1;", "&#+65;",
    "&#000000000000000000065;", "&#x0000000000000000000081;", "&#00000000000000000129;", "&amp;", "&lt;", "&gt;", "&apos;", "&quot;", "&nbsp;",
    "&amp;#129;", "&AMP;", "&amp", "&", "& ", "&&amp;", "<", ">", "]]>", "]]&gt;", '"', "'", "<![CDATA[a & b < c]]>", "<![CDATA[&#129;]]>",
    "<![CDATA[<?pi?><!DOCTYPE a>]]>", "<![CDATA[]]]]><![CDATA[>]]>", "<![CDATA[ ", "<![cdata[x]]>", "<!-- w -->", "<!---->", "<!-- a -- b -->",
    "<!-- a --->", "<!-- &#129; -->", "<!-- <?pi?> -->", "<?pi?>", "<!-->", "<!--->", "<!-- <![CDATA[ -->", "<![CDATA[<!-- ]]>", "<!-- -->&#129;<!-- -->",
    "<![CDATA[x]]>&#129;", "<![CDATA[<!--]]>&#xFDD0;<![CDATA[-->]]>", "<!--<![CDATA[-->&#129;<!--]]>-->",
)  # fmt: skip


def _insert(document: bytes, at: int, what: bytes) -> bytes:
    return document[:at] + what + document[at:]


def _after_prolog(document: bytes) -> int:
    found = _PROLOG.match(document)
    return found.end() if found else 0


def _at_text(document: bytes, random: Random) -> int | None:
    """Return a place inside some text, between characters."""
    places = list(_TEXT.finditer(document))
    if not places:
        return None
    found = random.choice(places)
    at = random.randint(found.start(1), found.end(1))
    while at < found.end(1) and document[at] & 0xC0 == 0x80:
        at += 1
    return at


def _nothing(document: bytes, random: Random) -> bytes:
    return document


def _prolog(document: bytes, random: Random) -> bytes:
    return random.choice(_PROLOGS) + document[_after_prolog(document) :]


def _byte_order_mark(document: bytes, random: Random) -> bytes:
    return (
        random.choice(
            (b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb", b" \xef\xbb\xbf")
        )
        + document
    )


def _other_encoding(document: bytes, random: Random) -> bytes:
    text = document.decode("utf-8", "replace")
    name = random.choice(
        ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "iso8859_2", "cp1250", "utf-7", "utf-8-sig", "cp037")
    )
    if random.random() < 0.5:
        text = text.replace('"UTF-8"', f'"{name}"', 1)
    return text.encode(name, "xmlcharrefreplace")


def _before_root(document: bytes, random: Random) -> bytes:
    return _insert(document, _after_prolog(document), random.choice(_MISC + _DOCTYPES))


def _behind_root(document: bytes, random: Random) -> bytes:
    return document + random.choice(_MISC + _DOCTYPES[:3])


def _between_elements(document: bytes, random: Random) -> bytes:
    places = [found.end() for found in re.finditer(rb">\s*(?=<[A-Za-z])", document)]
    return _insert(document, random.choice(places), random.choice(_MISC + _DOCTYPES[:2])) if places else document


def _doctype(document: bytes, random: Random) -> bytes:
    return _insert(document, _after_prolog(document), random.choice(_DOCTYPES))


def _character(document: bytes, random: Random) -> bytes:
    at = _at_text(document, random)
    return document if at is None else _insert(document, at, random.choice(_IN_TEXT).encode())


def _reference(document: bytes, random: Random) -> bytes:
    at = _at_text(document, random)
    return document if at is None else _insert(document, at, random.choice(_REFERENCES).encode())


def _in_attribute(document: bytes, random: Random) -> bytes:
    """Put something inside the value of an attribute, among them the namespace."""
    values = list(re.finditer(rb'="([^"<>]*)"', document[_after_prolog(document) :]))
    if not values:
        return document
    found = random.choice(values)
    at = _after_prolog(document) + random.choice((found.start(1), found.end(1)))
    return _insert(document, at, random.choice(_IN_TEXT + _REFERENCES).encode())


def _bad_utf8(document: bytes, random: Random) -> bytes:
    bad = (
        b"\xb1",
        b"\xff",
        b"\xc0\x80",
        b"\xc1\xbf",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xc5",
    )
    at = _at_text(document, random)
    if at is None or random.random() < 0.2:
        at = random.randint(0, len(document))
    return _insert(document, at, random.choice(bad))


def _cut(document: bytes, random: Random) -> bytes:
    if random.random() < 0.3:
        return document[: len(document) - random.randint(1, 12)]
    return document[: random.randint(0, len(document))]


def _cut_front(document: bytes, random: Random) -> bytes:
    return document[random.randint(1, min(len(document), 200) or 1) :]


def _flip(document: bytes, random: Random) -> bytes:
    if not document:
        return document
    changed = bytearray(document)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _delete(document: bytes, random: Random) -> bytes:
    at = random.randint(0, len(document))
    return document[:at] + document[at + random.choice((1, 1, 2, 8, 60)) :]


def _twice(document: bytes, random: Random) -> bytes:
    return document + random.choice((b"", b"\n", document[_after_prolog(document) :]))


def _line_ends(document: bytes, random: Random) -> bytes:
    new = random.choice((b"\r\n", b"\r", b"\n\n", b" \n", b"\x85"))
    return document.replace(b"\n", new) if b"\n" in document else document.replace(b"><", b">" + new + b"<")


def _white_space(document: bytes, random: Random) -> bytes:
    return document.replace(b"><", b">" + random.choice((b"\n", b"\t ", b"   ", b"\r\n\t", b"\xc2\xa0")) + b"<")


def _in_tag(document: bytes, random: Random) -> bytes:
    """Change the writing inside of one tag."""
    tags = list(_START_TAG.finditer(document))
    if not tags:
        return document
    found = random.choice(tags)
    new = random.choice(
        (
            b"<%s%s >", b"< %s%s>", b"<%s\n%s\t>", b"<%s%s/>", b"<%s%s", b"<%s%s>>", b"<<%s%s>", b"<%s%s a>", b'<%s%s a="1" a="1">', b"<%s%s a=1>",
            b'<%s%s a="<">', b"<%s%s a='1'>", b'<%s%s xmlns="">', b'<%s%s xmlns:x="urn:x">', b'<%s%s xmlns:x="">', b'<%s%s x:a="1">',
            b'<%s%s xmlns:xml="http://www.w3.org/XML/1998/namespace">', b'<%s%s xmlns:xml="urn:x">', b'<%s%s xmlns:xmlns="urn:x">', b'<%s%s xml:base="a">',
            b'<%s%s xmlns:a="urn:x" xmlns:b="urn:x" a:c="" b:c="">', b'<%s%s xmlns:xmlx="urn:x">', b"<%s%s xmlns:a='relative'>", b'<x:%s%s>', b"<:%s%s>",
        )
    )  # fmt: skip
    return document[: found.start()] + new % (found[1], found[2]) + document[found.end() :]


def _closing_tag(document: bytes, random: Random) -> bytes:
    tags = list(re.finditer(rb"</([\w.:-]+)>", document))
    if not tags:
        return document
    found = random.choice(tags)
    new = random.choice(
        (b"</%s >", b"</ %s>", b"</%s\n>", b"</%s", b"</%s a='1'>", b"</%sx>", b"<%s>", b"< /%s>", b"</%s></%s>")
    )
    return document[: found.start()] + new.replace(b"%s", found[1]) + document[found.end() :]


def _prefix(document: bytes, random: Random) -> bytes:
    """Write all elements with a prefix instead of the default namespace."""
    prefix = random.choice((b"fa", b"tns", b"a-b.c", b"_", "ą".encode(), b"xmlfa", b"1a"))
    start = _after_prolog(document)
    body = re.sub(rb"<(/?)([A-Za-z_][\w.-]*)(?=[\s>/])", rb"<\g<1>" + prefix + rb":\g<2>", document[start:])
    return document[:start] + re.sub(rb"\sxmlns=", b" xmlns:" + prefix + b"=", body)


def _attribute_order(document: bytes, random: Random) -> bytes:
    return _TWO_ATTRIBUTES.sub(rb"\2\1", document, count=random.choice((0, 1)))


def _quotes(document: bytes, random: Random) -> bytes:
    return re.sub(rb'="([^"\'<>]*)"', rb"='\1'", document, count=random.choice((0, 1, 2)))


def _schema_hint(document: bytes, random: Random) -> bytes:
    hints = (
        b'xsi:schemaLocation="http://crd.gov.pl/wzor/2025/06/25/13775/ schemat.xsd"', b'xsi:schemaLocation="urn:a"', b'xsi:schemaLocation=""',
        b'xsi:noNamespaceSchemaLocation="schemat.xsd"', b'xsi:nil="false"', b'xsi:nil="true"', b'xsi:nil="no"', b'xsi:type="Faktura"', b'xsi:other="1"',
        b'xsi:schemaLocation="urn:a a.xsd urn:b b.xsd"', b'xsi:type=""', b'xsi:type="x:y"', b'xml:lang="pl"', b'xml:space="preserve"', b'xml:id="a"',
        b'xsi:noNamespaceSchemaLocation="http://localhost:9/a b.xsd"',
    )  # fmt: skip
    declaration = b' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    tags = list(_START_TAG.finditer(document))
    if not tags:
        return document
    found = tags[0] if random.random() < 0.6 else random.choice(tags)
    if b"xmlns:xsi" in found[2]:
        declaration = b" "
    return _insert(document, found.end() - 1, declaration + random.choice(hints))


def _replaced(document: bytes, random: Random) -> bytes:
    """Something that is no invoice at all."""
    return random.choice(
        (
            b"", b" ", b"\n\n", b"\x00", b"<", b"<a/>", b"<Faktura/>", b"{}", b"%PDF-1.7", b"PK", b'<?xml version="1.0"?>', b"<!-- -->",
            b"<Faktura xmlns='http://crd.gov.pl/wzor/2025/06/25/13775/'/>", b"\xef\xbb\xbf", b"\xff\xfe<\x00", b"<html><body>",
            bytes(random.randrange(256) for _ in range(random.randint(1, 300))),
        )
    )  # fmt: skip


def _padded(document: bytes, size: int) -> bytes:
    """Return the document with a comment that brings it to exactly this size."""
    missing = size - len(document) - 7
    return document + b"<!--" + b"x" * missing + b"-->" if missing >= 0 else document


_ATTACHMENT = b"<Zalacznik><BlokDanych><MetaDane><ZKlucz>a</ZKlucz><ZWartosc>b</ZWartosc></MetaDane></BlokDanych></Zalacznik></Faktura>"


def _size_without(document: bytes, random: Random) -> bytes:
    return _padded(document, random.choice((999_999, 1_000_000, 1_000_001, 1_048_576, 2_000_000)))


def _size_with(document: bytes, random: Random) -> bytes:
    if b"Zalacznik>" not in document:
        document = document.replace(b"</Faktura>", _ATTACHMENT)
    return _padded(document, random.choice((1_000_001, 2_999_999, 3_000_000, 3_000_001, 3_145_728)))


def _deep(document: bytes, random: Random) -> bytes:
    depth = random.choice((100, 200, 254, 255, 256, 257, 300, 3_000))
    return document.replace(b"</Faktura>", b"<a>" * depth + b"</a>" * depth + b"</Faktura>")


def _many_lines(document: bytes, random: Random) -> bytes:
    """Ten thousand lines are the limit of the XSD."""
    start, end = document.find(b"<FaWiersz>"), document.find(b"</FaWiersz>")
    line = b"<FaWiersz><NrWierszaFa>1</NrWierszaFa></FaWiersz>"
    if start < 0 or end < 0:
        return document
    have = document.count(b"<FaWiersz>")
    return document[:start] + line * (random.choice((9_999, 10_000, 10_001)) - have) + document[start:]


LARGE: dict[str, Callable[[bytes, Random], bytes]] = {
    "size without an attachment": _size_without,
    "size with an attachment": _size_with,
    "ten thousand lines": _many_lines,
}
MUTATIONS: dict[str, Callable[[bytes, Random], bytes]] = {
    "nothing": _nothing,
    "prolog": _prolog,
    "byte order mark": _byte_order_mark,
    "other encoding": _other_encoding,
    "before the root": _before_root,
    "behind the root": _behind_root,
    "between elements": _between_elements,
    "document type": _doctype,
    "unusual character": _character,
    "reference or section": _reference,
    "in an attribute's value": _in_attribute,
    "bytes that are not UTF-8": _bad_utf8,
    "cut off": _cut,
    "beginning lost": _cut_front,
    "bits flipped": _flip,
    "bytes lost": _delete,
    "repeated": _twice,
    "line ends": _line_ends,
    "white space between elements": _white_space,
    "inside a start tag": _in_tag,
    "end tag": _closing_tag,
    "namespace prefix": _prefix,
    "order of attributes": _attribute_order,
    "quotes": _quotes,
    "schema hints": _schema_hint,
    "something else": _replaced,
    "deep": _deep,
    **LARGE,
}
