"""Bodies in which no invoice is found: an error that names what they hold instead."""

import gzip
import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from app.errors import UnreadableUpload
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries

CASES = Path(__file__).resolve().parents[3].parent / "shared" / "cases"


def zip_with(*names: str) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return body.getvalue()


def tar_with(*names: str) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(info)
    return body.getvalue()


def form(*parts: tuple[str, bytes]) -> bytes:
    made = b"".join(
        b"--B\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (head.encode(), body) for head, body in parts
    )
    return made + b"--B--\r\n"


def error_of(kind: BodyKind, body: bytes, **options: Any) -> dict[str, Any]:
    with pytest.raises(UnreadableUpload) as caught:
        list(read_entries(kind, io.BytesIO(body), size=len(body), limits=ReadingLimits(), **options))
    [error] = caught.value.errors or []
    return error


NO_PARTS = b"--B--\r\n"
FIELD_WITH_PATH = form(('name="file"', b"/home/anna/faktury/FV1.xml"), ('name="note"', b"night run"))


@pytest.mark.parametrize(
    ("kind", "body", "passed_over"),
    [
        pytest.param(BodyKind.ZIP, zip_with(), [], id="an empty ZIP"),
        pytest.param(BodyKind.ZIP, zip_with("a/", "a/b/", "c/"), [("folder", 3, ["a/", "a/b/", "c/"])], id="folders"),
        pytest.param(
            BodyKind.ZIP,
            zip_with("a/", "__MACOSX/", "__MACOSX/a", "a/.DS_Store", "Thumbs.db"),
            [("folder", 2, ["a", "__MACOSX"]), ("system-file", 3, ["__MACOSX/a", "a/.DS_Store", "Thumbs.db"])],
            id="system files",
        ),
        pytest.param(BodyKind.TAR, bytes(10_240), [], id="a tar of zeros"),
        pytest.param(BodyKind.TAR, tar_with("in/"), [("folder", 1, ["in"])], id="a tar of folders"),
        pytest.param(BodyKind.TARGZ, gzip.compress(bytes(1_024)), [], id="a tar.gz of zeros"),
        pytest.param(BodyKind.NDJSON, b"", [], id="no lines"),
        pytest.param(BodyKind.NDJSON, b"\xef\xbb\xbf\r\n \t\r\n" * 1, [("blank-line", 2, [])], id="blank lines"),
        pytest.param(BodyKind.NDJSON, b"\n" * 100_000, [("blank-line", 100_000, [])], id="very many blank lines"),
        pytest.param(BodyKind.MULTIPART, NO_PARTS, [], id="a form without parts"),
        pytest.param(
            BodyKind.MULTIPART,
            FIELD_WITH_PATH,
            [("form-field", 2, ["file=/home/anna/faktury/FV1.xml", "note"])],
            id="a field with a path",
        ),
        pytest.param(
            BodyKind.MULTIPART,
            form(('name="a"; filename=""', b""), ('name="b"', b"")),
            [("empty-part", 2, ["a", "b"])],
            id="a form whose files were not chosen",
        ),
        pytest.param(
            BodyKind.MULTIPART,
            form(('name="a"; filename="n.zip"', zip_with("f/")), ('name="b"; filename="e.zip"', zip_with())),
            [("folder", 1, ["f/"]), ("archive", 2, ["n.zip", "e.zip"])],
            id="archives of nothing in a form",
        ),
    ],
)
def test_a_body_without_an_invoice_is_an_error_that_names_what_it_holds(
    kind: BodyKind, body: bytes, passed_over: list[tuple[str, int, list[str]]]
) -> None:
    error = error_of(kind, body, boundary="B")
    assert error["reason"] == "no-invoices-found"
    found = [(one["kind"], one["count"], [name.rstrip("/") for name in one["names"]]) for one in error["passed_over"]]
    assert found == [(kind, count, [name.rstrip("/") for name in names]) for kind, count, names in passed_over]
    for name in (name for _, _, names in passed_over for name in names):
        assert name.rstrip("/") in error["message"]
        assert name.rstrip("/") in error["message_pl"]


def test_a_field_that_holds_a_path_gets_the_advice_for_curl() -> None:
    error = error_of(BodyKind.MULTIPART, FIELD_WITH_PATH, boundary="B")
    assert "-F file=@PATH" in error["message"]
    assert "-F file=@ŚCIEŻKA" in error["message_pl"]
    assert "@PATH" not in error_of(BodyKind.MULTIPART, form(('name="a"', b"x")), boundary="B")["message"]


def test_a_compressed_body_of_nothing_is_one_too() -> None:
    assert error_of(BodyKind.NDJSON, gzip.compress(b"\n\n"), gzip_coded=True)["reason"] == "no-invoices-found"


def test_reading_that_resumes_behind_the_last_invoice_finds_no_fault() -> None:
    body = b'{"xml": "<a/>"}\n'
    limits = ReadingLimits()
    assert not list(read_entries(BodyKind.NDJSON, io.BytesIO(body), size=len(body), limits=limits, start_index=1))


def test_very_many_folders_are_counted_and_the_first_named() -> None:
    error = error_of(BodyKind.ZIP, zip_with(*(f"{number}/" for number in range(2_000))))
    assert "folders: 2,000 (0, 1, 2, 3, 4, …)" in error["message"].replace("/", "")


def test_the_bodies_of_real_reports_are_named_too() -> None:
    if CASES.exists():
        error = error_of(BodyKind.MULTIPART, (CASES / "60-curl-F-without-at.multipart").read_bytes(), boundary="X")
        assert error["reason"] == "no-invoices-found"
        assert "/home/ja/faktury/FV1.xml" in error["message"]
        assert error_of(BodyKind.ZIP, (CASES / "63-folders.zip").read_bytes())["reason"] == "no-invoices-found"
