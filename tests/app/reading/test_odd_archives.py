"""Archives and forms as other libraries write them: padded, uncounted, folded, with something behind them."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.errors import UnreadableUpload
from app.reading.entry import RawEntry, decode_entry
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries

Verdicts = Callable[..., list[tuple[str, bytes | str]]]
CASES = Path(__file__).resolve().parents[3].parent / "shared" / "cases"
END = struct.Struct("<4s4H2LH")


def zip_of(*names: str, comment: bytes = b"", folders: tuple[str, ...] = ()) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in folders:
            info = zipfile.ZipInfo(folder)
            info.create_system, info.external_attr = 0, 0x10
            archive.writestr(info, b"", zipfile.ZIP_DEFLATED)
        for name in names:
            archive.writestr(name, "<a/>")
        archive.comment = comment
    return body.getvalue()


def tar_of(name: str) -> bytes:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.size = 4
        archive.addfile(info, io.BytesIO(b"<a/>"))
    return body.getvalue()


def with_end(body: bytes, **changes: int) -> bytes:
    """Return a ZIP without comment with other numbers in its end record."""
    fields = ["signature", "disk", "start_disk", "here", "entries", "size", "offset", "comment"]
    values = dict(zip(fields, END.unpack(body[-END.size :]), strict=True)) | changes
    return body[: -END.size] + END.pack(*values.values())


def read(kind: BodyKind, body: bytes, **options: Any) -> tuple[list[RawEntry], dict[str, Any]]:
    entries: list[RawEntry] = []
    with pytest.raises(UnreadableUpload) as caught:
        entries.extend(read_entries(kind, io.BytesIO(body), size=len(body), limits=ReadingLimits(), **options))
    [error] = caught.value.errors or []
    return entries, error


@pytest.mark.parametrize("comment", [b"", b"made by hand", b"ends in zeros\0\0\r\n"])
@pytest.mark.parametrize("padding", [b"\0", b"\r\n", b"\n" * 3, bytes(512), bytes(70_000), bytes(1 << 20)])
def test_padding_behind_the_end_of_a_zip_is_no_data(verdicts_of: Verdicts, padding: bytes, comment: bytes) -> None:
    assert verdicts_of(BodyKind.ZIP, zip_of("a.xml", comment=comment) + padding) == [("a.xml", b"<a/>")]


@pytest.mark.parametrize("tail", [b"\0x", b" ", bytes(600) + b"PK\3\4"])
def test_anything_else_behind_the_end_of_a_zip_is_refused(tail: bytes) -> None:
    assert read(BodyKind.ZIP, zip_of("a.xml") + tail)[1]["reason"] == "zip-data-after-end"


def test_a_folder_that_only_the_attribute_of_dos_marks_is_passed_over(verdicts_of: Verdicts) -> None:
    assert verdicts_of(BodyKind.ZIP, zip_of("a.xml", folders=("empty", "empty/in"))) == [("a.xml", b"<a/>")]


def test_the_attribute_of_dos_makes_no_folder_of_a_file_with_bytes_or_with_the_mode_of_a_file(
    verdicts_of: Verdicts,
) -> None:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for name, content, system, mode in (("a.xml", b"<a/>", 0, 0), ("b.xml", b"", 3, 0o100644)):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = system, mode << 16 | 0x10
            archive.writestr(info, content)
    assert [name for name, _ in verdicts_of(BodyKind.ZIP, body.getvalue())] == ["a.xml", "b.xml"]


@pytest.fixture(scope="module")
def many() -> bytes:
    """A ZIP of 65,537 entries, as its ZIP64 writer leaves it."""
    return zip_of(*(f"{number}.xml" for number in range(65_537)))


def without_zip64(many: bytes, count: int) -> bytes:
    locator = many.rfind(b"PK\6\7")
    end64 = many.rfind(b"PK\6\6")
    size, offset = struct.unpack_from("<2Q", many, end64 + 40)
    assert locator > end64
    return many[:end64] + END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)


@pytest.mark.parametrize("count", [1, 65_535])
def test_more_entries_than_fit_their_count_are_all_read_without_zip64(many: bytes, count: int) -> None:
    body = without_zip64(many, count)
    entries = read_entries(BodyKind.ZIP, io.BytesIO(body), size=len(body), limits=ReadingLimits())
    assert sum(entry.fault is None for entry in entries) == 65_537


@pytest.mark.parametrize("count", [0, 2, 40_000])
def test_a_count_that_does_not_agree_sends_nothing_and_names_zip64(many: bytes, count: int) -> None:
    entries, error = read(BodyKind.ZIP, without_zip64(many, count))
    assert (entries, error["reason"]) == ([], "zip-entries-contradict")
    assert "ZIP64" in error["message"]
    assert "65,537" in error["message"]


def test_a_wrong_size_of_the_directory_is_corrected_or_refused_before_anything_is_read(verdicts_of: Verdicts) -> None:
    whole = zip_of("a.xml", "b.xml", "c.xml")
    size = END.unpack(whole[-END.size :])[5]
    assert len(verdicts_of(BodyKind.ZIP, with_end(whole, size=size - 7, here=3, entries=3))) == 3
    assert read(BodyKind.ZIP, with_end(whole, size=size - 7, here=2, entries=2)) == (
        [],
        read(BodyKind.ZIP, with_end(whole, size=size + 1))[1] | {"offset": END.unpack(whole[-END.size :])[6]},
    )


def test_a_zip_of_four_gigabytes_without_zip64_is_refused_and_the_reason_named() -> None:
    class Sparse(io.RawIOBase):
        """Four gigabytes of zeros before the entries of a ZIP, held nowhere."""

        def __init__(self, tail: bytes) -> None:
            self.tail, self.at = tail, 0

        def seek(self, offset: int, whence: int = 0, /) -> int:
            self.at = offset
            return offset

        def read(self, size: int = -1, /) -> bytes:
            begin = self.at - (1 << 32)
            read = self.tail[begin : begin + size] if begin >= 0 else bytes(min(size, -begin))
            self.at += len(read)
            return read

    whole = zip_of("a.xml")
    with pytest.raises(UnreadableUpload, match="ZIP64"):
        list(read_entries(BodyKind.ZIP, Sparse(whole), size=(1 << 32) + len(whole), limits=ReadingLimits()))


@pytest.mark.parametrize("tail", [b"<?php ?>", b"\r\n", b"x", b"\0\0\0trash", b"\x1f"])
def test_something_behind_a_gzip_stream_is_named_and_what_was_read_stays(tail: bytes) -> None:
    coded = gzip.compress(tar_of("a.xml"))
    entries, error = read(BodyKind.TARGZ, coded + tail)
    assert [entry.name for entry in entries] == ["a.xml"]
    at = len(coded) + len(tail) - len(tail.lstrip(b"\0"))
    assert (error["reason"], error["offset"]) == ("gzip-data-after-end", at)
    assert f"{len(tail.lstrip(bytes(1)))} bytes" in error["message"]
    assert "cut" not in error["message"]


def test_members_of_a_gzip_stream_and_zeros_behind_them_are_read_on(verdicts_of: Verdicts) -> None:
    tar = tar_of("a.xml")
    body = gzip.compress(tar[:700]) + bytes(3) + gzip.compress(tar[700:]) + bytes(1_000)
    assert verdicts_of(BodyKind.TARGZ, body) == [("a.xml", b"<a/>")]


FOLDED = (
    'Content-Disposition: form-data;\r\n name="file";\r\n\tfilename="a.xml"\r\nContent-Type:\r\n application/xml\r\n'
)


def test_headers_of_a_part_may_be_folded(verdicts_of: Verdicts) -> None:
    body = f"--B\r\n{FOLDED}\r\n<a/>\r\n--B--".encode()
    assert verdicts_of(BodyKind.MULTIPART, body, boundary="B") == [("a.xml", b"<a/>")]


def test_a_form_whose_lines_end_in_lf_alone_is_read(verdicts_of: Verdicts) -> None:
    body = (f"--B\r\n{FOLDED}\r\n<a>\n</a>\r\n--B \t\r\n{FOLDED}\r\n<b/>\r\n--B--\r\nepilogue").encode()
    body = body.replace(b"\r\n", b"\n")
    assert verdicts_of(BodyKind.MULTIPART, body, boundary="B") == [("a.xml", b"<a>\n</a>"), ("a.xml", b"<b/>")]


def test_a_header_without_a_colon_is_named() -> None:
    body = b"--B\r\nContent-Disposition form-data\r\n\r\n<a/>\r\n--B--"
    _, error = read(BodyKind.MULTIPART, body, boundary="B")
    assert error["reason"] == "multipart-damaged"
    assert "Content-Disposition form-data" in error["message"]


def test_the_bodies_of_real_reports_are_read() -> None:
    if not CASES.exists():
        return
    for name, kind, boundary in (
        ("30c-folder-dosbit.zip", BodyKind.ZIP, None),
        ("32-trailing-zeros.zip", BodyKind.ZIP, None),
        ("41k-folded-header.multipart", BodyKind.MULTIPART, "XbX"),
    ):
        body = (CASES / name).read_bytes()
        limits = ReadingLimits()
        [entry] = read_entries(kind, io.BytesIO(body), size=len(body), limits=limits, boundary=boundary)
        assert decode_entry(entry, 10_000).content.startswith(b"<?xml"), name
    entries, error = read(BodyKind.TARGZ, (CASES / "43e-gz-trailing-garbage.tar.gz").read_bytes())
    assert (len(entries), error["reason"]) == (1, "gzip-data-after-end")
