"""ZIPs as programs really write them, and as nobody should."""

import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from app.errors import UnreadableUpload
from app.reading.entry import RawEntry
from app.reading.kinds import BodyKind
from app.reading.limits import ReadingLimits
from app.reading.reader import read_entries

Verdicts = Callable[..., list[tuple[str, bytes | str]]]
Reason = Callable[..., str]
Entries = Callable[..., list[RawEntry]]


@dataclass
class Member:
    """One entry of a hand-made ZIP; what is None follows from the content."""

    name: bytes = b"a.xml"
    content: bytes = b"<a/>"
    method: int = 8
    flags: int = 0
    system: int = 0
    attributes: int = 0
    size: int | None = None
    stored: int | None = None
    offset: int | None = None
    local_name: bytes | None = None
    local_method: int | None = None
    local_crc: int | None = None
    extra: bytes = b""
    local_extra: bytes = b""


def make(*members: Member, comment: bytes = b"", entries: int | None = None) -> bytes:
    body = b""
    directory = b""
    for member in members:
        deflater = zlib.compressobj(6, zlib.DEFLATED, -15)
        data = deflater.compress(member.content) + deflater.flush() if member.method == 8 else member.content
        crc = zlib.crc32(member.content)
        size = len(member.content) if member.size is None else member.size
        stored = len(data) if member.stored is None else member.stored
        offset = len(body) if member.offset is None else member.offset
        local_name = member.name if member.local_name is None else member.local_name
        method = member.method if member.local_method is None else member.local_method
        local_crc = crc if member.local_crc is None else member.local_crc
        numbers = (0, 0, 0) if member.flags & 8 else (local_crc, len(data), len(member.content))
        body += struct.pack("<4s5H3L2H", b"PK\3\4", 20, member.flags, method, 0, 0x21, *numbers, len(local_name),
                            len(member.local_extra))  # fmt: skip
        body += local_name + member.local_extra + data
        if member.flags & 8:
            body += struct.pack("<4sLLL", b"PK\7\x08", crc, len(data), len(member.content))
        directory += struct.pack("<4sBB5H3L5H2L", b"PK\1\2", 20, member.system, 20, member.flags, member.method, 0,
                                 0x21, crc, stored, size, len(member.name), len(member.extra), 0, 0, 0,
                                 member.attributes, offset)  # fmt: skip
        directory += member.name + member.extra
    count = len(members) if entries is None else entries
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(directory), len(body), len(comment))
    return body + directory + end + comment


def test_a_hand_made_zip_is_one_that_others_read() -> None:
    body = make(Member(), Member(b"b.xml", b"<b/>", flags=8), Member(b"c.xml", method=0), comment=b"hello")
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a.xml", "b.xml", "c.xml"]


def test_data_descriptors_comments_and_extra_fields_are_read_past(verdicts_of: Verdicts) -> None:
    extra = struct.pack("<HH4s", 0x5455, 4, b"time")
    body = make(Member(flags=8, local_extra=extra), Member(b"b.xml", b"<b/>", extra=extra), comment=b"PK\5\6 hello")
    assert verdicts_of(BodyKind.ZIP, body) == [("a.xml", b"<a/>"), ("b.xml", b"<b/>")]


def test_a_streamed_zip_of_the_standard_library_is_read(verdicts_of: Verdicts) -> None:
    class Pipe(io.RawIOBase):
        data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any, /) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            archive.writestr(f"{i}.xml", b"<a/>" * i)
    assert verdicts_of(BodyKind.ZIP, pipe.data) == [(f"{i}.xml", b"<a/>" * i) for i in range(3)]


def test_zip64_is_read(verdicts_of: Verdicts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for i in range(4):
            archive.writestr(f"{i}.xml", b"<" * 90 * (i + 1))
    assert b"PK\6\6" in body.getvalue()
    assert verdicts_of(BodyKind.ZIP, body.getvalue()) == [(f"{i}.xml", b"<" * 90 * (i + 1)) for i in range(4)]


def test_folders_and_system_files_are_passed_over(entries_of: Entries) -> None:
    body = make(
        Member(b"2026/", b"", method=0),
        Member(b"2026\\11\\", b"", method=0),
        Member(b"folder", b"", method=0, system=3, attributes=0o040755 << 16),
        Member(b"__MACOSX/2026/._a.xml"),
        Member(b"2026/.DS_Store"),
        Member(b"2026/a.xml", system=3, attributes=0o100644 << 16),
        Member(b"Thumbs.db"),
        Member(b"2026/b.xml"),
    )
    read = entries_of(BodyKind.ZIP, body)
    assert [(entry.index, entry.name, entry.fault) for entry in read] == [
        (0, "2026/a.xml", None),
        (1, "2026/b.xml", None),
    ]


@pytest.mark.parametrize(
    ("member", "rule"),
    [
        (Member(flags=1), "entry-encrypted"),
        (Member(flags=0x40), "entry-encrypted"),
        (Member(method=12), "entry-method-unsupported"),
        (Member(method=99, flags=1), "entry-encrypted"),
        (Member(system=3, attributes=0o120777 << 16), "entry-not-a-file"),
        (Member(system=3, attributes=0o060644 << 16), "entry-not-a-file"),
        (Member(b"a/"), "entry-not-a-file"),
        (Member(b"x" * 65_000), "entry-name-unusable"),
        (Member(content=bytes(100_001)), "entry-too-large"),
        (Member(size=4_000_000_000), "entry-too-large"),
        (Member(size=5), "entry-damaged"),
        (Member(size=3), "entry-damaged"),
        (Member(method=0, size=3), "entry-damaged"),
        (Member(stored=3), "entry-damaged"),
        (Member(stored=4_000_000_000), "entry-damaged"),
        (Member(stored=3_000), "entry-damaged"),
        (Member(offset=3), "entry-overlaps"),
        (Member(offset=4_000_000_000), "entry-damaged"),
        (Member(local_name=b"b.xml"), "entry-damaged"),
        (Member(local_name=b"aa.xml"), "entry-damaged"),
        (Member(local_method=0), "entry-damaged"),
        (Member(local_crc=7), "entry-damaged"),
        (Member(content=make(Member())), "entry-is-an-archive"),
    ],
)
def test_an_entry_that_cannot_be_used_is_refused_alone(member: Member, rule: str, verdicts_of: Verdicts) -> None:
    body = make(Member(b"before.xml"), member, Member(b"after.xml", b"<b/>"))
    before, refused, after = verdicts_of(BodyKind.ZIP, body)
    assert (before, after) == (("before.xml", b"<a/>"), ("after.xml", b"<b/>"))
    assert refused[1] == rule
    assert len(refused[0]) <= 255


def test_a_bomb_is_refused_without_inflating_it(entries_of: Entries) -> None:
    limits = ReadingLimits(max_document_bytes=50_000_000)
    (entry,) = entries_of(BodyKind.ZIP, make(Member(content=bytes(20_000_000))), limits=limits)
    assert entry.fault is not None
    assert (entry.fault.rule, entry.payload) == ("entry-ratio", b"")


def test_entries_that_share_bytes_are_refused_after_the_first(verdicts_of: Verdicts) -> None:
    shared = Member(b"b.xml", b"<b/>" * 50, offset=0)
    body = make(Member(b"a.xml", b"<a/>" * 50), shared, replace(shared, name=b"c.xml"), Member(b"d.xml"))
    assert [verdict for _, verdict in verdicts_of(BodyKind.ZIP, body)] == [
        b"<a/>" * 50,
        "entry-overlaps",
        "entry-overlaps",
        b"<a/>",
    ]


def test_the_order_of_the_directory_is_the_order_of_the_entries(verdicts_of: Verdicts) -> None:
    first, second = Member(b"a.xml", b"<a/>"), Member(b"b.xml", b"<b/>")
    length = make(first).index(b"PK\1\2")
    swapped = make(replace(first, offset=length), replace(second, offset=0))
    # The directory now names them the wrong way round, so swap the names of the local headers as well.
    body = swapped.replace(b"a.xml", b"?", 1).replace(b"b.xml", b"a.xml", 1).replace(b"?", b"b.xml", 1)
    assert [verdict for _, verdict in verdicts_of(BodyKind.ZIP, body)] == ["entry-damaged", "entry-damaged"]
    assert [name for name, _ in verdicts_of(BodyKind.ZIP, body)] == ["a.xml", "b.xml"]


def test_names_lead_nowhere_and_can_be_stored(verdicts_of: Verdicts) -> None:
    names = [b"../../etc/a.xml", b"C:\\a.xml", b"a\0b.xml", "ż.xml".encode(), "ż.xml".encode("cp852"), b""]
    body = make(*(Member(name) for name in names))
    assert [name for name, _ in verdicts_of(BodyKind.ZIP, body)] == [
        "etc/a.xml",
        "a.xml",
        "a\ufffdb.xml",
        "ż.xml",
        "ż.xml",
        "entry-5",
    ]


def test_the_unicode_path_of_info_zip_wins_over_a_code_page(verdicts_of: Verdicts) -> None:
    content = b"\1" + struct.pack("<L", zlib.crc32(b"?.xml")) + "ł.xml".encode()
    extra = struct.pack("<HH", 0x7075, len(content)) + content
    assert verdicts_of(BodyKind.ZIP, make(Member(b"?.xml", extra=extra))) == [("ł.xml", b"<a/>")]


def test_two_entries_of_one_name_are_two_entries(verdicts_of: Verdicts) -> None:
    body = make(Member(b"a.xml", b"<a/>"), Member(b"a.xml", b"<b/>"))
    assert verdicts_of(BodyKind.ZIP, body) == [("a.xml", b"<a/>"), ("a.xml", b"<b/>")]


GOOD = make(Member(), Member(b"b.xml"))
END = struct.Struct("<4s4H2LH")


def with_end(**changes: int) -> bytes:
    """Return GOOD with other numbers in its end record."""
    fields = ["signature", "disk", "start_disk", "here", "entries", "size", "offset", "comment"]
    values = dict(zip(fields, END.unpack(GOOD[-END.size :]), strict=True)) | changes
    return GOOD[: -END.size] + END.pack(*values.values())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not-a-zip"),
        (b"<a/>" * 100, "not-a-zip"),
        (GOOD[:-1], "zip-truncated"),
        (GOOD + b"\n.", "zip-data-after-end"),
        (GOOD + bytes(2 << 20), "zip-truncated"),
        (with_end(disk=1), "zip-in-volumes"),
        (with_end(here=1), "zip-in-volumes"),
        (with_end(entries=3, here=3), "zip-directory-damaged"),
        (with_end(entries=1, here=1), "zip-directory-damaged"),
        (with_end(entries=0, here=0), "zip-directory-damaged"),
        (with_end(offset=len(GOOD)), "zip-directory-damaged"),
        (with_end(offset=0), "zip-directory-damaged"),
        (with_end(size=0xFFFF_FFFF, offset=0xFFFF_FFFF), "zip-directory-damaged"),
        (GOOD[: -END.size] + struct.pack("<4sLQL", b"PK\6\7", 0, 5, 1) + GOOD[-END.size :], "zip-directory-damaged"),
        (make(Member(size=0xFFFF_FFFF)), "zip-directory-damaged"),
        (make(Member(size=0xFFFF_FFFF, extra=struct.pack("<HH4s", 1, 4, b"1234"))), "zip-directory-damaged"),
    ],
)
def test_a_damaged_directory_ends_the_upload_with_a_reason(body: bytes, reason: str, reason_of: Reason) -> None:
    assert reason_of(BodyKind.ZIP, body) == reason


def test_damage_in_the_middle_of_the_directory_keeps_what_came_before(limits: ReadingLimits) -> None:
    body = GOOD[::-1].replace(b"PK\1\2"[::-1], b"PK\0\0"[::-1], 1)[::-1]
    entries = read_entries(BodyKind.ZIP, io.BytesIO(body), size=len(body), limits=limits)
    assert next(entries).name == "a.xml"
    with pytest.raises(Exception, match="directory of the ZIP is damaged"):
        next(entries)


def test_an_error_names_a_place_of_the_body_even_where_the_directory_lies(limits: ReadingLimits) -> None:
    """Fuzzing found an error about byte 25,172,402 of a body of 7,655."""
    body = make(Member(), Member(name=b"b.xml", offset=25_000_000))
    with pytest.raises(UnreadableUpload) as caught:
        list(read_entries(BodyKind.ZIP, io.BytesIO(body), size=len(body), limits=replace(limits, max_entries=1)))
    assert caught.value.errors is not None
    (error,) = caught.value.errors
    assert error["reason"] == "too-many-entries"
    assert 0 <= error["offset"] <= len(body)


@pytest.mark.slow
def test_a_directory_larger_than_our_memory_is_streamed(tmp_path: Path, limits: ReadingLimits) -> None:
    """It has 3.5 MB and needs ZIP64; held as objects it would be ten times as large."""
    count = 70_000
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 0x21, zlib.crc32(b"<a/>"), 4, 4, 5, 0) + b"a.xml<a/>"
    path = tmp_path / "many.zip"
    with path.open("wb") as file:
        file.write(local * count)
        for i in range(count):
            file.write(struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0x21, zlib.crc32(b"<a/>"), 4, 4, 5, 0,
                                   0, 0, 0, 0, i * len(local)) + b"a.xml")  # fmt: skip
        end64 = file.tell()
        directory = (count, count, end64 - count * len(local), count * len(local))
        file.write(struct.pack("<4sQHHLL4Q", b"PK\6\6", 44, 45, 45, 0, 0, *directory))
        file.write(struct.pack("<4sLQL", b"PK\6\7", 0, end64, 1))
        file.write(END.pack(b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF, 0))
    with path.open("rb", buffering=0) as file:
        entries = read_entries(BodyKind.ZIP, file, size=path.stat().st_size, limits=limits)
        tracemalloc.start()
        try:
            assert sum(entry.payload == b"<a/>" for entry in entries) == count
            assert tracemalloc.get_traced_memory()[1] < 3_000_000
        finally:
            tracemalloc.stop()


def test_a_program_before_the_archive_is_passed_over(verdicts_of: Verdicts) -> None:
    program = b"MZ" + bytes(1_000) + b"PK\3\4 is how it begins"
    expected = [("a.xml", b"<a/>"), ("b.xml", b"<a/>")]
    assert verdicts_of(BodyKind.ZIP, program + GOOD) == expected
    # Told by offsets from the very beginning, as `zip -A` writes them.
    adjusted = make(Member(offset=len(program)), Member(b"b.xml", offset=len(program) + GOOD.index(b"PK\3\4", 4)))
    at = adjusted.index(b"PK\1\2")
    end = END.pack(b"PK\5\6", 0, 0, 2, 2, len(adjusted) - END.size - at, len(program) + at, 0)
    assert verdicts_of(BodyKind.ZIP, program + adjusted[: -END.size] + end) == expected


def test_zip64_records_behind_a_program_are_found(verdicts_of: Verdicts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        archive.writestr("a.xml", b"<a/>")
        archive.writestr("b.xml", b"<b/>")
    assert b"PK\6\6" in body.getvalue()
    assert verdicts_of(BodyKind.ZIP, bytes(100) + body.getvalue()) == [("a.xml", b"<a/>"), ("b.xml", b"<b/>")]


def test_classic_and_64_bit_numbers_must_agree(reason_of: Reason) -> None:
    end64 = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, *END.unpack(GOOD[-END.size :])[5:7])
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(GOOD) - END.size, 1)
    body = GOOD[: -END.size] + end64 + locator + GOOD[-END.size :]
    assert reason_of(BodyKind.ZIP, body) == "zip-directory-damaged"


def test_a_unicode_path_of_another_name_is_not_believed(verdicts_of: Verdicts) -> None:
    content = b"\1" + zlib.crc32(b"other.xml").to_bytes(4, "little") + "ł.xml".encode()
    extra = struct.pack("<HH", 0x7075, len(content)) + content
    assert verdicts_of(BodyKind.ZIP, make(Member(b"a.xml", extra=extra))) == [("a.xml", b"<a/>")]


@pytest.mark.parametrize("flags", [0, 0x800])
@pytest.mark.parametrize("encoding", ["utf-8", "cp852", "cp1250"])
def test_names_are_read_with_and_without_the_flag_for_utf8(flags: int, encoding: str, verdicts_of: Verdicts) -> None:
    name = "Księgowość/zażółć.xml"
    assert verdicts_of(BodyKind.ZIP, make(Member(name.encode(encoding), flags=flags))) == [(name, b"<a/>")]
