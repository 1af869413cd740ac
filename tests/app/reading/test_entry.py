"""A pool process gets exactly the document out of an entry, or a typed reason, and never too many bytes."""

import base64
import json
import pickle
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.findings import Severity
from app.reading import faults
from app.reading.entry import Encoding, RawEntry, decode_entry
from app.reading.faults import EntryUnreadable

LIMIT = 10_000


def deflated(content: bytes, size: int | None = None, crc: int | None = None) -> RawEntry:
    deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
    payload = deflater.compress(content) + deflater.flush()
    return RawEntry(0, "a.xml", Encoding.DEFLATE, payload, size, crc)


def line(value: Any) -> RawEntry:
    payload = value if isinstance(value, bytes) else json.dumps(value).encode()
    return RawEntry(4, "line-5", Encoding.NDJSON_LINE, payload)


def rule_of(entry: RawEntry) -> str:
    with pytest.raises(EntryUnreadable) as caught:
        decode_entry(entry, LIMIT)
    return caught.value.rule


@given(st.binary(max_size=2_000).map(lambda tail: b"<" + tail))
def test_every_encoding_gives_back_the_document(content: bytes) -> None:
    encoded = base64.b64encode(content).decode()
    for entry in (
        RawEntry(0, "a.xml", Encoding.PLAIN, content, len(content), zlib.crc32(content)),
        deflated(content, len(content), zlib.crc32(content)),
        deflated(content),
        line({"name": "a.xml", "xml_base64": encoded}),
    ):
        document = decode_entry(entry, LIMIT)
        assert (document.name, document.content) == ("a.xml", content)


@given(st.binary(max_size=2_000).map(lambda tail: b"<" + tail), st.binary(min_size=1, max_size=20))
def test_a_stream_is_passed_on_only_if_it_is_the_document_and_nothing_else(content: bytes, rest: bytes) -> None:
    entry = deflated(content, len(content), zlib.crc32(content))
    assert decode_entry(entry, LIMIT).deflated == entry.payload
    followed = RawEntry(0, "a.xml", Encoding.DEFLATE, entry.payload + rest, len(content), zlib.crc32(content))
    assert decode_entry(followed, LIMIT)[1:] == (content, None)
    assert decode_entry(RawEntry(0, "a.xml", Encoding.PLAIN, content), LIMIT).deflated is None


@given(st.text(max_size=500).filter(lambda text: not text.encode("utf-8", "replace").startswith((b"PK", b"Rar"))))
def test_a_text_line_gives_its_utf8(text: str) -> None:
    entry = line({"name": "a.xml", "xml": text})
    try:
        expected = text.encode()
    except UnicodeEncodeError:
        assert rule_of(entry) == "line-text"
    else:
        assert decode_entry(entry, LIMIT).content == expected


def test_wrapped_base64_is_taken() -> None:
    encoded = base64.encodebytes(b"<a/>" * 100).decode()
    assert decode_entry(line({"name": "a", "xml_base64": encoded}), LIMIT).content == b"<a/>" * 100


def test_a_line_without_a_name_keeps_its_number() -> None:
    assert decode_entry(line({"xml": "<a/>"}), LIMIT).name == "line-5"


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (b"{", "line-not-json"),
        (b"\xff\xfe", "line-not-json"),
        (b"[" * 200_000, "line-not-json"),
        ([1], "line-not-json"),
        ({}, "line-shape"),
        ({"name": "a"}, "line-shape"),
        ({"name": 1, "xml": "<a/>"}, "line-shape"),
        ({"name": "a", "xml": "<a/>", "xml_base64": "PGEvPg=="}, "line-shape"),
        ({"name": "a", "xml": 1}, "line-shape"),
        ({"name": "a", "xml_base64": ["PGEvPg=="]}, "line-shape"),
        ({"name": "a", "xml_base64": "PGEvPg="}, "line-base64"),
        ({"name": "a", "xml_base64": "PGEv*g=="}, "line-base64"),
        ({"name": "a", "xml_base64": "ż"}, "line-base64"),
        (b'{"name": "a", "xml": "\\ud800"}', "line-text"),
        ({"name": "a", "xml": "<" * (LIMIT + 1)}, "entry-too-large"),
        ({"name": "a", "xml": "ż" * LIMIT}, "entry-too-large"),
        ({"name": "a", "xml_base64": base64.b64encode(bytes(LIMIT + 1)).decode()}, "entry-too-large"),
        ({"name": "a", "xml_base64": base64.b64encode(bytes(9 * LIMIT)).decode()}, "entry-too-large"),
    ],
)
def test_a_line_that_is_no_document_says_why(value: Any, rule: str) -> None:
    assert rule_of(line(value)) == rule


def test_a_document_of_exactly_the_limit_is_taken() -> None:
    content = b"<" * LIMIT
    assert decode_entry(deflated(content, LIMIT), LIMIT).content == content
    encoded = base64.b64encode(content).decode()
    assert decode_entry(line({"name": "a", "xml_base64": encoded}), LIMIT).content == content


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        (deflated(b"<a/>", 5), "entry-damaged"),
        (deflated(b"<a/>", 3), "entry-damaged"),
        (deflated(b"<a/>", 4, 1), "entry-damaged"),
        (RawEntry(0, "a", Encoding.DEFLATE, b"\xff\xff\xff", 3), "entry-damaged"),
        (RawEntry(0, "a", Encoding.DEFLATE, b"", 0), "entry-damaged"),
        (RawEntry(0, "a", Encoding.DEFLATE, deflated(b"<abc/>" * 9).payload[:-3], 54), "entry-damaged"),
        (deflated(bytes(50_000_000), 50_000_000), "entry-too-large"),
        (deflated(bytes(50_000_000)), "entry-too-large"),
        (RawEntry(0, "a", Encoding.PLAIN, bytes(LIMIT + 1)), "entry-too-large"),
        (RawEntry(0, "a", Encoding.PLAIN, b"PK\3\4 and so on"), "entry-is-an-archive"),
        (RawEntry(0, "a", Encoding.PLAIN, b"", fault=faults.ENCRYPTED), "entry-encrypted"),
    ],
)
def test_an_entry_that_is_not_what_it_claims_says_why(entry: RawEntry, rule: str) -> None:
    assert rule_of(entry) == rule


def test_a_reason_survives_the_way_back_from_a_pool_process() -> None:
    error = pickle.loads(pickle.dumps(EntryUnreadable(faults.ENCRYPTED)))
    assert isinstance(error, EntryUnreadable)
    finding = error.finding()
    assert (finding.rule, finding.severity) == ("entry-encrypted", Severity.ERROR)
    assert "hasłem" in finding.message_pl


def test_an_entry_survives_the_way_to_a_pool_process() -> None:
    entry = RawEntry(3, "a.xml", Encoding.PLAIN, b"<a/>", 4, 5, faults.RATIO)
    assert pickle.loads(pickle.dumps(entry)) == entry
