"""Values that the schema allows and .NET may refuse: valid, with a warning, by the fast and by the full way."""

from datetime import date
from pathlib import Path

import pytest

from app.forms.fa3.checker import InvoiceChecker, make_checker
from app.forms.form import CheckContext
from app.schema_files import load_schema_files
from tests.app.forms.fa3.conftest import INVOICE, Edit

CASES = Path(__file__).resolve().parents[4].parent / "shared" / "cases"
CONTEXT = CheckContext("5265877635", date(2026, 11, 22), check_nip_checksums=False, attachments_allowed=None)


@pytest.fixture(scope="module", params=[True, False], ids=["fast path", "full path"])
def either(request: pytest.FixtureRequest) -> InvoiceChecker:
    made = make_checker(load_schema_files()["FA (3)"], fast_path=request.param)
    assert made.check(INVOICE, CONTEXT).valid
    return made


def warned(checker: InvoiceChecker, document: bytes) -> list[tuple[str | None, str, str]]:
    checked = checker.check(document, CONTEXT)
    assert checked.valid
    return [(one.path, one.message, one.message_pl) for one in checked.findings if one.rule == "may-be-refused"]


@pytest.mark.parametrize("written", ["\U0001f600", "&#x1F600;", "&#128512;"])
def test_a_text_too_long_as_utf_16_counts_is_valid_with_a_warning(
    either: InvoiceChecker, edited: Edit, written: str
) -> None:
    assert warned(either, edited(("Zażółć Gęślą", "a" * 510 + written))) == []
    [(path, english, polish)] = warned(either, edited(("Zażółć Gęślą", "a" * 511 + written)))
    assert path == "/Faktura/Podmiot1/DaneIdentyfikacyjne/Nazwa"
    assert "513 characters as UTF-16 counts them" in english
    assert "512 are allowed" in english
    assert "513 znaków według UTF-16" in polish


@pytest.mark.parametrize("moment", ["2026-11-21T24:00:00Z", "2026-11-21T24:00:00.000+01:00"])
def test_the_hour_24_is_valid_with_a_warning(either: InvoiceChecker, edited: Edit, moment: str) -> None:
    [(path, english, polish)] = warned(either, edited(("2026-11-22T08:00:00Z", moment)))
    assert path == "/Faktura/Naglowek/DataWytworzeniaFa"
    assert f"the time {moment} is the end of a day" in english
    assert "00:00:00 następnego dnia" in polish


def test_a_text_that_only_mentions_the_hour_24_is_no_moment(either: InvoiceChecker, edited: Edit) -> None:
    assert warned(either, edited(("Usługa", "2026-11-21T24:00:00Z"))) == []


def test_the_documents_of_real_reports_are_valid_with_a_warning(either: InvoiceChecker) -> None:
    if not CASES.exists():
        return
    context = CheckContext("9999999999", date(2026, 11, 29), check_nip_checksums=False, attachments_allowed=None)
    for name in ("07-emoji-256.xml", "12-created24.xml"):
        checked = either.check((CASES / name).read_bytes(), context)
        assert (checked.valid, [one.rule for one in checked.findings]) == (True, ["may-be-refused"]), name
