"""`ksefd validate`: check files on this machine and print their findings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import anyio
import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from app.checking.check_documents import CheckedDocument
from app.cli.actions.checking import CheckPlan, check_all
from app.cli.actions.credentials import check_nip
from app.cli.actions.verdicts import Language, message_of
from app.cli.client.folder_walk import PassedOver
from app.cli.client.pipes import pipes_copied
from app.cli.client.upload_sources import sort_paths
from app.cli.exit_codes import REFUSED
from app.cli.output import print_json, print_warning, stderr_console, stdout_console, table
from app.clock import utc_now, warsaw_day
from app.domain.findings import Severity
from app.errors import UnreadableUpload
from app.settings import load_settings
from app.store.installed_schemas import schema_loader

_MOST_SHOWN: Final = 50
"""Documents whose findings the table lists; JSON lists up to `_MOST_LISTED`."""
_MOST_LISTED: Final = 10_000
_MOST_FINDINGS: Final = 50_000
"""Findings of all listed documents together: one document may have a hundred, and what is listed is held in memory."""


class _Tally:
    """The findings so far: counts of all documents, and the documents with findings as far as they are kept."""

    def __init__(self, keep: int) -> None:
        self.valid = 0
        self.invalid = 0
        self.with_warnings = 0
        self.broken: list[str] = []
        self.passed_over = PassedOver()
        self._keep = keep
        self._room = {True: _MOST_FINDINGS // 2, False: _MOST_FINDINGS // 2}
        self._kept_invalid: list[CheckedDocument] = []
        self._kept_warned: list[CheckedDocument] = []

    def add(self, one: CheckedDocument) -> None:
        """Count one document, and keep it when it has findings and there is room for it."""
        if one.valid:
            self.valid += 1
            self.with_warnings += bool(one.findings)
        else:
            self.invalid += 1
        kept = self._kept_warned if one.valid else self._kept_invalid
        if one.findings and len(kept) < self._keep and len(one.findings) <= self._room[one.valid]:
            kept.append(one)
            self._room[one.valid] -= len(one.findings)

    @property
    def kept(self) -> list[CheckedDocument]:
        """The documents to list: invalid ones first, those with warnings in the room that is left."""
        return [*self._kept_invalid, *self._kept_warned][: self._keep]

    @property
    def failed(self) -> bool:
        """Something is invalid, an archive could not be read to its end, or a file named .xml not at all."""
        return bool(self.invalid or self.broken or self.passed_over.misses_invoices)


def validate(paths: Sequence[Path], *, nip: str | None, language: Language, as_json: bool) -> None:
    """Check everything and print the findings; exit with REFUSED when anything is invalid."""
    settings = load_settings()
    if nip is not None and (warning := check_nip(nip, settings)):
        print_warning(warning)
    plan = CheckPlan(
        nip=nip,
        today=warsaw_day(utc_now()),
        check_nip_checksums=settings.checks_nip_checksums,
        load_schema=schema_loader(settings),
        fast_path=settings.uses_fast_path,
        processes=settings.pool_workers,
    )
    tally = _Tally(_MOST_LISTED if as_json else _MOST_SHOWN)
    try:
        with pipes_copied(paths) as files:
            anyio.run(_run, files, plan, tally, language)
    finally:
        for line in tally.passed_over.lines():
            print_warning(f"not checked: {line}")
    if as_json:
        print_json(_shape(tally))
    else:
        _print(stdout_console(), tally, language)
    if tally.failed:
        raise typer.Exit(REFUSED)


async def _run(paths: Sequence[Path], plan: CheckPlan, tally: _Tally, language: Language) -> None:
    console = stderr_console()
    columns = (SpinnerColumn(), TextColumn("checked"), MofNCompleteColumn(), TextColumn("{task.description}"),
               TimeElapsedColumn())  # fmt: skip
    found = sort_paths(paths)

    def note_broken(name: str, error: UnreadableUpload) -> None:
        messages = [message_of(one, language) for one in error.errors or []]
        tally.broken.extend(f"{name}: {message}" for message in messages or [error.detail])

    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None)
        async for one in check_all(found, plan, tally.passed_over, note_broken):
            tally.add(one)
            progress.update(task, advance=1, description=f"{tally.invalid:,} invalid" if tally.invalid else "all valid")


def _print(console: Console, tally: _Tally, language: Language) -> None:
    rows = [
        (
            document.name,
            document.number,
            Text(finding.severity.value, style="red" if finding.severity is Severity.ERROR else "yellow"),
            finding.rule,
            finding.line,
            finding.path,
            message_of(finding.as_dict(), language),
        )
        for document in tally.kept
        for finding in document.findings
    ]
    if rows:
        columns = ("Document", "Number", "Severity", "Rule", "Line", "Path", "Message")
        console.print(table(columns, rows))
    left = tally.invalid + tally.with_warnings - len(tally.kept)
    if left > 0:
        console.print(f"{left:,} more documents have findings; --json lists them", style="dim")
    for message in tally.broken:
        console.print(Text(f"Not read to its end: {message}", style="red"), soft_wrap=True)
    total = tally.valid + tally.invalid
    warned = f", {tally.with_warnings:,} of them with warnings" if tally.with_warnings else ""
    style = "red" if tally.failed else "green"
    console.print(Text(f"{total:,} checked: {tally.valid:,} valid{warned}, {tally.invalid:,} invalid", style=style))


def _shape(tally: _Tally) -> dict[str, Any]:
    return {
        "checked": tally.valid + tally.invalid,
        "valid": tally.valid,
        "invalid": tally.invalid,
        "warnings": tally.with_warnings,
        "errors": tally.broken,
        "documents": [
            {
                "name": one.name,
                "number": one.number,
                "valid": one.valid,
                "findings": [finding.as_dict() for finding in one.findings],
            }
            for one in tally.kept
        ],
    }
