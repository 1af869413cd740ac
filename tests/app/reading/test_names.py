"""A name is made harmless, whatever the archive says."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.reading.names import UNIX, WINDOWS, clean_name, decode_name, is_junk


@given(st.text(max_size=400))
def test_a_clean_name_is_printable_bounded_and_leads_nowhere(name: str) -> None:
    cleaned = clean_name(name, 7)
    assert 1 <= len(cleaned) <= 255
    assert cleaned.isprintable()
    assert not cleaned.startswith("/")
    assert ".." not in cleaned.split("/")
    assert "\\" not in cleaned


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("2026/11/FV 1.xml", "2026/11/FV 1.xml"),
        ("../../etc/passwd", "etc/passwd"),
        ("/srv/a.xml", "srv/a.xml"),
        ("C:\\faktury\\a.xml", "faktury/a.xml"),
        ("a\0b.xml", "a\ufffdb.xml"),
        ("", "entry-7"),
        ("///", "entry-7"),
    ],
)
def test_names_keep_what_tells_something(name: str, cleaned: str) -> None:
    assert clean_name(name, 7) == cleaned


def test_a_long_name_keeps_its_end() -> None:
    assert clean_name("x" * 500 + "/FV-1.xml", 0).endswith("x/FV-1.xml")


@pytest.mark.parametrize("encoding", ["utf-8", "cp852"])
def test_polish_names_survive_with_and_without_utf8(encoding: str) -> None:
    assert decode_name("żółta jaźń.xml".encode(encoding)) == "żółta jaźń.xml"


@pytest.mark.parametrize("code_pages", [WINDOWS, UNIX])
@pytest.mark.parametrize("code_page", WINDOWS)
@pytest.mark.parametrize(
    "name",
    [
        "zażółć gęślą jaźń.xml",
        "Łódź/ODDZIAŁ POZNAŃ/FV 1.xml",
        "PŁATNOŚCI.xml",
        "Żółw.xml",
        "księgowość.xml",
        "ś.xml",
        "Kraków/świerk-Śląsk.xml",
    ],
)
def test_the_letters_tell_the_code_page(name: str, code_page: str, code_pages: tuple[str, ...]) -> None:
    assert decode_name(name.encode(code_page), code_pages) == name


def test_where_letters_tell_nothing_the_likeliest_code_page_is_taken() -> None:
    # 0x8F is a capital letter of Polish in CP852 and in CP1250.
    assert decode_name(b"\x8f.xml") == "Ć.xml"
    assert decode_name(b"\xa1.xml", UNIX) == "Ą.xml"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_name(raw: bytes) -> None:
    assert len(decode_name(raw)) <= len(raw)


def test_letters_in_two_pieces_are_one() -> None:
    assert clean_name("Z\u0307o\u0301l.xml", 0) == "Żól.xml"


def test_a_name_of_marks_costs_little() -> None:
    started = time.process_time()
    clean_name("a" + "\u0327\u0301" * 30_000, 0)
    decode_name(b"\xa5" * 65_535)
    assert time.process_time() - started < 0.2


def test_marks_that_turn_text_around_are_not_shown() -> None:
    assert clean_name("FV\u202elmx.exe", 0) == "FV\ufffdlmx.exe"


@pytest.mark.parametrize("name", ["__MACOSX/._a.xml", "a/.DS_Store", "Thumbs.db", "x\\Desktop.ini"])
def test_what_systems_add_is_junk(name: str) -> None:
    assert is_junk(name)


@pytest.mark.parametrize("name", ["a.xml", "thumbs.db/a.xml", "MACOSX/a.xml"])
def test_what_people_add_is_not(name: str) -> None:
    assert not is_junk(name)
