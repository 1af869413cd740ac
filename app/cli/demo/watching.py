"""Progress of the demo: takes snapshots of service, sessions and receiver until all invoices are through."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from app.cli.actions.status import page_numbers
from app.cli.client.progress import is_finished
from app.cli.client.service_client import ServiceClient, ServiceUnreachable
from app.cli.demo.invoices import DemoInvoices
from app.cli.demo.processes import Child
from app.cli.demo.receiver import Receiver
from app.domain.states import InvoiceState, SessionState
from app.errors import TryLater

_PAUSE_SECONDS: Final = 0.4
_SEALED: Final = (InvoiceState.PACKED, InvoiceState.SENT, InvoiceState.ACCEPTED, InvoiceState.REJECTED)
_REFUSED: Final = (InvoiceState.INVALID, InvoiceState.DUPLICATE, InvoiceState.REJECTED, InvoiceState.FAILED)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Figures of the demo at one moment, in invoices except `deliveries`, `sessions`, `sessions_done` and `upo_pages`."""

    total: int
    valid: int
    sent: int = 0
    checked: int = 0
    sealed: int = 0
    accepted: int = 0
    refused: int = 0
    announced: int = 0
    deliveries: int = 0
    sessions: int = 0
    sessions_done: int = 0
    upo_pages: int = 0
    finished: bool = False


@dataclass(slots=True)
class Times:
    """Seconds from the first byte sent to each milestone; None for a milestone not reached yet."""

    started: float = field(default_factory=time.monotonic)
    acknowledged: float | None = None
    checked: float | None = None
    sealed: float | None = None
    verdicts: float | None = None
    announced: float | None = None

    def note(self, snapshot: Snapshot, *, acknowledged: bool) -> None:
        """Record the time of each milestone that this snapshot is the first to show."""
        now = time.monotonic() - self.started
        if acknowledged and self.acknowledged is None:
            self.acknowledged = now
        if snapshot.checked >= snapshot.total and self.checked is None:
            self.checked = now
        if snapshot.sealed >= snapshot.valid and self.sealed is None:
            self.sealed = now
        if snapshot.finished and self.verdicts is None:
            self.verdicts = now
        if snapshot.announced >= snapshot.valid and self.announced is None:
            self.announced = now

    def seconds(self) -> dict[str, float | None]:
        """Return the times by name, rounded for reading."""
        taken = {
            "acknowledged": self.acknowledged,
            "checked": self.checked,
            "sealed": self.sealed,
            "verdicts": self.verdicts,
            "webhooks": self.announced,
        }
        return {name: None if value is None else round(value, 2) for name, value in taken.items()}


def watch(
    service: ServiceClient,
    invoices: DemoInvoices,
    receiver: Receiver,
    sending: Future[dict[str, Any]],
    children: tuple[Child, ...],
    *,
    show: Callable[[Snapshot], None],
    deadline_seconds: float,
) -> tuple[dict[str, Any], Times]:
    """Poll until all invoices are through, and return the upload and the times.

    Raises ChildFailed when a process ends, the error of `sending`, and TryLater when the deadline passes.
    """
    times = Times()
    while True:
        for child in children:
            child.check()
        upload = _upload(service, sending)
        sessions = _sessions(service)
        snapshot = _take_snapshot(invoices, receiver, upload, sessions)
        times.note(snapshot, acknowledged=sending.done())
        show(snapshot)
        if upload is not None and _is_all(snapshot, receiver):
            return upload, times
        if time.monotonic() - times.started > deadline_seconds:
            raise TryLater(
                f"the demo is not finished after {deadline_seconds:.0f} seconds: {snapshot}; "
                f"{'; '.join(f'{child.name}: {child.output_end()}' for child in children)}"
            )
        time.sleep(_PAUSE_SECONDS)


def _upload(service: ServiceClient, sending: Future[dict[str, Any]]) -> dict[str, Any] | None:
    if not sending.done():
        return None
    try:
        return service.get(f"/v1/uploads/{sending.result()['id']}")
    except ServiceUnreachable:
        return None


def _sessions(service: ServiceClient) -> list[dict[str, Any]]:
    try:
        return list(service.items("/v1/sessions"))
    except ServiceUnreachable:
        return []


def _take_snapshot(
    invoices: DemoInvoices, receiver: Receiver, upload: dict[str, Any] | None, sessions: list[dict[str, Any]]
) -> Snapshot:
    counts: dict[str, int] = (upload or {}).get("counts") or {}
    return Snapshot(
        total=invoices.total,
        valid=invoices.count,
        sent=invoices.sent,
        checked=sum(counts.values()) - counts.get(InvoiceState.RECEIVED, 0),
        sealed=sum(counts.get(state, 0) for state in _SEALED),
        accepted=counts.get(InvoiceState.ACCEPTED, 0),
        refused=sum(counts.get(state, 0) for state in _REFUSED),
        announced=len(receiver.invoices),
        deliveries=receiver.verified,
        sessions=len(sessions),
        sessions_done=sum(one["state"] in {SessionState.COMPLETED, SessionState.FAILED} for one in sessions),
        upo_pages=sum(len(page_numbers(one)) for one in sessions),
        finished=upload is not None and is_finished(upload),
    )


def _is_all(snapshot: Snapshot, receiver: Receiver) -> bool:
    """Return whether all verdicts are known, all sessions have ended, and their webhooks have arrived."""
    return (
        snapshot.finished
        and snapshot.sessions_done == snapshot.sessions
        and snapshot.announced >= snapshot.accepted
        and receiver.types["upload.completed"] >= 1
        and receiver.types["session.completed"] + receiver.types["session.failed"] >= snapshot.sessions
        and (snapshot.upo_pages == 0 or receiver.types["upo.available"] >= 1)
    )
