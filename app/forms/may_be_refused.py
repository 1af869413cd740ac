"""Warnings on values that the XSD allows and that the validator of KSeF, which is that of .NET, may refuse.

.NET counts the length of a text in units of UTF-16, where a character beyond U+FFFF (an emoji, for example) is two, and takes no
hour 24. Both differ from XML Schema, and both were reported by users of KSeF.
"""

import re
from typing import Final

from lxml import etree

from app.domain.findings import Finding
from app.forms.fields import collapsed
from app.forms.rules import finding
from app.forms.xsd.places import find_by_node_path, line_of_element, local_name, path_of
from app.forms.xsd.vocabulary import Vocabulary

_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")
_TWO_UNITS: Final = "xx"
_TOO_LONG: Final = frozenset(("SCHEMAV_CVC_MAXLENGTH_VALID", "SCHEMAV_CVC_LENGTH_VALID"))
_LENGTH: Final = re.compile(r"The value has a length of '(\d+)'; this [^']{1,60}'(\d+)'\.?\s*$")
_END_OF_DAY: Final = re.compile(r"-?\d{4,9}-\d\d-\d\dT24:00:00(?:\.0{1,20})?(?:Z|[+-]\d\d:\d\d)?")
_MOMENTS: Final = "Data"
"""The beginning of the names of all elements with a date and time."""
_MOST: Final = 20
_EDGE: Final = 300


def check_may_be_refused(root: etree._Element, schema: etree.XMLSchema, words: Vocabulary) -> list[Finding]:
    """Return the warnings on a document that fits the schema. It may change the texts of the tree."""
    found: list[Finding] = []
    has_long_characters = False
    for element in root.iter(etree.Element):
        text = element.text
        if not text:
            continue
        if not text.isascii() and _ASTRAL.search(text):
            has_long_characters = True
            element.text = _ASTRAL.sub(_TWO_UNITS, text)
        elif "T24:" in text and _END_OF_DAY.fullmatch(collapsed(text)) and local_name(element).startswith(_MOMENTS):
            found.append(
                _about(
                    element,
                    words,
                    f"the time {collapsed(text)} is the end of a day; write it as 00:00:00 of the next day",
                    f"godzina {collapsed(text)} to koniec doby; należy zapisać ją jako 00:00:00 następnego dnia",
                )
            )
    if has_long_characters and not schema.validate(root):
        found += _too_long(root, schema, words)
    return found[:_MOST]


def _too_long(root: etree._Element, schema: etree.XMLSchema, words: Vocabulary) -> list[Finding]:
    found = []
    for entry in list(schema.error_log)[:_MOST]:  # type: ignore[call-overload]  # the stubs forget that it is iterable
        element = find_by_node_path(root, entry.path)
        length = _LENGTH.search(entry.message[-_EDGE:])
        if entry.type_name not in _TOO_LONG or element is None or length is None:
            continue
        found.append(
            _about(
                element,
                words,
                f"it has {length[1]} characters as UTF-16 counts them (an emoji is two), and {length[2]} are allowed",
                f"ma {length[1]} znaków według UTF-16 (emoji liczy się jako dwa), a dozwolone jest {length[2]}",
            )
        )
    return found


def _about(element: etree._Element, words: Vocabulary, english: str, polish: str) -> Finding:
    name = local_name(element)
    return finding(
        "may-be-refused",
        line=line_of_element(element),
        path=path_of(element),
        english_element=words.label(name, polish=False),
        polish_element=words.label(name, polish=True),
        english_reason=english,
        polish_reason=polish,
    )
