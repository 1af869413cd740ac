"""Ready entries hold their document, and nothing that lies about its size gets out of one."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.package.entries import (
    PackageEntry,
    check_name,
    compress,
    compress_entry,
    crc32,
    decompress,
    document_of,
    ready_stream,
)
from app.package.errors import MalformedEntry


@given(st.binary(max_size=5_000))
def test_a_document_comes_back_from_its_entry(document: bytes) -> None:
    entry = compress_entry("a.xml", document)
    assert document_of(entry) == document
    assert (entry.size, entry.crc32) == (len(document), zlib.crc32(document))


@given(st.binary(max_size=5_000))
def test_any_inflater_reads_what_we_deflate(document: bytes) -> None:
    inflater = zlib.decompressobj(-15)
    assert inflater.decompress(compress(document)) == document
    assert inflater.eof


@given(st.binary(min_size=1, max_size=500), st.integers(min_value=1, max_value=40))
def test_a_stream_that_came_with_a_document_is_kept_if_it_is_compressed_at_all(piece: bytes, times: int) -> None:
    document = piece * times
    deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
    given_stream = deflater.compress(document) + deflater.flush()
    ready = ready_stream(document, given_stream)
    assert decompress(ready, len(document)) == document
    assert (ready == given_stream) == (len(given_stream) <= 0.6 * len(document)) or ready == compress(document)
    assert ready_stream(document, None) == compress(document)


def test_a_stream_that_only_stores_its_document_is_made_anew() -> None:
    document = b"<a>" + b"b" * 5_000 + b"</a>"
    stored = zlib.compressobj(0, zlib.DEFLATED, -15)
    ready = ready_stream(document, stored.compress(document) + stored.flush())
    assert len(ready) < 200
    assert decompress(ready, len(document)) == document


@given(st.binary(min_size=1, max_size=3_000), st.integers(min_value=0, max_value=6_000))
def test_a_wrong_size_on_record_is_found(document: bytes, size: int) -> None:
    if size == len(document):
        assert decompress(compress(document), size) == document
    else:
        with pytest.raises(MalformedEntry):
            decompress(compress(document), size)


def test_a_bomb_is_not_inflated_beyond_the_size_on_record() -> None:
    bomb = compress(bytes(50_000_000))
    with pytest.raises(MalformedEntry, match="more than the 1000 bytes"):
        decompress(bomb, 1_000)


@given(st.binary(min_size=1, max_size=500), st.data())
def test_a_cut_stream_is_found(document: bytes, data: st.DataObject) -> None:
    compressed = compress(document)
    kept = data.draw(st.integers(0, len(compressed) - 1))
    with pytest.raises(MalformedEntry):
        decompress(compressed[:kept], len(document))


def test_bytes_after_the_stream_are_found() -> None:
    with pytest.raises(MalformedEntry, match="followed"):
        decompress(compress(b"<a/>") + b"x", 4)


def test_damaged_data_are_found_by_the_checksum() -> None:
    entry = PackageEntry("a.xml", crc32(b"<a/>"), 4, compress(b"<b/>"))
    with pytest.raises(MalformedEntry, match="CRC-32"):
        document_of(entry)


def test_garbage_is_a_malformed_entry() -> None:
    with pytest.raises(MalformedEntry, match="damaged"):
        decompress(b"\xff" * 40, 10)


@pytest.mark.parametrize("name", ["a.xml", "A-1_b.2.xml", "x" * 96 + ".xml", ".xml.xml"])
def test_a_plain_name_is_taken(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".xml",
        "a",
        "a.XML",
        "a.xml\n",
        "a/b.xml",
        "..\\a.xml",
        "ż.xml",
        "a b.xml",
        "a\0.xml",
        "x" * 97 + ".xml",
    ],
)
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(MalformedEntry):
        check_name(name)
