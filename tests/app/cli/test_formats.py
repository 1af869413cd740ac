"""One form of times, numbers and texts."""

import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli import formats
from app.cli.timestamps import parse_time

ROOT = Path(formats.__file__).parent
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("value", [NOON, "2026-07-01T12:00:00Z", "2026-07-01T12:00:00.123456+00:00", NOON.isoformat()])
def test_a_time_is_polish_with_its_offset_however_it_comes(value: datetime | str) -> None:
    assert formats.moment(value) == "2026-07-01 14:00:00+02:00"


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_printed_time_can_be_given_back(at: datetime) -> None:
    shown = formats.moment(at)
    assert parse_time(shown, option="--since", now=NOON) == at.replace(microsecond=0)


def test_what_is_no_time_is_left_as_it_is() -> None:
    assert formats.moment("soon") == "soon"
    assert formats.moment(None) == formats.moment("") == "–"


def test_numbers_have_commas_and_names_have_none() -> None:
    assert (formats.shown(1_234_567), formats.shown("1234567")) == ("1,234,567", "1234567")
    assert (formats.shown(True), formats.shown(None), formats.shown(0)) == ("yes", "–", "0")
    assert formats.shown(date(2026, 7, 1)) == "2026-07-01"
    assert (formats.size(99_999), formats.size(1_250_000)) == ("99,999 bytes", "1.2 MB")
    assert (formats.milliseconds(9_999), formats.milliseconds(61_234)) == ("9,999 ms", "61.2 s")


@given(st.text())
def test_no_text_acts_on_the_terminal(text: str) -> None:
    assert formats.printable(text).isprintable()


def test_what_is_printable_is_not_changed_and_what_is_not_is_visible() -> None:
    assert formats.printable("faktura źdźbło.xml") == "faktura źdźbło.xml"
    assert formats.printable("a\x1b[2Jb\u00a0c\u202ed\n") == "a\\x1b[2Jb\\xa0c\\u202ed\\x0a"


def test_no_other_module_of_the_command_line_has_a_form_of_time_of_its_own() -> None:
    own = re.compile(r":%[a-zA-Z]|strftime|isoformat\((?:sep|timespec)")
    assert [
        path.name for path in ROOT.rglob("*.py") if path.name != "formats.py" and own.search(path.read_text("utf-8"))
    ] == []
