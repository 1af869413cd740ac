"""Values are read as the XSD and KSeF read them: its white space, its digits, its numbers. Found by mutations."""

from collections.abc import Callable

import pytest

from app.forms.form import CheckedInvoice

Check = Callable[..., CheckedInvoice]
Edit = Callable[..., bytes]

SELLER = "<NIP>5265877635</NIP>"
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


def errors_of(checked: CheckedInvoice) -> list[str]:
    return [finding.rule for finding in checked.findings if finding.severity.value == "error"]


@pytest.mark.parametrize("number", ["\u00a0", "FV\u00a01", "\u2003FV 1\u3000", "\u0085", "FV\u20281"])
def test_only_xml_white_space_is_collapsed_so_that_two_numbers_stay_two(
    number: str, check: Check, edited: Edit
) -> None:
    """A number of no-break spaces was valid without any facts, and FV 1 was taken for a repetition of FV\u00a01."""
    checked = check(edited(("FV/1", number)))
    assert errors_of(checked) == []
    assert checked.facts is not None
    assert checked.facts.number == number


def test_xml_white_space_is_collapsed_in_a_number_with_other_letters(check: Check, edited: Edit) -> None:
    checked = check(edited(("FV/1", "\n\tŻ \n 1 ")))
    assert checked.facts is not None
    assert checked.facts.number == "Ż 1"


def test_a_sellers_nip_in_digits_of_another_script_is_not_the_tenants(check: Check, edited: Edit) -> None:
    """The pattern of the XSD takes any digits, and nothing else looked at such a NIP."""
    strange = f"526{'5877635'.translate(ARABIC)}"
    assert errors_of(check(edited((SELLER, f"<NIP>{strange}</NIP>")))) == ["nip-checksum", "seller-not-tenant"]


@pytest.mark.parametrize("buyer", ["52١3814999", "521381499９"])
def test_a_nip_in_digits_of_another_script_has_no_right_check_digit(buyer: str, check: Check, edited: Edit) -> None:
    document = edited(("5213814999", buyer))
    assert errors_of(check(document)) == ["nip-checksum"]
    assert errors_of(check(document, check_nip_checksums=False)) == []


@pytest.mark.parametrize("variant", ["03", "+3", " 3 ", "<!-- -->3"])
def test_the_variant_of_the_form_is_a_number(variant: str, check: Check, edited: Edit) -> None:
    assert check(edited(("<WariantFormularza>3", f"<WariantFormularza>{variant}"))).findings == ()


@pytest.mark.parametrize("mark", ["1", "01", "+1", " 1", "<![CDATA[1]]>"])
def test_the_mark_of_self_billing_is_a_number(mark: str, check: Check, edited: Edit) -> None:
    document = edited(("5265877635", "1111111111"), ("5213814999", "5265877635"), ("<P_17>2", f"<P_17>{mark}"))
    assert check(document).findings == ()


@pytest.mark.parametrize("before", [" ", "\n    ", "\t\r\n", " <!-- --> "])
def test_blanks_around_the_creation_time_are_none_of_its_value(before: str, check: Check, edited: Edit) -> None:
    """libxml2 minds those before a date and time, and no others."""
    document = edited(("<DataWytworzeniaFa>2026", f"<DataWytworzeniaFa>{before}2026"), ("00Z</Data", "00Z \n</Data"))
    assert check(document).findings == ()


def test_a_moment_after_blanks_must_still_be_one(check: Check, edited: Edit) -> None:
    document = edited(("<DataWytworzeniaFa>2026-11", "<DataWytworzeniaFa>\n2026-13"), ("<P_13_1>100", "<P_13_1>x"))
    paths = {finding.path: finding.line for finding in check(document).findings}
    assert paths == {"/Faktura/Naglowek/DataWytworzeniaFa": 6, "/Faktura/Fa/P_13_1": 22}
