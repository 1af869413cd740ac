"""Findings for people: a table on a wide terminal, elsewhere one line each in the form that editors jump by.

invoices/a.xml:17: xsd-bad-value: P_1: "2026-13-01" is not a date. [/Faktura/Fa/P_1]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.text import Text

from app.cli.formats import NOTHING, printable
from app.cli.tables import column_widths, print_table, state_text

_LEAST_MESSAGE: Final = 40
"""Characters that a message needs in a table to be read more easily than on a line of its own."""


@dataclass(frozen=True, slots=True)
class ListedFinding:
    """One finding of one document, as it is printed."""

    place: str
    """The document: its path, or its name in an upload."""
    about: str | None
    """The invoice's number, or its verdict."""
    rule: str | None
    line: int | None
    path: str | None
    message: str
    is_error: bool = True


def print_findings(console: Console, found: Sequence[ListedFinding], *, about: str, title: str | None = None) -> None:
    """Print findings in their order. `about` is the heading of their column of that name."""
    if not found:
        return
    columns = ("Document", about, "Rule", "Line", "Path", "Message")
    rows = [_row(one) for one in found]
    if console.is_terminal and _is_wide_enough(console, columns, rows):
        print_table(console, columns, rows, title=title)
        return
    if title:
        console.print(Text(title, style="italic"), soft_wrap=True)
    for one in found:
        console.print(_line(one), soft_wrap=True)


def _is_wide_enough(console: Console, columns: Sequence[str], rows: Sequence[Sequence[Text]]) -> bool:
    widths = column_widths(columns, rows, console.width)
    longest = max(len(row[-1].plain) for row in rows)
    return widths is not None and widths[-1] >= min(_LEAST_MESSAGE, longest)


def _row(one: ListedFinding) -> list[Text]:
    line = NOTHING if one.line is None else str(one.line)
    return [
        Text(printable(one.place)),
        state_text(printable(one.about or NOTHING)),
        Text(one.rule or NOTHING, style=_style(one)),
        Text(line),
        Text(one.path or NOTHING),
        Text(printable(one.message)),
    ]


def _line(one: ListedFinding) -> Text:
    text = Text(printable(one.place))
    text.append(f":{one.line}: " if one.line is not None else ": ")
    text.append(one.rule or one.about or NOTHING, style=_style(one)).append(": ")
    text.append(printable(one.message if one.is_error else f"warning: {one.message}"))
    return text.append(f" [{printable(one.path)}]", style="dim") if one.path else text


def _style(one: ListedFinding) -> str:
    return "red" if one.is_error else "yellow"
