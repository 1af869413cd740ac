"""Tables: no id is broken, whatever the width."""

import io
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from app.cli.findings import ListedFinding, print_findings
from app.cli.output import stdout_console
from app.cli.tables import column_widths, print_fields, print_table

SESSION = "ses_0123456789abcdef0123456789abcdef"
NUMBER = "9999999999-20261129-0123456789AB-CD"
ROWS = [(SESSION, "completed", NUMBER, 12_345, "a reason of several words that may be wrapped where it has blanks")] * 2
COLUMNS = ("Session", "State", "Number at KSeF", "Invoices", "Reason")


def console(width: int, *, terminal: bool = True) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None, highlight=False)


def printed(of: Console) -> str:
    assert isinstance(of.file, io.StringIO)
    return of.file.getvalue()


@given(st.integers(10, 250))
@settings(max_examples=40, deadline=None)
def test_an_id_is_whole_on_one_line_at_every_width(width: int) -> None:
    target = console(width)
    print_table(target, COLUMNS, ROWS, title="Sessions")
    print_fields(target, {"Session": SESSION, "Number at KSeF": NUMBER})
    assert printed(target).count(SESSION) == printed(target).count(NUMBER) == 3
    assert printed(target).count("12,345") == 2


@given(
    st.lists(st.lists(st.text("ab ", max_size=30), min_size=3, max_size=3), min_size=1, max_size=4), st.integers(1, 120)
)
def test_the_widths_fit_and_no_word_is_longer_than_its_column(rows: list[list[str]], room: int) -> None:
    cells = [[Text(cell) for cell in row] for row in rows]
    widths = column_widths(("x", "y", "z"), cells, room)
    if widths is None:
        return
    assert sum(widths) + 3 * 3 + 1 <= room
    for row in rows:
        assert all(len(word) <= width for cell, width in zip(row, widths, strict=True) for word in cell.split())


def test_a_row_in_a_pipe_is_one_line() -> None:
    target = stdout_console()
    with target.capture() as captured:
        print_table(target, COLUMNS, [*ROWS, (SESSION, "failed", NUMBER, 1, "word " * 200)])
    assert len([line for line in captured.get().splitlines() if SESSION in line]) == 3


FOUND = [
    ListedFinding("in/a.xml", "FV/1", "xsd-bad-value", 1_234, "/Faktura/Fa/P_1", "not a date\nbut two lines \x1b[2J"),
    ListedFinding("in/b.xml", None, "empty-document", None, None, "empty"),
    ListedFinding("in/c.xml", None, "will-be-offline", 9, None, "yesterday (and 3 more documents)", is_error=False),
]


def test_on_a_narrow_terminal_and_in_a_pipe_a_finding_is_one_line() -> None:
    for target in (console(60), console(100_000, terminal=False)):
        print_findings(target, FOUND, about="Number")
        assert printed(target).splitlines() == [
            r"in/a.xml:1234: xsd-bad-value: not a date\x0abut two lines \x1b[2J [/Faktura/Fa/P_1]",
            "in/b.xml: empty-document: empty",
            "in/c.xml:9: will-be-offline: warning: yesterday (and 3 more documents)",
        ]


def test_on_a_wide_terminal_findings_are_a_table() -> None:
    target = console(180)
    print_findings(target, FOUND, about="Number")
    (row,) = [line for line in printed(target).splitlines() if "in/a.xml" in line]
    assert re.split(r"\s*[│|]\s*", row)[1:6] == ["in/a.xml", "FV/1", "xsd-bad-value", "1234", "/Faktura/Fa/P_1"]
