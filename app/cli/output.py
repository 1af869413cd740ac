"""Output of the commands: tables with colours for people, one line of JSON for programs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

# Without a terminal rich assumes 80 columns, in which a KSeF number and a reason do not fit side by side.
_WIDTH_WITHOUT_TERMINAL: Final = 180

_STATE_STYLES: Final = {
    "accepted": "green",
    "completed": "green",
    "invalid": "red",
    "rejected": "red",
    "failed": "red",
    "duplicate": "yellow",
}


def stdout_console() -> Console:
    """Create the console for results."""
    return Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, highlight=False)


def stderr_console() -> Console:
    """Create the console for progress and errors, which must not mix with results in a pipe."""
    return Console(stderr=True, width=None if sys.stderr.isatty() else _WIDTH_WITHOUT_TERMINAL, highlight=False)


def print_json(data: Any) -> None:
    """Print data as one line of JSON, times in ISO 8601."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, default=_plain) + "\n")
    sys.stdout.flush()


def print_error(message: str) -> None:
    """Print one red line on the error stream; line ends inside the message are folded."""
    stderr_console().print(Text(f"ksefd: {' '.join(message.split())}", style="bold red"), soft_wrap=True)


def print_warning(message: str) -> None:
    """Print one yellow line on the error stream."""
    stderr_console().print(Text(f"ksefd: {' '.join(message.split())}", style="yellow"), soft_wrap=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> Table:
    """Create a table. Cells are printed literally, not read as markup; a known state gets its colour."""
    made = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else state_text(shown(cell)) for cell in row))
    return made


def fields(pairs: Mapping[str, object]) -> Table:
    """Create a two-column table of the fields of one object."""
    made = Table.grid(padding=(0, 2))
    made.add_column(style="bold", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs.items():
        made.add_row(name, state_text(shown(value)))
    return made


def state_text(word: str) -> Text:
    """Return a word as text, coloured if it is the name of a state."""
    return Text(word, style=_STATE_STYLES.get(word, ""))


def shown(value: object) -> str:
    """Format a value for a table: a dash for None, times to the second."""
    if value is None or value == "":
        return "–"
    if hasattr(value, "isoformat"):
        return str(value.isoformat(sep=" ", timespec="seconds") if hasattr(value, "hour") else value.isoformat())
    return str(value)


def megabytes(count: int) -> str:
    """Format a number of bytes in decimal units."""
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"


def _plain(value: object) -> str:
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    raise TypeError(f"{type(value).__name__} has no JSON form")
