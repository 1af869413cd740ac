from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.ksef_number import crc8, is_valid_ksef_number, make_ksef_number

REAL = (
    "5265877635-20250826-0100001AF629-AF",
    "5265877635-20250626-010080DD2B5E-26",
    "5265877635-20250916-0200A0D6723E-C2",
    "5213814999-20251006-0100E0B7E937-52",
    "5391433354-20250902-0100C07E7173-D5",
)


def test_the_checksum_has_the_published_check_value() -> None:
    assert crc8(b"123456789") == 0xF4


@pytest.mark.parametrize("number", REAL)
def test_numbers_that_ksef_gave_are_valid(number: str) -> None:
    assert is_valid_ksef_number(number)


@pytest.mark.parametrize("number", REAL)
def test_a_number_is_made_again_from_its_pieces(number: str) -> None:
    nip, day, technical, _ = number.split("-")
    assert make_ksef_number(nip, date.fromisoformat(day), bytes.fromhex(technical)) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5265877635-20250826-0100001AF629-AE",
        "5265877635-20250826-0100001af629-af",
        "5265877635-20250826-0100001AF629-AF\n",
        " 5265877635-20250826-0100001AF629-AF",
        "0265877635-20250826-0100001AF629-AF",
        "٥265877635-20250826-0100001AF629-AF",
    ],
)
def test_anything_else_is_not_a_number(text: str) -> None:
    assert not is_valid_ksef_number(text)


def test_a_day_that_does_not_exist_is_refused_even_with_a_right_checksum() -> None:
    body = "5265877635-20250230-0100001AF629"
    assert not is_valid_ksef_number(f"{body}-{crc8(body.encode()):02X}")


def test_the_older_form_with_one_more_hyphen_is_taken_by_its_form() -> None:
    assert is_valid_ksef_number("5265877635-20230826-010000-1AF629-AF")


@given(
    day=st.dates(date(2020, 1, 1), date(9999, 12, 31)),
    technical=st.binary(min_size=6, max_size=6),
    position=st.integers(20, 31),
    other=st.sampled_from("0123456789ABCDEF"),
)
def test_every_made_number_is_valid_and_one_changed_character_is_found(
    day: date, technical: bytes, position: int, other: str
) -> None:
    number = make_ksef_number("5265877635", day, technical)
    assert is_valid_ksef_number(number)
    assert len(number) == 35
    changed = number[:position] + other + number[position + 1 :]
    assert is_valid_ksef_number(changed) == (changed == number)


@pytest.mark.parametrize(
    ("nip", "day", "technical"),
    [
        ("526587763", date(2025, 1, 1), bytes(6)),
        ("5265877635", date(2019, 12, 31), bytes(6)),
        ("5265877635", date(2025, 1, 1), bytes(5)),
    ],
)
def test_wrong_pieces_make_no_number(nip: str, day: date, technical: bytes) -> None:
    with pytest.raises(ValueError, match="KSeF number"):
        make_ksef_number(nip, day, technical)
