"""Escapes what is not printable in log lines.

A request's path could otherwise control the operator's terminal, or forge a line.
Escaped are the control characters of C0 and C1, DEL, controls of writing direction, line and paragraph separators, lone surrogates, and
all else that is not printable by `str.isprintable`.
"""

from collections.abc import Mapping
from typing import Any, Final

_TEXTS_WITH_LINES: Final = ("exception", "stack")
"""Fields of several lines. Each line is indented, so that none can pass for a log line of its own."""

_INDENT: Final = "    "


def escape(text: str) -> str:
    """Return a text with `\\\\x1b` or `\\\\u202e` in place of each character that is not printable."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def escape_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Escape every field of a log line for people, its event and its exception."""
    return {_name(name): _value(name, value) for name, value in fields.items()}


def escape_json(line: str) -> str:
    """Escape a line of JSON, in which only texts have such characters; the JSON has the same value."""
    if line.isprintable():
        return line
    return "".join(character if character.isprintable() else _escaped_in_json(character) for character in line)


def _name(name: object) -> str:
    return escape(name if isinstance(name, str) else repr(name))


def _value(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if not isinstance(value, str):
        return escape(repr(value))
    if name in _TEXTS_WITH_LINES:
        return "\n".join(_INDENT + escape(line) for line in value.split("\n"))
    return escape(value)


def _escaped(character: str) -> str:
    point = ord(character)
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _escaped_in_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place] << 8 | units[place + 1]:04x}" for place in range(0, len(units), 2))
