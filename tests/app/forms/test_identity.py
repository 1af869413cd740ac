"""Identity and NIP."""

import random
import re

from hypothesis import given
from hypothesis import strategies as st

from app.forms.identity import IDENTITY_BYTES, invoice_identity
from app.forms.nip import is_nip

Triple = tuple[int, str, str, str]
TEXTS = st.text(max_size=8)


@given(st.tuples(st.integers(0, 99), TEXTS, TEXTS, TEXTS), st.tuples(st.integers(0, 99), TEXTS, TEXTS, TEXTS))
def test_identities_are_equal_only_for_equal_fields(one: Triple, other: Triple) -> None:
    assert len(invoice_identity(*one)) == IDENTITY_BYTES
    assert (invoice_identity(*one) == invoice_identity(*other)) == (one == other)


def test_moving_a_character_between_fields_changes_the_identity() -> None:
    assert invoice_identity(1, "12", "3", "4") != invoice_identity(1, "1", "23", "4")


def test_known_nips_are_judged_rightly() -> None:
    assert all(map(is_nip, ("5265877635", "5213814999", "5260250274", "1111111111")))
    assert not any(map(is_nip, ("5517035945", "526587763", "526-587-76-35", "５２６５８７７６３５", "")))


@given(
    st.text(st.characters(codec="utf-8", categories=("Nd", "Pd", "Zs", "Lu")), max_size=14)
    | st.from_regex(r"(?:PL)?[0-9 -]{8,13}", fullmatch=True)
)
def test_no_text_but_ten_bare_digits_is_a_nip(text: str) -> None:
    assert not is_nip(text) or re.fullmatch(r"[0-9]{10}", text)


def test_a_hundred_thousand_numbers_are_judged_as_by_the_sum_of_weighted_digits() -> None:
    """The library must agree with the rule as the tax law has it: (6, 5, 7, 2, 3, 4, 5, 6, 7), modulo 11."""
    numbers = random.Random(2026)
    for _ in range(100_000):
        text = f"{numbers.randrange(10**10):010d}"
        weighted = sum(weight * int(digit) for weight, digit in zip((6, 5, 7, 2, 3, 4, 5, 6, 7), text, strict=False))
        assert is_nip(text) == (weighted % 11 == int(text[9]))


@given(st.from_regex(r"[0-9]{9}", fullmatch=True))
def test_at_most_one_last_digit_makes_a_nip(start: str) -> None:
    assert sum(is_nip(f"{start}{last}") for last in range(10)) <= 1
