"""`ksefd validate`: check files on this machine and print their findings."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import anyio
import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from app.cli.actions.check_report import prepare_report, write_report
from app.cli.actions.check_summary import BrokenArchive, CheckSummary
from app.cli.actions.checking import CheckPlan, check_all
from app.cli.actions.credentials import check_nip
from app.cli.actions.verdicts import Language, message_of
from app.cli.client.pipes import pipes_copied
from app.cli.client.upload_sources import sort_paths
from app.cli.exit_codes import REFUSED
from app.cli.findings import ListedFinding, print_findings
from app.cli.formats import count, printable
from app.cli.output import print_json, print_warning, stderr_console, stdout_console
from app.clock import utc_now, warsaw_day
from app.domain.findings import Finding
from app.errors import UnreadableUpload
from app.settings import load_settings
from app.store.installed_schemas import schema_loader

_MOST_SHOWN: Final = 200
"""Errors that a terminal shows; a pipe, --json and --report have more."""


def validate(
    paths: Sequence[Path],
    *,
    nip: str | None,
    language: Language,
    quiet: bool,
    report: Path | None,
    as_json: bool,
) -> None:
    """Check everything and print the findings; exit with REFUSED when anything is invalid.

    `report` is a file for the same findings as a page to keep. Quiet: only the last line, with the sums.
    """
    settings = load_settings()
    if nip is not None and (warning := check_nip(nip, settings)):
        print_warning(warning)
    now = utc_now()
    plan = CheckPlan(
        nip=nip,
        today=warsaw_day(now),
        check_nip_checksums=settings.checks_nip_checksums,
        load_schema=schema_loader(settings),
        fast_path=settings.uses_fast_path,
        processes=settings.pool_workers,
    )
    if report is not None:
        prepare_report(report)
    summary = CheckSummary()
    try:
        with pipes_copied(paths) as given:
            anyio.run(_run, given.files, replace(plan, shown=given.shown), summary, quiet)
    finally:
        for line in summary.passed_over.lines():
            print_warning(f"not checked: {line}")
    if report is not None:
        write_report(report, summary, paths=paths, nip=nip, now=now)
    if as_json:
        print_json(_shape(summary, language))
    else:
        console = stdout_console()
        if not quiet:
            _print_all(console, summary, language)
        _print_sums(console, summary)
    if summary.failed:
        raise typer.Exit(REFUSED)


async def _run(paths: Sequence[Path], plan: CheckPlan, summary: CheckSummary, quiet: bool) -> None:
    console = stderr_console()
    columns = (SpinnerColumn(), TextColumn("checked"), MofNCompleteColumn(), TextColumn("{task.description}"),
               TimeElapsedColumn())  # fmt: skip
    found = sort_paths(paths, plan.shown)

    def note_broken(name: str, error: UnreadableUpload) -> None:
        messages = error.errors or [{"message": error.detail}]
        summary.broken.extend(BrokenArchive(name, str(one.get("message")), one.get("message_pl")) for one in messages)

    with Progress(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None)
        async for one in check_all(found, plan, summary.passed_over, note_broken):
            summary.add(one)
            description = f"{count(summary.invalid)} invalid" if summary.invalid else "all valid"
            progress.update(task, advance=1, description=description)


def _print_all(console: Console, summary: CheckSummary, language: Language) -> None:
    errors = [_listed(one.file.place, one.file.document.number, one.finding, language) for one in summary.errors()]
    shown = errors[:_MOST_SHOWN] if console.is_terminal else errors
    warnings = [
        _listed(known.places[0][0], None, known.first, language, more=known.documents - 1)
        for known in summary.warnings.values()
    ]
    print_findings(console, [*shown, *warnings], about="Number")
    if len(errors) > len(shown):
        left = f"{count(len(errors) - len(shown))} more errors: --json and --report FILE list them"
        console.print(Text(left, style="dim"), soft_wrap=True)
    if summary.not_kept:
        left = f"{count(summary.not_kept)} more documents are invalid; check them in smaller groups to list them"
        console.print(Text(left, style="dim"), soft_wrap=True)
    for broken in summary.broken:
        text = Text(f"Not read to its end: {printable(broken.words(language))}", style="red")
        console.print(text, soft_wrap=True)


def _listed(
    place: str, number: str | None, finding: Finding, language: Language, *, more: int | None = None
) -> ListedFinding:
    message = message_of(finding.as_dict(), language)
    if more:
        message += f" (and {count(more)} more {'document' if more == 1 else 'documents'})"
    return ListedFinding(place, number, finding.rule, finding.line, finding.path, message, is_error=more is None)


def _print_sums(console: Console, summary: CheckSummary) -> None:
    warned = f", {count(summary.with_warnings)} of them with warnings" if summary.with_warnings else ""
    sums = f"{count(summary.checked)} checked: {count(summary.valid)} valid{warned}, {count(summary.invalid)} invalid"
    console.print(Text(sums, style="red" if summary.failed else "green"), soft_wrap=True)


def _shape(summary: CheckSummary, language: Language) -> dict[str, Any]:
    return {
        "checked": summary.checked,
        "valid": summary.valid,
        "invalid": summary.invalid,
        "warnings": summary.with_warnings,
        "errors": [broken.words(language) for broken in summary.broken],
        "documents": [
            {
                "name": one.document.name,
                "number": one.document.number,
                "valid": one.document.valid,
                "findings": [finding.as_dict() for finding in one.document.findings],
            }
            for one in summary.documents()
        ],
    }
