"""The report of `ksefd validate --report FILE.html`: one page in two languages, to keep or to send to the ERP's maker.

It is whole in itself: no script, no address that a browser would load, nothing from the documents that is not escaped.
"""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from app import __version__
from app.cli.actions.check_summary import CheckSummary, PlacedError, WarningSum
from app.cli.exit_codes import UsageProblem
from app.cli.formats import NOTHING, count, moment, printable
from app.domain.findings import Compared, Finding

_TEMPLATE: Final = "check_report.html"
_NO_VALUES: Final = Compared("", "", "")


@dataclass(frozen=True, slots=True)
class _Row:
    """One finding as the page shows it."""

    number: str
    place: str
    line: str
    path: str
    rule: str
    compared: Compared
    message: str
    message_pl: str
    places: tuple[str, ...] = ()
    documents: int = 1


def prepare_report(path: Path) -> None:
    """Make sure that the report can be written, before minutes of checking. Raises UsageProblem."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageProblem(f"--report {path}: cannot be written; give a file in a folder that is there and is yours")


def write_report(path: Path, summary: CheckSummary, *, paths: Sequence[Path], nip: str | None, now: datetime) -> None:
    """Write the page, whole or not at all; a file of that name is replaced. Raises UsageProblem."""
    page = render_report(summary, checked=[str(one) for one in paths], nip=nip, now=now)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        part.write_text(page, encoding="utf-8", errors="replace")
        part.replace(path)
    except OSError as error:
        raise UsageProblem(f"--report {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def render_report(summary: CheckSummary, *, checked: Sequence[str], nip: str | None, now: datetime) -> str:
    """Return the page."""
    environment = Environment(
        loader=PackageLoader("app.cli"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "printable": printable}
    return environment.get_template(_TEMPLATE).render(
        summary=summary,
        errors=[_error(one) for one in summary.errors()],
        warnings=[_warning(one) for one in summary.warnings.values()],
        checked=checked,
        nip=nip,
        made_at=moment(now),
        version=__version__,
    )


def _error(one: PlacedError) -> _Row:
    return _row(one.finding, one.file.place, one.file.document.number)


def _warning(known: WarningSum) -> _Row:
    place, _ = known.places[0]
    places = tuple(f"{name}:{line}" if line is not None else name for name, line in known.places)
    return _row(known.first, place, None, places=places, documents=known.documents)


def _row(finding: Finding, place: str, number: str | None, *, places: tuple[str, ...] = (), documents: int = 1) -> _Row:
    return _Row(
        number=number or NOTHING,
        place=place,
        line=NOTHING if finding.line is None else str(finding.line),
        path=finding.path or NOTHING,
        rule=finding.rule,
        compared=finding.compared or _NO_VALUES,
        message=finding.message,
        message_pl=finding.message_pl,
        places=places,
        documents=documents,
    )
