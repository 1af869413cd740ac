"""A name is made harmless, whatever the archive says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.reading.names import clean_name, decode_name, is_junk


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


@pytest.mark.parametrize("name", ["__MACOSX/._a.xml", "a/.DS_Store", "Thumbs.db", "x\\Desktop.ini"])
def test_what_systems_add_is_junk(name: str) -> None:
    assert is_junk(name)


@pytest.mark.parametrize("name", ["a.xml", "thumbs.db/a.xml", "MACOSX/a.xml"])
def test_what_people_add_is_not(name: str) -> None:
    assert not is_junk(name)
