"""Bodies sent as NDJSON that are in another encoding or of another kind: one error, and nothing of them goes on."""

import codecs
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import UnreadableUpload
from app.reading.entry import RawEntry, decode_entry
from app.reading.faults import EntryUnreadable
from app.reading.kinds import BodyKind, sniff
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries

Verdicts = Callable[..., list[tuple[str, bytes | str]]]
CASES = Path(__file__).resolve().parents[3].parent / "shared" / "cases"
LINES = [
    json.dumps({"name": f"{number}.xml", "xml": "<Faktura>ż</Faktura>"}, ensure_ascii=False) for number in range(3)
]


def read(
    body: bytes, kind: BodyKind = BodyKind.NDJSON, *, gzip_coded: bool = False
) -> tuple[list[RawEntry], dict[str, object]]:
    entries: list[RawEntry] = []
    with pytest.raises(UnreadableUpload) as caught:
        entries.extend(
            read_entries(kind, io.BytesIO(body), size=len(body), limits=ReadingLimits(), gzip_coded=gzip_coded)
        )
    [error] = caught.value.errors or []
    return entries, error


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize(
    ("encoding", "mark", "title"),
    [
        ("utf-16-le", codecs.BOM_UTF16_LE, "UTF-16 (little-endian)"),
        ("utf-16-be", codecs.BOM_UTF16_BE, "UTF-16 (big-endian)"),
        ("utf-32-le", codecs.BOM_UTF32_LE, "UTF-32 (little-endian)"),
        ("utf-32-be", codecs.BOM_UTF32_BE, "UTF-32 (big-endian)"),
    ],
)
def test_lines_in_a_wide_encoding_are_one_error_that_names_it(
    encoding: str, mark: bytes, title: str, marked: bool, end: str
) -> None:
    body = (mark if marked else b"") + "".join(line + end for line in LINES).encode(encoding)
    entries, error = read(body)
    assert (entries, error["reason"], error["offset"]) == ([], "ndjson-encoding", 0)
    assert title in str(error["message"])
    assert title in str(error["message_pl"])
    assert read(gzip.compress(body), gzip_coded=True)[1]["reason"] == "ndjson-encoding"
    assert sniff("", body[:512]) is BodyKind.NDJSON


def test_a_single_line_and_blank_first_lines_in_a_wide_encoding_are_noticed() -> None:
    for text in (LINES[0], "\r\n  " + LINES[0], " " + LINES[0] + "\n"):
        assert read(text.encode("utf-16-le"))[1]["reason"] == "ndjson-encoding"


def test_lines_of_utf_16_behind_lines_of_utf_8_end_the_reading() -> None:
    body = LINES[0].encode() + b"\n" + ("\ufeff" + LINES[1] + "\r\n" + LINES[2] + "\r\n").encode("utf-16-le")
    entries, error = read(body)
    assert [entry.name for entry in entries] == ["line-1"]
    assert error["reason"] == "ndjson-encoding"
    assert "before line 2" in str(error["message"])


def test_a_mark_of_utf_8_is_harmless_on_every_line(verdicts_of: Verdicts) -> None:
    body = b"".join(codecs.BOM_UTF8 + line.encode() + b"\n" for line in LINES)
    assert [name for name, _ in verdicts_of(BodyKind.NDJSON, body)] == ["0.xml", "1.xml", "2.xml"]


def test_a_line_with_a_zero_byte_is_refused_alone(verdicts_of: Verdicts) -> None:
    body = b'{"xml": "<a/>"}\n{"xml": "<b\0/>"}\n{"xml": "<c/>"}\n'
    assert [found for _, found in verdicts_of(BodyKind.NDJSON, body)] == [b"<a/>", "line-not-json", b"<c/>"]


def test_a_line_in_a_code_page_is_refused_alone_and_the_byte_is_named() -> None:
    body = b'{"xml": "<a/>"}\n' + '{"xml": "<b>ż</b>"}'.encode("cp1250")
    first, second = read_entries(BodyKind.NDJSON, io.BytesIO(body), size=len(body), limits=ReadingLimits())
    assert decode_entry(first, 100).content == b"<a/>"
    with pytest.raises(EntryUnreadable, match="not UTF-8, byte BF"):
        decode_entry(second, 100)


def zip_of_one() -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("a.xml", "<a/>")
    return body.getvalue()


def tar_of_one() -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.xml"))
    return body.getvalue()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (("[" + ",\n".join(LINES) + "]").encode(), "JSON array"),
        (b"\xef\xbb\xbf[\r\n " + ",\r\n ".join(LINES).encode() + b"\r\n]\r\n", "JSON array"),
        (json.dumps([json.loads(line) for line in LINES]).encode(), "JSON array"),
        (json.dumps([json.loads(line) for line in LINES], indent=2).encode(), "JSON array"),
        (b"".join(json.dumps(json.loads(line), indent=1).encode() + b"\n" for line in LINES), "several lines"),
        (b'{ "name": "a",\n  "xml": "<a/>" }\n', "several lines"),
        (",\n".join(LINES).encode(), "commas"),
        (b"name;xml\r\n" + b"a.xml;<a/>\r\n" * 5_000, "no JSON objects"),
        (b'"name","xml"\n' + b'"a.xml","<a/>"\n' * 5, "no JSON objects"),
        (b'<?xml version="1.0"?>\n<Faktura>\n<Fa/>\n</Faktura>', "application/xml"),
        (b"<a/>", "application/xml"),
        (zip_of_one(), "application/zip"),
        (tar_of_one(), "application/x-tar"),
        (gzip.compress(LINES[0].encode()), "application/gzip"),
    ],
)
def test_a_body_of_another_kind_is_one_error(body: bytes, words: str) -> None:
    entries, error = read(body)
    assert (entries, error["reason"]) == ([], "not-ndjson")
    assert words in str(error["message"])


@pytest.mark.parametrize(
    "body",
    [
        b'[1]\n{"xml": "<b/>"}\n',
        b'# lines\n{"xml": "<b/>"}\n',
        b'<a/>\n{"xml": "<b/>"}\n',
        b'{"xml": "<a/>\n{"xml": "<b/>"}\n',
        b'{"xml": "<a/>"},\n{"xml": "<b/>"}\n',
    ],
)
def test_one_bad_line_at_the_start_keeps_no_other_from_being_read(verdicts_of: Verdicts, body: bytes) -> None:
    assert [found for _, found in verdicts_of(BodyKind.NDJSON, body)] == ["line-not-json", b"<b/>"]


def test_the_body_of_a_real_report_is_one_error() -> None:
    if CASES.exists():
        entries, error = read((CASES / "42b-utf16le-ndjson-lf.ndjson").read_bytes())
        assert (entries, error["reason"]) == ([], "ndjson-encoding")
