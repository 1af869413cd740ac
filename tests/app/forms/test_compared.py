"""Found and wanted values of findings."""

import re
from string import Formatter

from app.forms.compared import WANTED, compared
from app.forms.rules import RULES, finding


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def test_every_rule_that_compares_exists_and_has_the_values_that_it_names() -> None:
    for rule, wanted in WANTED.items():
        known = _fields(RULES[rule].english) | _fields(RULES[rule].polish)
        assert _fields("".join(wanted)) <= known, rule


def test_a_rule_without_an_entry_names_its_found_value() -> None:
    assert finding("nip-checksum", value='"123"', party="Podmiot1").compared == ('"123"', "", "")
    assert finding("empty-document").compared is None


def test_found_and_wanted_are_apart_from_the_sentence_and_not_in_the_api() -> None:
    one = finding("xsd-out-of-range", value='"-1"', limit="0", english_bound="at least", polish_bound="co najmniej",
                  english_element="P_8B", polish_element="P_8B")  # fmt: skip
    assert one.compared == ('"-1"', "at least 0", "co najmniej 0")
    assert "compared" not in one.as_dict()


def test_a_value_is_never_read_as_a_template() -> None:
    assert compared("nip-checksum", {"value": "{0.__class__}"}) == ("{0.__class__}", "", "")


def test_no_template_reaches_into_a_value() -> None:
    assert not [rule for rule, wanted in WANTED.items() if re.search(r"\{[^}]*[.\[]", "".join(wanted))]
