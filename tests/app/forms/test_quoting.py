"""Values in messages: as they are, with all that the eye does not see made visible and named."""

import pytest

from app.forms.quoting import quoted
from app.forms.rules import finding


@pytest.mark.parametrize(
    ("value", "shown", "english", "polish"),
    [
        ("PLN", '"PLN"', (), ()),
        ("PLN ", '"PLN "', ("ends with a space",), ("kończy się spacją",)),
        (" PLN", '" PLN"', ("begins with a space",), ("zaczyna się spacją",)),
        ("FA  (3)", '"FA  (3)"', ("two spaces in a row",), ("dwie spacje pod rząd",)),
        ("a   b", '"a   b"', ("two spaces in a row",), ("dwie spacje pod rząd",)),
        (
            "FA\u00a0(3)",
            '"FA[U+00A0](3)"',
            ("contains U+00A0, a no-break space",),
            ("zawiera U+00A0, spację nierozdzielającą",),
        ),
        ("1\u202f000", '"1[U+202F]000"', ("contains U+202F, a narrow no-break space",), None),
        ("1\u2007000", '"1[U+2007]000"', ("contains U+2007, a figure space",), None),
        ("PLN\u200b", '"PLN[U+200B]"', ("contains U+200B, a zero-width space",), None),
        ("\ufeffPLN", '"[U+FEFF]PLN"', ("contains U+FEFF, a byte order mark",), None),
        ("P\u00adLN", '"P[U+00AD]LN"', ("contains U+00AD, a soft hyphen",), None),
        ("\u3000x", '"[U+3000]x"', ("contains U+3000, a space that is not the ASCII one",), None),
        ("PLN\n", '"PLN[U+000A]"', ("ends with a line end",), ("zawiera na końcu koniec wiersza",)),
        ("\tPLN", '"[U+0009]PLN"', ("begins with a tab",), None),
        ("a\tb", '"a[U+0009]b"', ("contains a tab",), ("zawiera tabulator",)),
        ("\u0420LN", '"\u0420LN"', ("contains U+0420, a Cyrillic letter that looks like P",), None),
        ("PL\u039d", '"PL\u039d"', ("contains U+039D, a Greek letter that looks like N",), None),
        ("\u2212 1", '"\u2212 1"', None, None),
        ("2026\u201301", '"2026\u201301"', ("contains U+2013, an en dash",), ("zawiera U+2013, półpauzę",)),
        ("\uff11", '"\uff11"', ("contains U+FF11, a wide form of 1",), None),
        ("\u0663", '"\u0663"', ("contains U+0663, a digit of another script",), None),
        ("z\u0307", '"z\u0307"', ("contains U+0307, a combining accent",), None),
        ("zażółć", '"zażółć"', (), ()),
        ("", '""', (), ()),
        (" ", '" "', ("begins with a space",), None),
        (
            " PLN\u00a0 ",
            '" PLN[U+00A0] "',
            ("begins with a space", "ends with a space", "contains U+00A0, a no-break space"),
            None,
        ),
    ],
)
def test_a_value_is_quoted_as_it_is_and_what_is_not_seen_is_named(
    value: str, shown: str, english: tuple[str, ...] | None, polish: tuple[str, ...] | None
) -> None:
    made = quoted(value)
    assert made == shown
    for at, wanted in enumerate((english, polish)):
        if wanted is not None:
            assert tuple(note[at] for note in made.notes) == wanted


def test_a_long_value_is_cut_and_its_end_is_still_named() -> None:
    made = quoted("x" * 5_000 + " ")
    assert (len(made), made[-2:]) == (82, '…"')
    assert made.notes == (("ends with a space", "kończy się spacją"),)


def test_a_value_of_very_many_strange_characters_stays_short() -> None:
    made = quoted("\u200b\u200c\u00a0\u2007\u202f\u00ad" * 100)
    assert len(made) <= 82
    assert len(made.notes) == 4


def test_both_languages_of_a_finding_name_the_fault_and_the_bare_value_has_none() -> None:
    made = finding(
        "xsd-value-not-allowed",
        value=quoted("PLN "),
        english_element="KodWaluty",
        polish_element="KodWaluty",
        allowed="PLN",
    )
    assert made.message == 'KodWaluty: "PLN " (ends with a space) is not allowed; allowed: PLN.'
    assert made.message_pl == 'KodWaluty: wartość "PLN " (kończy się spacją) jest niedozwolona; dozwolone: PLN.'
    assert made.compared is not None
    assert made.compared.found == '"PLN "'
