"""Explanations of libxml2's XSD messages for a bookkeeper, in English and Polish.

libxml2 has English messages only, writes element names with their namespaces and quotes values in full. Its messages are
parsed at their beginnings and ends, never searched as a whole: a value may be megabytes long and may
contain any words.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from lxml import etree

from app.domain.findings import Finding
from app.forms.fields import collapsed
from app.forms.quoting import quoted
from app.forms.rules import finding
from app.forms.xsd.places import local_name
from app.forms.xsd.vocabulary import PATTERNS, TYPES, UNNAMED_TYPES, Vocabulary

# The allowed currencies fill 1,400 characters; nothing that libxml2 adds to a value is longer than this.
_EDGE = 6_000
_MAX_LISTED = 12
_MAX_NAME = 60

_ATTRIBUTE = re.compile(r", attribute '(?:\{[^}]{0,200}\})?([^']{1,60})")
_LINE_BLANKS = re.compile("[\t\r\n]")
_OF_TYPE = frozenset(f"SCHEMAV_CVC_DATATYPE_VALID_1_2_{number}" for number in (1, 2, 3))
_HINT = re.compile(r", attribute '\{http://www\.w3\.org/2001/XMLSchema-instance\}([^']{1,60})")
_MISSING_ATTRIBUTE = re.compile(r"The attribute '([^']{1,60})' is required")
_EXPECTED = re.compile(r"Expected is (?:one of )?\( ([^()]*?) ?\)\.?\s*$")
_ALLOWED = re.compile(r"is not an element of the set \{([^{}]*)\}\.?\s*$")
_FIXED = re.compile(r"does not match the fixed value constraint '([^']*)'\.?\s*$")
_PATTERN = re.compile(r"is not accepted by the pattern '([^\n]*)'\.?\s*$")
_TYPE = re.compile(r"type '(?:\{[^}]*\})?([^']*)'\.?\s*$")
_LENGTH = re.compile(r"The value has a length of '(\d+)'; this [^']{1,60}'(\d+)'\.?\s*$")
_BOUND = re.compile(r"\(?'([^']{1,60})'\)?\.?\s*$")

_BOUNDS = {
    "SCHEMAV_CVC_MININCLUSIVE_VALID": ("at least", "co najmniej"),
    "SCHEMAV_CVC_MAXINCLUSIVE_VALID": ("at most", "najwyżej"),
    "SCHEMAV_CVC_MINEXCLUSIVE_VALID": ("greater than", "większa niż"),
    "SCHEMAV_CVC_MAXEXCLUSIVE_VALID": ("less than", "mniejsza niż"),
}
# libxml2's words for `xsi:nil` and `xsi:type` where they are not allowed.
_HINTS = (
    *("SCHEMAV_CVC_ELT_3_1", "SCHEMAV_CVC_ELT_3_2_1", "SCHEMAV_CVC_ELT_3_2_2"),
    *("SCHEMAV_CVC_ELT_4_1", "SCHEMAV_CVC_ELT_4_2", "SCHEMAV_CVC_ELT_4_3"),
)
_MISSING_CHILD = "Missing child element"
_NAMES_THE_ATTRIBUTE = frozenset(("xsd-unexpected-attribute", "xsd-instruction"))
CONTENT = "SCHEMAV_ELEMENT_CONTENT"

_RuleAndValues = tuple[str, dict[str, object]]


def expected_names(message: str) -> list[str]:
    """Return the names, with their namespaces, of the elements that libxml2 would have accepted."""
    found = _EXPECTED.search(message[-_EDGE:])
    return [name for name in found[1].split(", ") if name] if found else []


def is_about_missing_child(message: str) -> bool:
    """Return whether an element ends too early; else one of its children is out of place."""
    return _MISSING_CHILD in message[:_EDGE]


def explain_missing(
    message: str, parent: etree._Element, line: int | None, path: str | None, words: Vocabulary
) -> Finding:
    """Return the finding for a required child that the parent lacks."""
    names = [name.rpartition("}")[2] for name in expected_names(message)]
    return finding(
        "xsd-missing-element",
        line=line,
        path=path,
        raw=message.strip(),
        **_in_both(words, "element", [local_name(parent)[:_MAX_NAME]]),
        **_in_both(words, "expected", names),
    )


def explain(
    kind: str, message: str, element: etree._Element, line: int | None, path: str | None, words: Vocabulary
) -> Finding:
    """Return the finding for one message of libxml2 about an element; `kind` is the name of the message's type."""
    rule, values = _rule_and_values(kind, message, element, words)
    name = local_name(element)[:_MAX_NAME]
    attribute = _ATTRIBUTE.search(message[:_EDGE])
    suffix = f"/@{attribute[1]}" if attribute and rule not in _NAMES_THE_ATTRIBUTE else ""
    return finding(
        rule,
        line=line,
        path=path,
        raw=message.strip(),
        english_element=words.label(name, polish=False) + suffix,
        polish_element=words.label(name, polish=True) + suffix,
        **values,
    )


def _rule_and_values(kind: str, message: str, element: etree._Element, words: Vocabulary) -> _RuleAndValues:
    if kind == CONTENT:
        return _about_content(message, element, words)
    explainer = _EXPLAINERS.get(kind)
    if explainer is None:
        return "xsd-other", {}
    start = message[:_EDGE]
    said = _Said(kind, start, message[-_EDGE:], _ATTRIBUTE.search(start), _HINT.search(start), element)
    return explainer(said)


@dataclass(frozen=True, slots=True)
class _Said:
    """One message of libxml2 in the parts that every explainer needs."""

    kind: str
    start: str
    tail: str
    attribute: re.Match[str] | None
    hint: re.Match[str] | None
    """Set when the attribute is one of those that instruct the validator (`xsi:type`, `xsi:nil`)."""
    element: etree._Element

    def value(self) -> str:
        """Return the wrong value as the finding shows it.

        Blanks that the type ignores are left out, as in the value that the message names: they are no fault.
        """
        if self.attribute:
            return quoted(self.element.get(self.attribute[1]) or "")
        text = _text(self.element)
        is_named = any(f"'{one}'" in self.start for one in (text, _LINE_BLANKS.sub(" ", text)))
        # For a date or a number libxml2 names the value with blanks, although they mean nothing.
        return quoted(text if is_named and self.kind not in _OF_TYPE else collapsed(text))

    def is_empty(self) -> bool:
        """Return whether the fault is that the element has no text."""
        return self.attribute is None and not collapsed(_text(self.element))

    def find(self, pattern: re.Pattern[str], otherwise: str) -> str:
        """Return the first group of the pattern at the end of the message, else `otherwise`."""
        found = pattern.search(self.tail)
        return found[1] if found else otherwise


def _about_enumeration(said: _Said) -> _RuleAndValues:
    if said.is_empty():
        return "xsd-empty-value", {}
    allowed = said.find(_ALLOWED, "?").replace("'", "").split(", ")
    return "xsd-value-not-allowed", {"value": said.value(), "allowed": _listed(allowed)}


def _about_fixed_value(said: _Said) -> _RuleAndValues:
    return "xsd-value-not-allowed", {"value": said.value(), "allowed": said.find(_FIXED, "?")}


def _about_pattern(said: _Said) -> _RuleAndValues:
    if said.is_empty():
        return "xsd-empty-value", {}
    english, polish = _pattern_in_words(said.find(_PATTERN, "?"))
    return "xsd-pattern", {"value": said.value(), "english_kind": english, "polish_kind": polish}


def _about_type(said: _Said) -> _RuleAndValues:
    if said.is_empty():
        return "xsd-empty-value", {}
    if said.hint is not None:
        return _about_hint(said)
    name = said.find(_TYPE, "") or UNNAMED_TYPES.get(local_name(said.element), "")
    english, polish = TYPES.get(name, ("a value that this field takes", "wartość dozwolona w tym polu"))
    return "xsd-bad-value", {"value": said.value(), "english_kind": english, "polish_kind": polish}


def _about_length(said: _Said) -> _RuleAndValues:
    found = _LENGTH.search(said.tail)
    length, limit = (int(found[1]), int(found[2])) if found else (0, 0)
    if said.kind == "SCHEMAV_CVC_MAXLENGTH_VALID":
        return "xsd-too-long", {"length": length, "limit": limit}
    if length == 0:
        return "xsd-empty-value", {}
    return "xsd-too-short", {"value": said.value(), "length": length, "limit": limit}


def _about_bound(said: _Said) -> _RuleAndValues:
    english, polish = _BOUNDS[said.kind]
    return "xsd-out-of-range", {
        "value": said.value(),
        "limit": said.find(_BOUND, "?"),
        "english_bound": english,
        "polish_bound": polish,
    }


def _about_digits(said: _Said) -> _RuleAndValues:
    fraction = said.kind == "SCHEMAV_CVC_FRACTIONDIGITS_VALID"
    return "xsd-too-many-digits", {
        "value": said.value(),
        "limit": said.find(_BOUND, "?"),
        "english_where": " after the dot" if fraction else "",
        "polish_where": " po kropce" if fraction else "",
    }


def _about_missing_attribute(said: _Said) -> _RuleAndValues:
    return "xsd-missing-attribute", {"attribute": said.find(_MISSING_ATTRIBUTE, "?")}


def _about_surplus_attribute(said: _Said) -> _RuleAndValues:
    return "xsd-unexpected-attribute", {"attribute": said.attribute[1] if said.attribute else "?"}


def _about_hint(said: _Said) -> _RuleAndValues:
    return "xsd-instruction", {"attribute": said.hint[1] if said.hint else "nil"}


def _about_text(said: _Said) -> _RuleAndValues:
    return "xsd-unexpected-text", {}


def _about_child(said: _Said) -> _RuleAndValues:
    return "xsd-unexpected-child", {}


def _about_content(message: str, element: etree._Element, words: Vocabulary) -> _RuleAndValues:
    expected = expected_names(message)
    names = [name.rpartition("}")[2] for name in expected]
    if is_about_missing_child(message):
        return "xsd-missing-element", _in_both(words, "expected", names)
    namespace = element.tag.rpartition("}")[0][1:]
    if namespace != words.namespace and not any(name.startswith(f"{{{namespace}}}") for name in expected):
        return "xsd-foreign-namespace", {"namespace": quoted(namespace), "expected": words.namespace}
    before = element.getprevious()
    if before is not None and before.tag == element.tag:
        english = "There are more of them in a row than allowed."
        polish = "Jest ich pod rząd więcej, niż wolno."
    elif not names:
        english = "Nothing more is expected at this point: it is surplus or misplaced."
        polish = "W tym miejscu nie oczekuje się już niczego: element jest zbędny albo źle umieszczony."
    else:
        listed = _in_both(words, "expected", names)
        english = f"Expected here: {listed['english_expected']}. Either that is missing, or the order is wrong, or there is no such element."
        polish = f"Oczekiwano: {listed['polish_expected']}. Albo tego brakuje, albo kolejność jest błędna, albo takiego elementu nie ma."
    return "xsd-unexpected-element", {"english_hint": english, "polish_hint": polish}


def _text(element: etree._Element) -> str:
    return "".join([element.text or "", *(child.tail or "" for child in element)])


def _pattern_in_words(pattern: str) -> tuple[str, str]:
    for start, english, polish in PATTERNS:
        if pattern.startswith(start):
            return english, polish
    return f"the pattern {pattern}", f"wzorzec {pattern}"


def _in_both(words: Vocabulary, name: str, elements: list[str]) -> dict[str, object]:
    return {
        f"english_{name}": _listed([words.label(element, polish=False) for element in elements], " or "),
        f"polish_{name}": _listed([words.label(element, polish=True) for element in elements], " lub "),
    }


def _listed(items: list[str], last: str = ", ") -> str:
    if len(items) > _MAX_LISTED:
        # The last one matters most: in a sequence it is the required one, behind optional ones.
        return f"{', '.join(items[: _MAX_LISTED - 1])}, … ({len(items)}){last}{items[-1]}"
    return ", ".join(items[:-1]) + (last if len(items) > 1 else "") + (items[-1] if items else "")


_EXPLAINERS: dict[str, Callable[[_Said], _RuleAndValues]] = {
    "SCHEMAV_CVC_ENUMERATION_VALID": _about_enumeration,
    "SCHEMAV_CVC_AU": _about_fixed_value,
    "SCHEMAV_CVC_ELT_5_2_2_2_1": _about_fixed_value,
    "SCHEMAV_CVC_ELT_5_2_2_2_2": _about_fixed_value,
    "SCHEMAV_CVC_PATTERN_VALID": _about_pattern,
    "SCHEMAV_CVC_DATATYPE_VALID_1_2_1": _about_type,
    "SCHEMAV_CVC_DATATYPE_VALID_1_2_2": _about_type,
    "SCHEMAV_CVC_DATATYPE_VALID_1_2_3": _about_type,
    "SCHEMAV_CVC_MINLENGTH_VALID": _about_length,
    "SCHEMAV_CVC_MAXLENGTH_VALID": _about_length,
    "SCHEMAV_CVC_LENGTH_VALID": _about_length,
    **dict.fromkeys(_BOUNDS, _about_bound),
    "SCHEMAV_CVC_TOTALDIGITS_VALID": _about_digits,
    "SCHEMAV_CVC_FRACTIONDIGITS_VALID": _about_digits,
    "SCHEMAV_CVC_COMPLEX_TYPE_4": _about_missing_attribute,
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_1": _about_surplus_attribute,
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_2": _about_surplus_attribute,
    "SCHEMAV_CVC_TYPE_3_1_1": _about_surplus_attribute,
    "SCHEMAV_CVC_COMPLEX_TYPE_2_1": _about_text,
    "SCHEMAV_CVC_COMPLEX_TYPE_2_3": _about_text,
    "SCHEMAV_CVC_TYPE_3_1_2": _about_child,
    "SCHEMAV_CVC_COMPLEX_TYPE_2_2": _about_child,
    **dict.fromkeys(_HINTS, _about_hint),
}
