"""File parts are documents, archives in parts are read where they lie, form fields are passed over."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable

import httpx
import pytest

from app.errors import UnreadableUpload
from app.reading.entry import RawEntry
from app.reading.kinds import BodyKind, boundary_of
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries

Verdicts = Callable[..., list[tuple[str, bytes | str]]]
Reason = Callable[..., str]
Entries = Callable[..., list[RawEntry]]

FILE = 'Content-Disposition: form-data; name="file"; filename="{}"\r\n'


def body_of(*parts: tuple[str, bytes]) -> bytes:
    """Return a body of (headers, content) with the boundary `B`."""
    return b"".join(b"--B\r\n" + head.encode() + b"\r\n" + content + b"\r\n" for head, content in parts) + b"--B--"


def zip_of(*documents: tuple[str, bytes]) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name, content in documents:
            archive.writestr(name, content)
    return body.getvalue()


def targz_of(name: str, content: bytes) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return body.getvalue()


def test_what_an_http_client_sends_is_read(verdicts_of: Verdicts) -> None:
    files = [("file", (f"ż{i}.xml", b"<a>\r\n--%d</a>" % i, "text/xml")) for i in range(3)]
    request = httpx.Request("POST", "http://localhost/", data={"reference": "x"}, files=files)
    boundary = boundary_of(request.headers["content-type"])
    assert verdicts_of(BodyKind.MULTIPART, request.read(), boundary=boundary) == [
        (f"ż{i}.xml", b"<a>\r\n--%d</a>" % i) for i in range(3)
    ]


def test_archives_in_parts_are_read_where_they_lie(verdicts_of: Verdicts, entries_of: Entries) -> None:
    body = body_of(
        (FILE.format("a.xml"), b"<a/>"),
        (FILE.format("b.zip"), zip_of(("b1.xml", b"<b1/>"), ("b2.xml", b"<b2/>"))),
        (FILE.format("c") + "Content-Type: application/octet-stream\r\n", targz_of("c.xml", b"<c/>")),
        (FILE.format("d.jsonl"), b'{"name": "d.xml", "xml": "<d/>"}\n'),
        (FILE.format("e.tar"), gzip.decompress(targz_of("e.xml", b"<e/>"))),
        (FILE.format("f.xml"), b"<f/>"),
    )
    names = ["a.xml", "b1.xml", "b2.xml", "c.xml", "d.xml", "e.xml", "f.xml"]
    expected = [(name, f"<{name[:-4]}/>".encode()) for name in names]
    assert verdicts_of(BodyKind.MULTIPART, body, boundary="B") == expected
    whole = entries_of(BodyKind.MULTIPART, body, boundary="B")
    assert [entry.index for entry in whole] == list(range(7))
    for start in range(8):
        assert entries_of(BodyKind.MULTIPART, body, boundary="B", start_index=start) == whole[start:]


def test_fields_and_empty_inputs_are_passed_over_and_unnamed_xml_is_not(verdicts_of: Verdicts) -> None:
    body = body_of(
        ('Content-Disposition: form-data; name="reference"\r\n', b"2026-11"),
        (FILE.format(""), b""),
        ('Content-Disposition: form-data; name="file"\r\n', b"<a/>"),
        ("", b"<b/>"),
        ("Content-Type: application/xml\r\n", b"not xml"),
        (FILE.format("notes.pdf"), b"%PDF"),
        (FILE.format("empty.xml"), b""),
    )
    assert verdicts_of(BodyKind.MULTIPART, body, boundary="B") == [
        ("entry-0", b"<a/>"),
        ("entry-1", b"<b/>"),
        ("entry-2", b"not xml"),
        ("notes.pdf", b"%PDF"),
        ("empty.xml", b""),
    ]


def test_what_only_looks_like_a_delimiter_is_content(verdicts_of: Verdicts) -> None:
    content = b"<a>\r\n--Bx\r\n--B \tx\r\n-- B\n--B\r\r\n--</a>"
    body = b"preamble\r\n--B \t\r\n" + FILE.format("a.xml").encode() + b"\r\n" + content + b"\r\n--B--\r\nepilogue"
    assert verdicts_of(BodyKind.MULTIPART, body, boundary="B") == [("a.xml", content)]


def test_a_part_in_base64_is_refused_alone(verdicts_of: Verdicts) -> None:
    encoded = FILE.format("a.xml") + "Content-Transfer-Encoding: base64\r\n"
    body = body_of((encoded, b"PGEvPg=="), (FILE.format("b.xml"), b"<b/>"))
    assert verdicts_of(BodyKind.MULTIPART, body, boundary="B") == [
        ("a.xml", "part-encoding"),
        ("b.xml", b"<b/>"),
    ]


def test_an_absurd_name_is_refused_alone(verdicts_of: Verdicts) -> None:
    body = body_of((FILE.format("x" * 2_000), b"<a/>"), (FILE.format("b.xml"), b"<b/>"))
    assert [verdict for _, verdict in verdicts_of(BodyKind.MULTIPART, body, boundary="B")] == [
        "entry-name-unusable",
        b"<b/>",
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "multipart-truncated"),
        (b"<a/>", "multipart-truncated"),
        (b"--B\r\n\r\n<a/>", "multipart-truncated"),
        (b"--B\r\n\r\n<a/>\r\n--B", "multipart-truncated"),
        (b"--B\r\nno colon\r\n\r\n<a/>\r\n--B--", "multipart-damaged"),
        (b"--B\r\nA: " + b"x" * 20_000 + b"\r\n\r\n<a/>\r\n--B--", "multipart-damaged"),
        (body_of((FILE.format("a.zip"), zip_of(("a.xml", b"<a/>"))[:-5])), "zip-truncated"),
    ],
)
def test_a_damaged_body_ends_the_upload_with_a_reason(body: bytes, reason: str, reason_of: Reason) -> None:
    assert reason_of(BodyKind.MULTIPART, body, boundary="B") == reason


def test_a_document_that_looks_like_a_tar_by_chance_is_a_document(verdicts_of: Verdicts) -> None:
    content = b"<" + b"ustar\0\0\0" * 900
    body = body_of((FILE.format("a.xml") + "Content-Type: application/xml\r\n", content), (FILE.format("b"), b"<b/>"))
    assert verdicts_of(BodyKind.MULTIPART, body, boundary="B") == [("a.xml", content), ("b", b"<b/>")]


def test_a_broken_archive_does_not_concern_the_parts_behind_it(limits: ReadingLimits) -> None:
    archive = zip_of(("z.xml", b"<z/>"))
    body = body_of(
        (FILE.format("a.xml"), b"<a/>"),
        (FILE.format("cut.zip"), archive[:-5]),
        (FILE.format("bad.tgz"), targz_of("c.xml", b"<c/>")[:-9]),
        (FILE.format("good.zip"), archive),
        (FILE.format("b.xml"), b"<b/>"),
    )
    seen = []
    with pytest.raises(UnreadableUpload) as caught:  # noqa: PT012 - it is an iterator that raises
        for entry in read_entries(BodyKind.MULTIPART, io.BytesIO(body), size=len(body), limits=limits, boundary="B"):
            seen.append(entry.name)  # noqa: PERF401 - what came before the error is wanted
    assert seen == ["a.xml", "c.xml", "z.xml", "b.xml"]
    assert [(item["reason"], item["part"]) for item in caught.value.errors or ()] == [
        ("zip-truncated", "cut.zip"),
        ("gzip-truncated", "bad.tgz"),
    ]


def test_an_upload_that_asks_for_too_much_ends_at_once(limits: ReadingLimits) -> None:
    archive = zip_of(*((f"{i}.xml", b"<a/>") for i in range(6)))
    body = body_of((FILE.format("a.zip"), archive), (FILE.format("b.xml"), b"<b/>"))
    seen = []
    few = ReadingLimits(max_entries=5)
    with pytest.raises(UnreadableUpload, match="more than 5 entries"):  # noqa: PT012 - it is an iterator that raises
        for entry in read_entries(BodyKind.MULTIPART, io.BytesIO(body), size=len(body), limits=few, boundary="B"):
            seen.append(entry.name)  # noqa: PERF401 - what came before the error is wanted
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('form-data; name="f"; filename="zażółć.xml"'.encode(), "zażółć.xml"),
        ('form-data; name="f"; filename="zażółć.xml"'.encode("cp1250"), "zażółć.xml"),
        (b'form-data; name="f"; filename="a\\"b.xml"', 'a"b.xml'),
        (b'form-data; name="f"; filename="a%22b.xml"', 'a"b.xml'),
        (b'form-data; name="f"; filename="a;b.xml"', "a;b.xml"),
        (b"form-data; name=f; filename=plain.xml", "plain.xml"),
        (b'form-data; name="f"; FileName="x.xml"', "x.xml"),
        (b"form-data; name=\"f\"; filename*=utf-8''za%C5%BC%C3%B3%C5%82.xml", "zażół.xml"),
        (b"form-data; name=\"f\"; filename*=UTF-8'pl'%C5%BC.xml; size=4", "ż.xml"),
        (b"form-data; filename*=ISO-8859-2''%BF.xml", "ż.xml"),
        (b"form-data; filename*=unknown''%C5%BC.xml", "ż.xml"),
        (b"form-data; filename=\"plain.xml\"; filename*=UTF-8''other.xml", "plain.xml"),
        (b'form-data; name="f"; filename="C:\\fakepath\\a.xml"', "a.xml"),
        (b'form-data; name="f"; filename="folder/sub/a.xml"', "folder/sub/a.xml"),
    ],
)
def test_file_names_are_read_as_clients_write_them(disposition: bytes, name: str, verdicts_of: Verdicts) -> None:
    body = b"--B\r\nContent-Disposition: " + disposition + b"\r\n\r\n<a/>\r\n--B--\r\n"
    assert verdicts_of(BodyKind.MULTIPART, body, boundary="B") == [(name, b"<a/>")]


def test_system_files_of_a_folder_that_a_browser_sends_are_passed_over(verdicts_of: Verdicts) -> None:
    body = body_of((FILE.format("faktury/.DS_Store"), b"junk"), (FILE.format("faktury/a.xml"), b"<a/>"))
    assert verdicts_of(BodyKind.MULTIPART, body, boundary="B") == [("faktury/a.xml", b"<a/>")]
