"""Output of the demo: progress while it runs, tables at its end."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from app.cli.demo.checks import BadInvoiceResult, Check
from app.cli.demo.watching import Snapshot
from app.cli.formats import count, moment, seconds
from app.cli.output import stderr_console
from app.cli.tables import print_fields, print_table

_LINE_EVERY_SECONDS: Final = 2.0


class ProgressView:
    """Progress of the demo: bars on a terminal; elsewhere a line every two seconds if a figure changed."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._progress = Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last_line = ""
        self._printed_at = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, sentence: str) -> None:
        """Print the step that begins now."""
        self._console.print(Text(sentence), soft_wrap=True)

    def show(self, snapshot: Snapshot) -> None:
        """Show the figures of a snapshot."""
        sessions = f"{snapshot.sessions_done} of {snapshot.sessions} sessions done, {snapshot.upo_pages} UPO pages"
        self._bar("sent to the service", snapshot.sent, snapshot.total)
        self._bar("checked", snapshot.checked, snapshot.total, f"{snapshot.refused} refused")
        self._bar("sealed into sessions", snapshot.sealed, snapshot.valid, sessions)
        self._bar("accepted by KSeF", snapshot.accepted, snapshot.valid)
        self._bar("announced by webhooks", snapshot.announced, snapshot.valid, f"{snapshot.deliveries} deliveries")
        line = (
            f"sent {snapshot.sent:,}  checked {snapshot.checked:,}  sealed {snapshot.sealed:,}  accepted {snapshot.accepted:,}  "
            f"refused {snapshot.refused:,}  announced {snapshot.announced:,}  ({sessions})"
        )
        now = time.monotonic()
        if not self._console.is_terminal and line != self._last_line and now - self._printed_at >= _LINE_EVERY_SECONDS:
            self._console.print(Text(line), soft_wrap=True)
            self._last_line, self._printed_at = line, now

    def _bar(self, name: str, done: int, total: int, note: str = "") -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, note=note)
        self._progress.update(self._tasks[name], completed=done, note=note)


def print_results(console: Console, report: dict[str, Any], bad_results: Sequence[BadInvoiceResult]) -> None:
    """Print verdicts, timings, the webhooks received and the refused invoices."""
    counts: dict[str, int] = report["counts"]
    print_table(console, ("Verdict", "Invoices"), list(counts.items()), title="Verdicts")
    times: dict[str, float | None] = report["seconds"]
    rate = report["invoices"]
    rows = [
        (name, seconds(taken), f"{count(round(rate / taken))} invoices a second")
        for name, taken in times.items()
        if taken
    ]
    print_table(console, ("From the first byte until", "Taken", "Rate"), rows, title="Timings")
    webhooks: dict[str, Any] = report["webhooks"]
    events = sorted(webhooks["events"].items())
    print_table(console, ("Event", "Seen"), events, title="Webhooks")
    if bad_results:
        rows_refused = [(one.name, one.why, one.expected, one.message) for one in bad_results]
        print_table(console, ("Bad invoice", "It", "Rule", "What the service says"), rows_refused, title="Refused")


def print_checks(console: Console, checks: Sequence[Check]) -> None:
    """Print the checks with their results."""
    rows = [
        (Text("✓", style="bold green") if one.ok else Text("✗", style="bold red"), one.name, one.detail)
        for one in checks
    ]
    print_table(console, ("", "Checked", "Found"), rows, title="Checks")


def print_history(console: Console, invoice: dict[str, Any]) -> None:
    """Print one invoice's history."""
    shown = {
        "Invoice": invoice.get("number"),
        "File": invoice.get("name"),
        "SHA-256": invoice.get("sha256"),
        "KSeF number": invoice.get("ksef_number"),
        "Session": invoice.get("session"),
        "Acquired": moment(invoice.get("acquired_at")),
        "Mode": invoice.get("invoicing_mode"),
    }
    console.print(Text("One invoice's way", style="italic"))
    print_fields(console, shown)
    rows = [_step(step) for step in invoice.get("history") or []]
    if rows:
        print_table(console, ("When", "What"), rows)


def _step(step: dict[str, Any]) -> tuple[object, object]:
    shown = [str(value) for name, value in step.items() if name not in {"at", "detail"} and value is not None]
    detail: dict[str, Any] = step.get("detail") or {}
    shown += [f"{name} {value}" for name, value in detail.items() if value and name != "status"]
    return moment(step.get("at")), ", ".join(shown)
