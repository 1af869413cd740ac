"""Tars as programs really write them, and as nobody should."""

import gzip
import io
import os
import tarfile
from collections.abc import Callable

import pytest

from app.reading.entry import RawEntry
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits

Verdicts = Callable[..., list[tuple[str, bytes | str]]]
Reason = Callable[..., str]
Entries = Callable[..., list[RawEntry]]


def member(name: str, content: bytes = b"<a/>", kind: bytes = tarfile.REGTYPE, **fields: object) -> bytes:
    """Return a header with its data, without an end."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


END = bytes(1024)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_every_form_of_the_standard_library_is_read(form: int, mode: str, verdicts_of: Verdicts) -> None:
    deep = "/".join(["folder"] * 20) + "/" + "x" * 60 + ".xml"
    names = ["a.xml", deep] + ([] if form == tarfile.USTAR_FORMAT else ["zażółć.xml", "y" * 150 + ".xml"])
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode=mode, format=form) as archive:  # type: ignore[call-overload]  # mode is text
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"<a/>"))
    kind = BodyKind.TARGZ if mode == "w:gz" else BodyKind.TAR
    assert verdicts_of(kind, body.getvalue()) == [(name, b"<a/>") for name in names]


def test_folders_and_system_files_are_passed_over(entries_of: Entries) -> None:
    body = b"".join(
        (
            member("./", b"", tarfile.DIRTYPE),
            member("./.DS_Store", b"junk"),
            member("./._a.xml", b"\0\5\x16\7\0\2\0\0Mac OS X"),
            member("./a.xml"),
            member("old/", b"", tarfile.AREGTYPE),
            member("./._b.xml", b"<b/>"),
            END,
        )
    )
    read = entries_of(BodyKind.TAR, body)
    assert [(entry.index, entry.name, entry.payload) for entry in read] == [
        (0, "a.xml", b"<a/>"),
        (1, "._b.xml", b"<b/>"),
    ]


@pytest.mark.parametrize(
    ("refused", "rule"),
    [
        (member("l", b"", tarfile.SYMTYPE, linkname="/etc/passwd"), "entry-not-a-file"),
        (member("l", b"", tarfile.LNKTYPE, linkname="a.xml"), "entry-not-a-file"),
        (member("l", b"", tarfile.SYMTYPE, linkname="x" * 300), "entry-not-a-file"),
        (member("d", b"", tarfile.CHRTYPE), "entry-not-a-file"),
        (member("d", b"", tarfile.FIFOTYPE), "entry-not-a-file"),
        (member("s", b"<a/>", tarfile.GNUTYPE_SPARSE), "entry-method-unsupported"),
        (member("x" * 60_000), "entry-name-unusable"),
        (member("b.xml", b"<" * 100_001), "entry-too-large"),
        (member("n.zip", b"PK\3\4 and so on"), "entry-is-an-archive"),
    ],
)
def test_an_entry_that_cannot_be_used_is_refused_alone(refused: bytes, rule: str, verdicts_of: Verdicts) -> None:
    body = member("before.xml") + refused + member("after.xml", b"<b/>") + END
    before, middle, after = verdicts_of(BodyKind.TAR, body)
    assert (before, middle[1], after) == (("before.xml", b"<a/>"), rule, ("after.xml", b"<b/>"))


def pax(**records: str) -> bytes:
    info = tarfile.TarInfo("a.xml")
    info.size = 4
    info.pax_headers = {key.replace("_", "."): value for key, value in records.items()}
    return info.tobuf(tarfile.PAX_FORMAT) + b"<a/>" + bytes(508)


def test_pax_headers_are_obeyed(verdicts_of: Verdicts) -> None:
    body = pax(path="ścieżka.xml", comment="x") + pax(GNU_sparse_major="1") + member("b.xml") + END
    assert verdicts_of(BodyKind.TAR, body) == [
        ("ścieżka.xml", b"<a/>"),
        ("a.xml", "entry-method-unsupported"),
        ("b.xml", b"<a/>"),
    ]


def test_a_size_in_a_pax_header_or_in_binary_is_obeyed(verdicts_of: Verdicts) -> None:
    binary = bytearray(member("b.xml", b"<" * 700))
    binary[124:136] = b"\x80" + (700).to_bytes(11, "big")
    binary[148:156] = b"%06o\0 " % (sum(binary[:148]) + sum(binary[156:512]) + 256)
    extended = pax(size="700").replace(b"<a/>" + bytes(508), b"<" * 700 + bytes(324))
    assert verdicts_of(BodyKind.TAR, bytes(binary) + extended + END) == [
        ("b.xml", b"<" * 700),
        ("a.xml", b"<" * 700),
    ]


def test_a_checksum_over_signed_bytes_is_taken(verdicts_of: Verdicts) -> None:
    header = bytearray(member("a\u00ff.xml"))
    high = sum(byte > 127 for byte in header[:512])
    told = int(header[148:154], 8) - 256 * high
    header[148:156] = b"%06o\0 " % told
    assert high
    assert [content for _, content in verdicts_of(BodyKind.TAR, bytes(header) + END)] == [b"<a/>"]


def test_one_zero_block_is_end_enough(verdicts_of: Verdicts) -> None:
    assert verdicts_of(BodyKind.TAR, member("a.xml") + bytes(512)) == [("a.xml", b"<a/>")]


def test_more_folders_than_entries_may_be_end_the_upload(reason_of: Reason) -> None:
    body = member("folder/", b"", tarfile.DIRTYPE) * 1_010 + END
    assert reason_of(BodyKind.TAR, body, limits=ReadingLimits(max_entries=4)) == "too-much-else"


DAMAGED = bytearray(member("a.xml"))
DAMAGED[0] ^= 1
NO_SIZE = bytearray(member("a.xml"))
NO_SIZE[124:135] = b"zzzzzzzzzzz"
NO_SIZE[148:156] = b"%06o\0 " % (sum(NO_SIZE[:148]) + sum(NO_SIZE[156:512]) + 256)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "tar-truncated"),
        (b"<a/>" * 1_000, "not-a-tar"),
        (member("a.xml"), "tar-truncated"),
        (member("a.xml")[:600], "tar-truncated"),
        (member("a.xml") + bytes(DAMAGED) + END, "tar-damaged"),
        (bytes(NO_SIZE) + END, "tar-damaged"),
        (pax(size="12x") + END, "tar-damaged"),
        (member("a", b"99 path=x\n", tarfile.XHDTYPE) + member("b") + END, "tar-damaged"),
        (member("a", b"path", tarfile.XHDTYPE) + member("b") + END, "tar-damaged"),
        (member("a", os.urandom(2_000_000), tarfile.XHDTYPE) + member("b") + END, "tar-damaged"),
        (member("a.xml") + END + member("b.xml") + END, "tar-data-after-end"),
    ],
)
def test_a_damaged_tar_ends_the_upload_with_a_reason(body: bytes, reason: str, reason_of: Reason) -> None:
    assert reason_of(BodyKind.TAR, body) == reason
    assert reason_of(BodyKind.TARGZ, gzip.compress(body)) == reason


def test_a_gzip_of_many_members_is_one_stream(verdicts_of: Verdicts) -> None:
    documents = [(f"{i}.xml", b"<" + os.urandom(700)) for i in range(900)]
    tar = b"".join(member(name, content) for name, content in documents) + END
    body = b"".join(gzip.compress(tar[at : at + 777], 1) for at in range(0, len(tar), 777))
    assert len(body) > 600_000
    assert verdicts_of(BodyKind.TARGZ, body) == documents


TARGZ = gzip.compress(member("a.xml", os.urandom(3_000)) + END)
FLIPPED = bytearray(TARGZ)
FLIPPED[-6] ^= 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (TARGZ[:-1], "gzip-truncated"),
        (TARGZ[:100], "gzip-truncated"),
        (bytes(FLIPPED), "gzip-damaged"),
        (TARGZ + b"more" * 10, "gzip-data-after-end"),
        (b"<a/>", "not-a-gzip"),
        (b"\x1f", "gzip-truncated"),
        (b"", "tar-truncated"),
        (b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + b"x" * 2_000_000, "gzip-truncated"),
    ],
    ids=["cut at the end", "cut early", "flipped", "with a tail", "XML", "one byte", "empty", "an endless name"],
)
def test_a_damaged_gzip_ends_the_upload_with_a_reason(body: bytes, reason: str, reason_of: Reason) -> None:
    assert reason_of(BodyKind.TARGZ, body) == reason


def test_a_gzip_bomb_is_left_early(reason_of: Reason) -> None:
    body = gzip.compress(member("a.xml", bytes(30_000_000)) + END)
    limits = ReadingLimits(max_ratio=100)
    assert reason_of(BodyKind.TARGZ, body, limits=limits) == "gzip-ratio"
