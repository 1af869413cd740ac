"""Tables of the verdicts of finished uploads."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import islice
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from app.cli.client.progress import total_counts
from app.cli.client.service_client import Parameters, ServiceClient
from app.cli.findings import ListedFinding, print_findings
from app.cli.formats import NOTHING, count, printable
from app.cli.tables import print_table
from app.domain.states import InvoiceState, UploadState

_MOST_ROWS: Final = 40
"""The most invoices that are listed one by one."""
_MOST_REFUSED: Final = 20

_REFUSALS: Final = (
    InvoiceState.INVALID,
    InvoiceState.REJECTED,
    InvoiceState.FAILED,
    InvoiceState.DUPLICATE,
)


class Language(StrEnum):
    """The language of messages about invoices."""

    EN = "en"
    PL = "pl"


def was_refused(upload: dict[str, Any]) -> bool:
    """Return whether any invoice of a finished upload was refused, or the upload could not be read to its end."""
    counts = upload.get("counts") or {}
    return upload["state"] == UploadState.FAILED or any(counts.get(state) for state in _REFUSALS)


def message_of(finding: dict[str, Any], language: Language) -> str:
    """Return a finding's message in this language, in English when it has no other."""
    polish = finding.get("message_pl")
    return str(polish if language is Language.PL and polish else finding.get("message") or "")


def print_report(
    console: Console, service: ServiceClient, uploads: Sequence[dict[str, Any]], language: Language
) -> None:
    """Print counts, the verdicts one by one when there are few, and the findings of the first refused invoices."""
    counts = total_counts(uploads)
    total = sum(counts.values())
    if 0 < total <= _MOST_ROWS:
        _print_verdicts(console, list(_all_invoices(service, uploads)))
    refused = list(islice(_refused_invoices(service, uploads), _MOST_REFUSED))
    if refused:
        _print_findings(console, refused, sum(counts[state] for state in _REFUSALS), language)
    for upload in uploads:
        for error in upload.get("errors") or []:
            text = message_of(error, language) if isinstance(error, dict) else str(error)
            console.print(Text(f"{upload['id']}: {printable(text)}", style="red"), soft_wrap=True)
    rows = [
        (upload["id"], upload["state"], sum((upload.get("counts") or {}).values()), _by_state(upload))
        for upload in uploads
    ]
    print_table(console, ("Upload", "State", "Invoices", "Of which"), rows)


def _print_verdicts(console: Console, invoices: list[dict[str, Any]]) -> None:
    names = {one["id"]: one.get("name") for one in invoices}
    rows = [
        (
            one.get("name"),
            one.get("number"),
            one["state"],
            one.get("ksef_number"),
            # Show the name of the first invoice instead of its id when the same table lists it.
            names.get(one.get("duplicate_of")) or one.get("duplicate_of"),
        )
        for one in invoices
    ]
    print_table(console, ("Invoice", "Number", "Verdict", "KSeF number", "Same as"), rows, title="Verdicts")


def _print_findings(console: Console, refused: list[dict[str, Any]], of_all: int, language: Language) -> None:
    found = [one for invoice in refused for one in _findings(invoice, language)]
    more = f", the first {count(len(refused))}" if of_all > len(refused) else ""
    shown = found[:_MOST_REFUSED]
    print_findings(console, shown, about="Verdict", title=f"Not accepted: {count(of_all)}{more}")
    if len(found) > len(shown):
        left = f"{count(len(found) - len(shown))} more findings; GET /v1/uploads/UPLOAD/results has all"
        console.print(Text(left, style="dim"), soft_wrap=True)


def _findings(invoice: dict[str, Any], language: Language) -> list[ListedFinding]:
    name, state = invoice.get("name") or invoice["id"], invoice["state"]
    errors = [one for one in invoice.get("findings") or [] if one.get("severity", "error") == "error"]
    if errors:
        return [
            ListedFinding(name, state, one.get("rule"), one.get("line"), one.get("path"), message_of(one, language))
            for one in errors
        ]
    rule, why = None, NOTHING
    if invoice.get("duplicate_of"):
        rule = "duplicate"
        why = (
            f"To samo co {invoice['duplicate_of']}: ten sam dokument albo ten sam sprzedawca, rodzaj i numer"
            if language is Language.PL
            else f"The same as {invoice['duplicate_of']}: the same document, or the same seller, kind and number"
        )
    return [ListedFinding(name, state, rule, None, None, why)]


def _all_invoices(service: ServiceClient, uploads: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for upload in uploads:
        yield from service.items(f"/v1/uploads/{upload['id']}/invoices")


def _refused_invoices(service: ServiceClient, uploads: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for upload in uploads:
        for state in _REFUSALS:
            if (upload.get("counts") or {}).get(state):
                page: Parameters = {"state": state.value, "limit": _MOST_REFUSED}
                yield from service.items(f"/v1/uploads/{upload['id']}/invoices", page)


def _by_state(upload: dict[str, Any]) -> str:
    counts = upload.get("counts") or {}
    return ", ".join(f"{count(number)} {state}" for state, number in counts.items() if number) or NOTHING
