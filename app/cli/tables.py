"""Tables of results, laid out so that no word is ever broken: an id can always be copied whole.

Without a terminal a table is as wide as its content, one row a line. On a terminal too narrow for its longest words each row
becomes a block of lines instead.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.formats import shown

STATE_STYLES: Final = {
    "accepted": "green",
    "completed": "green",
    "invalid": "red",
    "rejected": "red",
    "failed": "red",
    "duplicate": "yellow",
}

_FRAME: Final = 3
"""Characters that a column needs beside its text: a line and two blanks."""


def print_table(
    console: Console, columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None
) -> None:
    """Print a table. Cells are printed literally, not read as markup; a known state gets its colour."""
    cells = [[_cell(one) for one in row] for row in rows]
    widths = column_widths(columns, cells, console.width)
    if widths is None:
        _print_blocks(console, columns, cells, title)
        return
    made = Table(title=title, title_justify="left", header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        made.add_column(column, overflow="fold", width=width)
    for row in cells:
        made.add_row(*row)
    console.print(made)


def print_fields(console: Console, pairs: Mapping[str, object]) -> None:
    """Print the fields of one object, a name and a value a line."""
    label = max((cell_len(name) for name in pairs), default=0)
    for name, value in pairs.items():
        _print_field(console, name, _cell(value), label)


def column_widths(columns: Sequence[str], rows: Sequence[Sequence[Text]], room: int) -> list[int] | None:
    """Return a width for each column in which no word is broken, or None when they do not fit side by side."""
    texts = [[name, *(row[place].plain for row in rows)] for place, name in enumerate(columns)]
    least = [max(_longest_word(text) for text in column) for column in texts]
    most = [max(cell_len(text) for text in column) for column in texts]
    spare = room - 1 - sum(width + _FRAME for width in least)
    if spare < 0:
        return None
    # The narrowest columns get all that they want first; prose shares the rest.
    widths = list(least)
    wanting = sorted(range(len(columns)), key=lambda place: most[place] - least[place])
    for position, place in enumerate(wanting):
        given = min(most[place] - least[place], spare // (len(wanting) - position))
        widths[place] += given
        spare -= given
    return widths


def state_text(word: str) -> Text:
    """Return a word as text, coloured if it is the name of a state."""
    return Text(word, style=STATE_STYLES.get(word, ""))


def _cell(value: object) -> Text:
    return value if isinstance(value, Text) else state_text(shown(value))


def _longest_word(text: str) -> int:
    return max((cell_len(word) for word in text.split()), default=0)


def _print_blocks(console: Console, columns: Sequence[str], rows: Sequence[Sequence[Text]], title: str | None) -> None:
    if title:
        console.print(Text(title, style="italic"))
    label = max((cell_len(name) for name in columns), default=0)
    for number, row in enumerate(rows):
        if number:
            console.print()
        for name, cell in zip(columns, row, strict=True):
            _print_field(console, name, cell, label)


def _print_field(console: Console, name: str, value: Text, label: int) -> None:
    indent = label + 2
    lines = textwrap.wrap(
        value.plain, max(console.width - indent, 1), break_long_words=False, break_on_hyphens=False
    ) or [""]
    for number, line in enumerate(lines):
        head = Text(f"{name:<{label}}  " if number == 0 else " " * indent, style="bold")
        console.print(head.append(line, style=value.style or "not bold"), soft_wrap=True)
