"""Validation of a document by the XSD that reports every fault, not only the first of each group.

libxml2 stops at the first child of an element that is out of place. So after a round of validation the tree in
memory is mended at those places and validated again: a missing element is inserted, a surplus one removed. Findings of
later rounds still describe the sender's document.
"""

import re
from dataclasses import dataclass, field

from lxml import etree

from app.domain.findings import Finding
from app.forms.wellformed import make_parser
from app.forms.xsd.places import REMOVED, find_by_node_path, line_of_element, path_of
from app.forms.xsd.schema_messages import CONTENT, expected_names, explain, explain_missing, is_about_missing_child
from app.forms.xsd.vocabulary import Vocabulary

# Above this, a document is validated while it is parsed and given up after a number of faults: libxml2
# takes about a second for 25,000 messages, and half of that for the path in each.
LARGE_DOCUMENT_BYTES = 256 * 1024
_FEED_BYTES = 32 * 1024
_MAX_MESSAGES = 400
MANY_ROUNDS = 20
# Elements inserted before one that is out of place, until it is in place. More would change the document too much.
_MOST_PUT_IN = 12
# libxml2 names at most this many accepted elements: a list of this length may lack the required one.
_MOST_NAMED = 10
FEW_ROUNDS = 3
_MAX_FINDINGS = 150
_KEY_LENGTH = 2_000
_NOT_OF_TYPE = "SCHEMAV_CVC_DATATYPE_VALID_1_2_1"
_MOMENT_AFTER_BLANKS = re.compile(r"[ \t\r\n]+\d{4}-\d\d-\d\dT")
_DIGITS = frozenset(("SCHEMAV_CVC_FRACTIONDIGITS_VALID", "SCHEMAV_CVC_TOTALDIGITS_VALID"))
_CHILD = frozenset(("SCHEMAV_CVC_TYPE_3_1_2",))
# Messages that only repeat another one about the same element: too many digits break the pattern of an amount too,
# and an element with a child instead of text is also empty.
_SAME_FAULT: dict[str, frozenset[str]] = {
    "SCHEMAV_CVC_FRACTIONDIGITS_VALID": _DIGITS,
    "SCHEMAV_CVC_PATTERN_VALID": _DIGITS | _CHILD | {"SCHEMAV_CVC_MINLENGTH_VALID", "SCHEMAV_CVC_MAXLENGTH_VALID"},
    "SCHEMAV_CVC_MINLENGTH_VALID": _CHILD,
    "SCHEMAV_CVC_ENUMERATION_VALID": _CHILD,
    "SCHEMAV_CVC_DATATYPE_VALID_1_2_1": _CHILD,
    "SCHEMAV_CVC_DATATYPE_VALID_1_2_3": _CHILD,
}


def find_where_to_give_up(document: bytes, schema: etree.XMLSchema) -> int | None:
    """Return the number of bytes of a large, well-formed document that already hold the maximum of faults.

    None when the whole document has fewer. This parser reports faults cheaply, without their places.
    Its verdict has no other use, since it accepts some documents that end too early.
    """
    parser = make_parser(schema)
    try:
        for start in range(0, len(document), _FEED_BYTES):
            parser.feed(document[start : start + _FEED_BYTES])
            if len(parser.feed_error_log) > _MAX_MESSAGES:
                return start + _FEED_BYTES
        parser.close()
    except etree.XMLSyntaxError:
        return len(document) if len(parser.feed_error_log) > _MAX_MESSAGES else None
    return None


def check_schema(
    root: etree._Element, schema: etree.XMLSchema, words: Vocabulary, *, rounds: int = MANY_ROUNDS
) -> list[Finding]:
    """Return the findings of the XSD; empty for a valid document. The tree is changed when there are any."""
    if schema.validate(root) or (_collapse_moments(root, schema) and schema.validate(root)):
        return []
    check = _Check(words)
    for round_number in range(rounds):
        if round_number and schema.validate(root):
            check.reword_missing(set())
            break
        if not check.take(root, schema) or len(check.findings) >= _MAX_FINDINGS:
            break
    return check.findings


def _collapse_moments(root: etree._Element, schema: etree.XMLSchema) -> bool:
    """Remove the blanks around dates and times that libxml2 refused; return whether there were any.

    The XSD ignores blanks around a date or time (XML Schema Part 2, whiteSpace), and other validators do so.
    """
    found = False
    for entry in list(schema.error_log)[:_MAX_MESSAGES]:  # type: ignore[call-overload]  # the stubs forget that it is iterable
        if entry.type_name == _NOT_OF_TYPE and (element := find_by_node_path(root, entry.path)) is not None:
            text = "".join([element.text or "", *(child.tail or "" for child in element)])
            if _MOMENT_AFTER_BLANKS.match(text) and all(isinstance(child, etree._Comment) for child in element):
                etree.strip_tags(element, etree.Comment)
                element.text = text.strip(" \t\r\n")
                found = True
    return found


def check_beginning(schema: etree.XMLSchema, words: Vocabulary, document: bytes, end: int) -> list[Finding]:
    """Return the findings of the XSD in the first `end` bytes of a document that has very many; never empty."""
    root = etree.fromstring(document[:end], make_parser(recover=True))
    check = _Check(words)
    # Elements that are open at the cut lack the children behind it, which is no fault of the document.
    current: etree._Element | None = root
    while current is not None:
        check.put_in.add(current)
        current = next(current.iterchildren(etree.Element, reversed=True), None)
    if not schema.validate(root):
        check.take(root, schema)
    return check.findings or [explain("", "", root, 1, path_of(root), words)]


@dataclass(slots=True)
class _OutOfPlace:
    """An element out of place: the index of its finding, and one message of libxml2 for each element inserted before it."""

    index: int
    messages: list[str]
    is_hopeless: bool = False

    def telling_messages(self) -> list[str]:
        """Return a message for each required element that was missing. Optional ones may have been inserted before it."""
        last = len(self.messages) - 1
        return [
            message
            for number, message in enumerate(self.messages)
            if number == last or len(expected_names(message)) < _MOST_NAMED
        ]


@dataclass(slots=True)
class _Check:
    """The findings of all rounds so far. Elements are kept alive, so that each is recognised in the next round."""

    words: Vocabulary
    findings: list[Finding] = field(default_factory=list)
    put_in: set[etree._Element] = field(default_factory=set)
    out_of_place: dict[etree._Element, _OutOfPlace] = field(default_factory=dict)
    reported: dict[etree._Element, set[str]] = field(default_factory=dict)

    def take(self, root: etree._Element, schema: etree.XMLSchema) -> bool:
        """Turn the messages of the last round into findings and mend the tree; return whether it was changed."""
        to_mend: list[tuple[etree._Element, list[str]]] = []
        for entry in list(schema.error_log)[: 4 * _MAX_MESSAGES]:  # type: ignore[call-overload]  # the stubs forget that it is iterable
            element = find_by_node_path(root, entry.path)
            if element is None:
                element = root
            if element in self.put_in:
                continue
            kind, message = entry.type_name, entry.message
            is_out_of_place = kind == CONTENT and not is_about_missing_child(message)
            if is_out_of_place:
                to_mend.append((element, expected_names(message)))
            if self._is_new(element, kind, message) and len(self.findings) < _MAX_FINDINGS:
                if is_out_of_place:
                    self.out_of_place[element] = _OutOfPlace(len(self.findings), [message])
                self.findings.append(
                    explain(kind, message, element, line_of_element(element), path_of(element), self.words)
                )
            elif is_out_of_place and element in self.out_of_place:
                self.out_of_place[element].messages.append(message)
        self.reword_missing({element for element, _ in to_mend})
        for element, expected in to_mend:
            self._mend(element, expected)
        return bool(to_mend)

    def reword_missing(self, still_out_of_place: set[etree._Element]) -> None:
        """Reword the finding of an element that is in place after insertions before it: those were missing."""
        for element in [one for one in self.out_of_place if one not in still_out_of_place]:
            known = self.out_of_place.pop(element)
            parent = element.getparent()
            if known.is_hopeless or parent is None:
                continue
            line, path = line_of_element(element), path_of(parent)
            first, *more = [
                explain_missing(message, parent, line, path, self.words) for message in known.telling_messages()
            ]
            self.findings[known.index] = first
            self.findings += more[: _MAX_FINDINGS - len(self.findings)]

    def _is_new(self, element: etree._Element, kind: str, message: str) -> bool:
        reported = self.reported.setdefault(element, set())
        # An element out of place is reported once, though mending may show it again with other words.
        key = kind if kind == CONTENT else f"{kind} {message[:_KEY_LENGTH]}"
        if key in reported or not reported.isdisjoint(_SAME_FAULT.get(kind, ())):
            return False
        reported.update((key, kind))
        return True

    def _mend(self, element: etree._Element, expected: list[str]) -> None:
        parent = element.getparent()
        if parent is None:
            return
        known = self.out_of_place.get(element)
        later = {sibling.tag for sibling in element.itersiblings()}
        earlier = {sibling.tag for sibling in element.itersiblings(preceding=True)}
        if known is not None and len(known.messages) <= _MOST_PUT_IN and expected and element.tag not in earlier:
            # No expected element follows, so it is missing. Of several, the last is the required one.
            missing = element.makeelement(expected[-1])
            if missing.tag not in earlier and not later.intersection(expected):
                element.addprevious(missing)
                self.put_in.add(missing)
                return
        if known is not None:
            known.is_hopeless = True
        mark = etree.Comment(f"{REMOVED}{element.tag}")
        mark.tail = element.tail
        # Keep the element itself alive in `reported`; the mark takes its place in the tree.
        parent.replace(element, mark)
