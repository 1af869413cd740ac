"""Progress of uploads: polls the service until every invoice has its final state."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from rich.live import Live
from rich.text import Text

from app.cli.client.service_client import ServiceClient, ServiceUnreachable
from app.cli.formats import count
from app.cli.output import stderr_console
from app.domain.states import FINAL_INVOICE_STATES, InvoiceState, UploadState

_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0
_GROWTH: Final = 1.4
_MAX_ABSENCE_SECONDS: Final = 120.0
"""How long the service may be unreachable while we wait for verdicts: a restart, or a new version."""


def is_finished(upload: dict[str, Any]) -> bool:
    """Return whether all invoices of the upload have their final state.

    An upload that could not be read to its end is `failed`, but the invoices read before are processed.
    """
    if upload["state"] == UploadState.COMPLETED:
        return True
    counts = upload.get("counts") or {}
    return upload["state"] == UploadState.FAILED and all(
        state in FINAL_INVOICE_STATES for state, count in counts.items() if count
    )


def next_pause(pause: float) -> float:
    """Return the pause that follows this one: 1.4 times as long, at most five seconds."""
    return min(pause * _GROWTH, _LONGEST_PAUSE_SECONDS)


def wait_for_uploads(
    service: ServiceClient,
    ids: Sequence[str],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> list[dict[str, Any]]:
    """Poll with growing pauses until all uploads are finished, show their counts, and return them in order.

    Raises ServiceUnreachable when the service does not answer for two minutes; the uploads are not affected.
    """
    console = stderr_console()
    uploads: dict[str, dict[str, Any]] = {}
    pause, away, last_line = _FIRST_PAUSE_SECONDS, 0.0, ""
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            try:
                for upload_id in ids:
                    if upload_id not in uploads or not is_finished(uploads[upload_id]):
                        uploads[upload_id] = service.get(f"/v1/uploads/{upload_id}")
                away = 0.0
            except ServiceUnreachable:
                if away >= _MAX_ABSENCE_SECONDS:
                    raise
                away += pause
            line = "the service does not answer; waiting" if away else counts_line(list(uploads.values()))
            live.update(Text(line))
            if not console.is_terminal and line != last_line:
                console.print(Text(line))
            last_line = line
            if len(uploads) == len(ids) and all(is_finished(one) for one in uploads.values()):
                return [uploads[upload_id] for upload_id in ids]
            sleep(pause)
            pause = next_pause(pause)


def total_counts(uploads: Sequence[dict[str, Any]]) -> Counter[str]:
    """Add the counts of several uploads, by invoice state."""
    total: Counter[str] = Counter()
    for upload in uploads:
        total.update(upload.get("counts") or {})
    return total


def counts_line(uploads: Sequence[dict[str, Any]]) -> str:
    """Format the counts by state, in the order in which an invoice passes the states."""
    counts = total_counts(uploads)
    known = [state.value for state in InvoiceState]
    states = [*known, *sorted(set(counts) - set(known))]
    return "  ".join(f"{state} {count(counts[state])}" for state in states if counts[state]) or "reading"
