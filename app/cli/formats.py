"""The one form of times, numbers, sizes and texts in everything that `ksefd` prints for people. JSON has forms of its own.

A time is Polish, with its offset (`2026-11-29 17:12:34+01:00`), and every option that takes a time reads it back. A number has
a comma at the thousands (`10,000`). An id, a line number and an HTTP status are names, not numbers: give them as text.
"""

from datetime import date, datetime
from typing import Final

from app.clock import WARSAW
from app.observability.printable import escape

NOTHING: Final = "–"

printable: Final = escape
"""Writes every character that a terminal may act upon, or that is invisible, as an escape (`\\x1b`)."""


def moment(value: datetime | str | None) -> str:
    """Format a time, or a time of the API's JSON; a text that is no time is returned as it is."""
    if not value:
        return NOTHING
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return str(value)
    if value.tzinfo is None:
        return value.isoformat(sep=" ", timespec="seconds")
    return value.astimezone(WARSAW).isoformat(sep=" ", timespec="seconds")


def count(value: int) -> str:
    """Format a number of things."""
    return f"{value:,}"


def size(value: int) -> str:
    """Format a number of bytes in decimal units."""
    return f"{value / 1e6:,.1f} MB" if value >= 100_000 else f"{value:,} bytes"


def milliseconds(value: int | None) -> str:
    """Format a duration that is known in milliseconds."""
    if value is None:
        return NOTHING
    return f"{value:,} ms" if value < 10_000 else seconds(value / 1_000)


def seconds(value: float) -> str:
    """Format a duration that is known in seconds."""
    return f"{value:,.1f} s"


def shown(value: object) -> str:
    """Format a value of any of these kinds; a dash for nothing."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, int):
        return count(value)
    return printable(str(value))
