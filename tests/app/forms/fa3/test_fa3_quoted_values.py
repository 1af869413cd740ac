"""Values with blanks and look-alikes in FA(3): the fault that the eye does not see is named, a harmless blank is not."""

from datetime import date
from pathlib import Path

import pytest

from app.forms.fa3.checker import InvoiceChecker
from app.forms.form import CheckContext
from tests.app.forms.fa3.conftest import Check, Edit

CASES = Path(__file__).resolve().parents[4].parent / "shared" / "cases"


@pytest.mark.parametrize(
    ("old", "new", "english", "polish"),
    [
        (">PLN<", ">PLN <", '"PLN " (ends with a space)', '"PLN " (kończy się spacją)'),
        (">PLN<", ">\tPLN<", "begins with a tab", "zawiera na początku tabulator"),
        (">PLN<", ">\u0420LN<", "a Cyrillic letter that looks like P", "cyrylicką literę podobną do P"),
        (">PLN<", ">PLN&#160;<", "contains U+00A0, a no-break space", "U+00A0, spację nierozdzielającą"),
        (">PLN<", ">PLN\u200b<", "U+200B, a zero-width space", "U+200B, spację zerowej szerokości"),
        ('"FA (3)"', '"FA  (3)"', "two spaces in a row", "dwie spacje pod rząd"),
        ('"FA (3)"', '"FA\u00a0(3)"', "contains U+00A0, a no-break space", "U+00A0, spację nierozdzielającą"),
        ('"1-0E"', '"1\u20110E"', "U+2011, a no-break hyphen", "U+2011, łącznik nierozdzielający"),
        (">123.00<", ">1\u00a0123.00<", "U+00A0, a no-break space", "U+00A0, spację nierozdzielającą"),
        (">VAT<", ">VAT\u2007<", "U+2007, a figure space", "U+2007, spację o szerokości cyfry"),
        (">5213814999<", ">521\u00ad3814999<", "U+00AD, a soft hyphen", "U+00AD, miękki łącznik"),
        (">2026-11-22<", ">2026\u201311\u201322<", "U+2013, an en dash", "U+2013, półpauzę"),
    ],
)
def test_the_fault_that_is_not_seen_is_named(
    check: Check, edited: Edit, old: str, new: str, english: str, polish: str
) -> None:
    found = [one for one in check(edited((old, new))).findings if english in one.message]
    assert found
    assert all(polish in one.message_pl for one in found)


@pytest.mark.parametrize(
    ("old", "new"),
    [(">2026-11-22<", "> 2026-13-22 <"), (">123.00<", "> 12,3 <"), (">2</JST>", "> 7 </JST>"), (">VAT<", "> VATT <")],
)
def test_a_blank_that_the_type_ignores_is_not_named(check: Check, edited: Edit, old: str, new: str) -> None:
    messages = [one.message for one in check(edited((old, new))).findings]
    assert messages
    assert not any("with a space" in message for message in messages)


def test_the_documents_of_real_reports_name_their_fault(checker: InvoiceChecker) -> None:
    if not CASES.exists():
        return
    context = CheckContext("9999999999", date(2026, 11, 29), check_nip_checksums=False, attachments_allowed=None)
    for name, english, polish in (
        ("02d-waluta-blank.xml", '"PLN " (ends with a space)', "kończy się spacją"),
        ("10-form-nbsp.xml", "contains U+00A0, a no-break space", "U+00A0, spację nierozdzielającą"),
        ("03-prolog-no-version.xml", "has no version", "nie podaje wersji"),
        ("90h-comment--.xml", "(--)", "(--)"),
        ("91g-wrong-close.xml", "is closed by </P_8>", "zamykany przez </P_8>"),
    ):
        found = checker.check((CASES / name).read_bytes(), context).findings
        assert any(english in one.message and polish in one.message_pl for one in found), name
