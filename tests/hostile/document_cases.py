"""Hostile documents, each between two valid invoices in a ZIP that compresses nothing."""

import base64
from collections.abc import Callable
from typing import Final

from app.reading.kinds import BodyKind
from tests.hostile.bodies import Entry, between
from tests.hostile.harness import Case, invoice


def _put(old: str, new: bytes) -> bytes:
    document = invoice("FV/x")
    assert old.encode() in document
    return document.replace(old.encode(), new, 1)


def _doctype(subset: str, use: str = "FV/x") -> bytes:
    return _put("<Faktura", f"<!DOCTYPE Faktura {subset}><Faktura".encode()).replace(b"FV/x", use.encode(), 1)


def _laughs() -> bytes:
    layers = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 30))
    return _doctype(f'[<!ENTITY l0 "ha">{layers}]', "&l29;")


def _quadratic() -> bytes:
    return _doctype(f'[<!ENTITY a "{"a" * 100_000}">]', "&a;" * 200_000)


def _case(name: str, make: Callable[[], bytes], *rules: str, valid: int = 2) -> Case:
    refused = {rule: rules.count(rule) for rule in rules}
    return Case(f"document: {name}", BodyKind.ZIP, lambda: between(Entry(content=make(), method=0)), valid, refused)


_ROW: Final = b"<FaWiersz><NrWierszaFa>x</NrWierszaFa><P_8B>x</P_8B><P_9A>x</P_9A></FaWiersz>"

CASES: Final = [
    _case("billion laughs", _laughs, "doctype"),
    _case("quadratic entities", _quadratic, "doctype"),
    _case("external entity of a file", lambda: _doctype('[<!ENTITY f SYSTEM "file:///etc/passwd">]', "&f;"), "doctype"),
    _case("external entity of an address", lambda: _doctype('[<!ENTITY f SYSTEM "http://127.0.0.1:1/x">]', "&f;"), "doctype"),
    _case("parameter entity", lambda: _doctype('[<!ENTITY % p SYSTEM "http://127.0.0.1:1/x"> %p;]'), "doctype"),
    _case("external subset", lambda: _doctype('SYSTEM "http://127.0.0.1:1/x.dtd"'), "doctype"),
    _case("device as an entity", lambda: _doctype('[<!ENTITY f SYSTEM "file:///dev/zero">]', "&f;"), "doctype"),
    _case("entity that was not declared", lambda: _put("FV/x", b"&nothing;"), "not-well-formed"),
    _case("XInclude of a file", lambda: _put("<Fa>", b'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="/etc/passwd" parse="text"/><Fa>'), "xsd-foreign-namespace"),
    _case("schema of an address", lambda: _put("<Naglowek>", b'<Naglowek xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="u http://127.0.0.1:1/x.xsd">'), valid=3),
    _case("processing instruction", lambda: _put("<Faktura", b'<?xml-stylesheet href="http://127.0.0.1:1/x"?><Faktura'), "processing-instruction"),
    _case("200,000 levels", lambda: _put("<Naglowek>", b"<a>" * 200_000), "not-well-formed"),
    _case("200,000 levels, closed", lambda: _put("<Naglowek>", b"<a>" * 200_000 + b"</a>" * 200_000 + b"<Naglowek>"), "not-well-formed"),
    _case("250 levels", lambda: _put("<Naglowek>", b"<a>" * 250 + b"</a>" * 250 + b"<Naglowek>"), "xsd-unexpected-element"),
    _case("200,000 attributes", lambda: _put("<Naglowek>", b"<Naglowek " + b" ".join(b'a%d=""' % n for n in range(200_000)) + b">"), "too-many-attributes"),
    _case("400,000 attributes of one name", lambda: _put("<Naglowek>", b"<Naglowek" + b' a=""' * 400_000 + b">"), "not-well-formed"),
    _case("150,000 namespaces", lambda: _put("<Naglowek>", b"<Naglowek " + b" ".join(b'xmlns:a%d="u"' % n for n in range(150_000)) + b">"), "too-many-attributes"),
    _case("70,000 elements with a namespace each", lambda: _put("<Naglowek>", b"".join(b'<a%d xmlns="u%d"/>' % (n, n) for n in range(70_000)) + b"<Naglowek>"), "too-large-without-attachment"),
    _case("500,000 elements", lambda: _put("  </Fa>", b"<a/>" * 500_000 + b"</Fa>"), "too-large-without-attachment"),
    _case("250,000 names", lambda: _put("  </Fa>", b"".join(b"<a%d/>" % n for n in range(250_000)) + b"</Fa>"), "too-large-without-attachment"),
    _case("9,000 rows that break every rule", lambda: _put("  </Fa>", _ROW * 9_000 + b"</Fa>"), "xsd-bad-value"),
    _case("text of 2.9 MB", lambda: _put("FV/x", b"x" * 2_900_000), "too-large-without-attachment"),
    _case("attribute of 2.9 MB", lambda: _put("<Naglowek>", b'<Naglowek a="' + b"x" * 2_900_000 + b'">'), "too-large-without-attachment"),
    _case("comment of 2.9 MB", lambda: _put("<Naglowek>", b"<!--" + b"x" * 2_900_000 + b"--><Naglowek>"), "too-large-without-attachment"),
    _case("700,000 open comments", lambda: _put("<Naglowek>", b"<!--" * 700_000), "not-well-formed"),
    _case("CDATA of 2.9 MB", lambda: _put("FV/x", b"<![CDATA[" + b"x" * 2_900_000 + b"]]>"), "too-large-without-attachment"),
    _case("200,000 open CDATA", lambda: _put("FV/x", b"<![CDATA[" * 200_000), "not-well-formed"),
    _case("400,000 references to characters", lambda: _put("FV/x", b"&#x41;" * 400_000), "too-large-without-attachment"),
    _case("references that do not end", lambda: _put("FV/x", b"&#x0" * 700_000), "not-well-formed"),
    _case("reference to a forbidden character", lambda: _put("FV/x", b"&#0;"), "not-well-formed"),
    _case("number of two million digits", lambda: _put("123.00", b"9" * 2_000_000), "too-large-without-attachment"),
    _case("blanks of 2.9 MB in a number", lambda: _put("123.00", b" " * 2_900_000 + b"123"), "too-large-without-attachment"),
    _case("name of 2 MB", lambda: _put("<Naglowek>", b"<" + b"n" * 2_000_000 + b"/>"), "not-well-formed"),
    _case("UTF-16 without a mark", lambda: invoice("t").decode().replace("UTF-8", "UTF-16").encode("utf-16-le"), "not-utf-8"),
    _case("UTF-16 with a mark", lambda: invoice("t").decode().replace("UTF-8", "UTF-16").encode("utf-16"), "not-utf-8"),
    _case("UTF-7", lambda: invoice("t").replace(b"UTF-8", b"UTF-7"), "declared-encoding"),
    _case("EBCDIC", lambda: invoice("t").decode().replace("UTF-8", "cp037").encode("cp037", "replace"), "not-utf-8"),
    _case("UTF-32", lambda: invoice("t").decode().encode("utf-32"), "not-utf-8"),
    _case("an unknown encoding", lambda: invoice("t").replace(b"UTF-8", b"x-none"), "declared-encoding"),
    _case("mark of byte order", lambda: b"\xef\xbb\xbf" + invoice("t"), "byte-order-mark"),
    _case("bytes that are no UTF-8", lambda: _put("FV/x", b"\xc0\xaf\xed\xa0\x80\xff"), "not-utf-8"),
    _case("NUL", lambda: _put("FV/x", b"a\0b"), "not-well-formed"),
    _case("2.9 MB of NUL", lambda: bytes(2_900_000), "not-well-formed"),
    _case("a byte too large", lambda: invoice("t") + b" " * (3_000_001 - len(invoice("t"))), "entry-too-large"),
    _case("nothing", lambda: b"", "empty-document"),
    _case("blanks", lambda: b" \r\n" * 100_000, "empty-document"),
    _case("a PDF", lambda: b"%PDF-1.7\n" + bytes(range(256)) * 400, "not-utf-8"),
    _case("HTML", lambda: b"<!doctype html><p>Faktura<br>", "doctype"),
    _case("cut in the middle", lambda: invoice("t")[:700], "not-well-formed"),
    _case("two documents", lambda: invoice("t") + invoice("u"), "processing-instruction"),
    _case("another root", lambda: b"<a/>", "form-not-supported"),
    _case("attachment of 2.9 MB of Base64", lambda: _put("</Faktura>", b"<Zalacznik>" + base64.b64encode(bytes(2_100_000)) + b"</Zalacznik></Faktura>"), "xsd-unexpected-text"),
]  # fmt: skip
