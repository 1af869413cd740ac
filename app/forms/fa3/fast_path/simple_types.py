"""The simple types of the schema as regular expressions that no invalid value matches.

An expression may refuse a valid value, such as an amount written `+1.50` or a text that begins with a blank: libxml2 then
checks the document. It must never match an invalid value; the expression of an unsupported type matches nothing.
Texts are matched after the recogniser has put one character in the place of each escape, and never hold a `<`.
Source of the rules: XML Schema Part 2, and how FA(3) uses it.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final

STAND_INS: Final = {"&": "\ue001", "<": "\ue002", ">": "\ue003", '"': "\ue004", "'": "\ue005"}
"""Substitutes for escaped characters in matched texts."""
NEVER: Final = "(?!)"
"""An expression that matches nothing."""

_LONGEST_OFFSET: Final = timedelta(hours=14)
_DAY: Final = "(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?"
# A time without an offset cannot be compared with the bounds of its type.
_OFFSET: Final = "(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])"
_AMOUNT_PATTERN: Final = re.compile(r"-\?\(\[1-9\]\\d\{0,(\d+)\}\|0\)\(\\\.\\d\{1,(\d+)\}\)\?")
_LENGTHS: Final = frozenset(("minLength", "maxLength", "whiteSpace"))
_BOUNDS: Final = frozenset(("minInclusive", "maxInclusive", "whiteSpace"))
_BLANKS_IN: Final = {"string": "preserve", "normalizedString": "replace", "token": "collapse"}
# The syntax in FA(3)'s patterns: literals, classes, groups, counts. Other syntax is not supported.
_PIECES: Final = re.compile(
    r"""\\d|\\s|\\[.?+*\\-]   # classes and literals
    |\[\^?(?:\\[ds]|[^]\[\\])+]   # sets
    |[A-Za-z0-9:/@_=#-]|&|\.|\(|\)|\||[?*+]|\{\d+(?:,\d*)?}""",
    re.VERBOSE,
)
_COUNTS: Final = ("?", "*", "+", "{")
_RANGE_OF_A_CLASS: Final = re.compile(r"\\[ds]-[^]]")


@dataclass(frozen=True, slots=True)
class Facets:
    """A simple type in parts: the built-in type that it restricts, and all restrictions."""

    base: str
    """Local name of the built-in type; `union` for one, which has `members`."""
    limits: dict[str, str] = field(default_factory=dict)
    """The innermost value of each facet that is given once, such as `maxLength`."""
    patterns: tuple[tuple[str, ...], ...] = ()
    """The alternatives of each restriction with patterns; a value must fit one of each."""
    values: tuple[str, ...] = ()
    members: tuple["Facets", ...] = ()


def expression_of(facets: Facets) -> str:
    """Return an expression for the values of a type, NEVER for an unsupported type."""
    if facets.base == "union":
        return "(?:" + "|".join(expression_of(member) for member in facets.members) + ")"
    if facets.values:
        return _list(facets)
    made = {
        "decimal": _decimal,
        "nonNegativeInteger": _whole_number,
        "integer": _integer,
        "date": _date,
        "dateTime": _moment,
    }.get(facets.base, _text if facets.base in _BLANKS_IN else None)
    return made(facets) if made is not None else NEVER


def literally(*words: str) -> str:
    """Return an expression for exactly these words, NEVER when a plain document cannot contain one of them."""
    is_plain = all(
        word == " ".join(word.split()) and word.isprintable() and not STAND_INS.keys() & word for word in words
    )
    return one_of(words) if is_plain else NEVER


def one_of(words: Iterable[str]) -> str:
    """Return an expression for exactly these words, as a tree of letters: the engine would try a list word by word."""
    tails: dict[str, list[str]] = {}
    may_end = False
    for word in words:
        may_end |= not word
        if word:
            tails.setdefault(word[0], []).append(word[1:])
    branches = [re.escape(letter) + one_of(rest) for letter, rest in tails.items()]
    if not branches:
        return "" if may_end else NEVER
    made = branches[0] if len(branches) == 1 else "(?:" + "|".join(branches) + ")"
    return f"(?:{made})?" if may_end else made


def _list(facets: Facets) -> str:
    limits = dict(facets.limits)
    least, most = int(limits.pop("minLength", 0)), int(limits.pop("maxLength", 1_000))
    limits.pop("whiteSpace", None)
    if limits or facets.patterns:
        return NEVER
    return literally(*(value for value in facets.values if least <= len(value) <= most))


def _decimal(facets: Facets) -> str:
    limits = dict(facets.limits)
    total, fraction = int(limits.pop("totalDigits", 0)), int(limits.pop("fractionDigits", 0))
    limits.pop("whiteSpace", None)
    if not facets.patterns and limits == {"minInclusive": "0", "maxInclusive": "100"} and total > fraction + 2:
        return rf"(?:100|[1-9]?[0-9](?:\.[0-9]{{1,{fraction}}})?)"
    if limits or len(facets.patterns) != 1 or len(facets.patterns[0]) != 1:
        return NEVER
    shape = _AMOUNT_PATTERN.fullmatch(facets.patterns[0][0])
    if shape is None or int(shape[1]) + 1 + int(shape[2]) > total or int(shape[2]) > fraction:
        return NEVER
    return rf"-?(?:[1-9][0-9]{{0,{shape[1]}}}|0)(?:\.[0-9]{{1,{shape[2]}}})?"


def _whole_number(facets: Facets) -> str:
    limits = dict(facets.limits)
    digits, least = int(limits.pop("totalDigits", 0)), limits.pop("minExclusive", None)
    limits.pop("whiteSpace", None)
    if limits or facets.patterns or digits < 1 or least not in {"0", None}:
        return NEVER
    return rf"[1-9][0-9]{{0,{digits - 1}}}"


def _integer(facets: Facets) -> str:
    return NEVER if facets.limits or facets.patterns else "-?[0-9]{1,9}"


def _date(facets: Facets) -> str:
    if any(pattern != (r"((\d{4})-(\d{2})-(\d{2}))",) for pattern in facets.patterns) or facets.limits.keys() - _BOUNDS:
        return NEVER
    try:
        first, last = (date.fromisoformat(facets.limits[name]) for name in ("minInclusive", "maxInclusive"))
    except (KeyError, ValueError):
        return NEVER
    return _years(first.year + ((first.month, first.day) != (1, 1)), last.year - 1) + "-" + _DAY


def _moment(facets: Facets) -> str:
    try:
        first, last = (datetime.fromisoformat(facets.limits[name]) for name in ("minInclusive", "maxInclusive"))
    except (KeyError, ValueError):
        return NEVER
    if facets.patterns or facets.limits.keys() - _BOUNDS or first.tzinfo is None or last.tzinfo is None:
        return NEVER
    # Only years that lie within the bounds for every offset.
    since, until = (first + _LONGEST_OFFSET).year + 1, (last - _LONGEST_OFFSET).year - 1
    return f"{_years(since, until)}-{_DAY}T{_TIME}{_OFFSET}"


def _years(first: int, last: int) -> str:
    return one_of(map(str, range(first, last + 1))) if 1000 <= first <= last <= 9999 else NEVER


def _text(facets: Facets) -> str:
    """Return the expression of a text. Collapsing blanks only shortens it, so a text that fits uncollapsed is valid."""
    least, most = int(facets.limits.get("minLength", 0)), facets.limits.get("maxLength")
    if set(facets.limits) - _LENGTHS or (most is None and not facets.patterns):
        return NEVER
    if most is not None and int(most) < max(least, 1):
        return NEVER
    if facets.patterns:
        return _patterned(facets, least, most)
    if facets.limits.get("whiteSpace", _BLANKS_IN[facets.base]) != "collapse":
        # Two line ends may count as one character.
        return rf"[^<\r]{{{least},{most}}}+"
    if least > 1:
        # Blanks may be collapsed to nothing.
        return NEVER
    return rf"[^ \t\r\n<][^<]{{0,{int(most or 1) - 1}}}+" if least else rf"[^<]{{0,{most}}}+"


def _patterned(facets: Facets, least: int, most: str | None) -> str:
    shapes = [_shape(pattern) for pattern in facets.patterns]
    if NEVER in shapes:
        return NEVER
    made = "".join(f"(?={shape}<)" for shape in shapes[:-1]) + shapes[-1]
    # Blanks would be collapsed before a value is compared and counted.
    bounded = least or most or "[^" in made
    return (rf"(?=[^<\s]{{{max(least, 1)},{most or ''}}}<)" if bounded else "") + made


def _shape(alternatives: Sequence[str]) -> str:
    """Return patterns of the schema as an expression, NEVER when one has syntax that may differ in Python."""
    made = [_translated(pattern) for pattern in alternatives]
    return NEVER if NEVER in made else f"(?:{'|'.join(made)})"


def _translated(pattern: str) -> str:
    pieces = _PIECES.findall(pattern)
    if "".join(pieces) != pattern:
        return NEVER
    made = []
    for before, piece in pairwise(["(", *pieces]):
        if piece.startswith(_COUNTS) and before.startswith(("(", "|", *_COUNTS)):
            # Two counts in a row mean something else in Python than in the schema.
            return NEVER
        if piece == r"\d":
            # The schema's \d matches the digits of every script.
            made.append("[0-9]")
        elif piece == "(":
            made.append("(?:")
        elif piece == ".":
            made.append(r"[^\n\r<]")
        elif piece == "&":
            made.append(STAND_INS["&"])
        elif piece == r"\s":
            return NEVER
        else:
            made.append(_translated_set(piece) if piece.startswith("[") else piece)
    return NEVER if NEVER in made else "".join(made)


def _translated_set(piece: str) -> str:
    is_negated = piece.startswith("[^")
    # Python's \s has more blanks than the schema's, and its \d as many digits: excluding more characters is safe, matching more is not.
    if r"\d" in piece if is_negated else r"\s" in piece:
        return NEVER
    if " " in piece or not (piece.isascii() and piece.isprintable()) or _RANGE_OF_A_CLASS.search(piece):
        return NEVER
    inner = piece[:-1].replace(r"\d", "0-9")
    named = (stand_in for one, stand_in in STAND_INS.items() if (re.fullmatch(f"{inner}]", one) is None) == is_negated)
    return f"{inner}{''.join(named)}{'<' if is_negated else ''}]"
