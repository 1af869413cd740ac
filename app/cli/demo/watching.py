"""How far the demo is: one look at every side, and waiting until there is nothing more to see."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from app.cli.actions.status import page_numbers
from app.cli.client.progress import is_settled
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
class Look:
    """What one look saw. All are counts of documents but `sessions`, `sessions_done` and `upo_pages`."""

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
    settled: bool = False


@dataclass(slots=True)
class Times:
    """Seconds from the first byte sent; None for what has not come about."""

    started: float = field(default_factory=time.monotonic)
    acknowledged: float | None = None
    checked: float | None = None
    sealed: float | None = None
    verdicts: float | None = None
    announced: float | None = None

    def note(self, look: Look, *, acknowledged: bool) -> None:
        """Take the time of whatever this look saw first."""
        now = time.monotonic() - self.started
        if acknowledged and self.acknowledged is None:
            self.acknowledged = now
        if look.checked >= look.total and self.checked is None:
            self.checked = now
        if look.sealed >= look.valid and self.sealed is None:
            self.sealed = now
        if look.settled and self.verdicts is None:
            self.verdicts = now
        if look.announced >= look.valid and self.announced is None:
            self.announced = now

    def seconds(self) -> dict[str, float | None]:
        """Give the times by name, rounded for reading."""
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
    cargo: DemoInvoices,
    receiver: Receiver,
    sending: Future[dict[str, Any]],
    children: tuple[Child, ...],
    *,
    show: Callable[[Look], None],
    deadline_seconds: float,
) -> tuple[dict[str, Any], Times]:
    """Look again and again until everything has come, and give the upload and the times.

    Raises ChildFailed when a process ends, what `sending` raised, and TryLater when the deadline passes.
    """
    times = Times()
    while True:
        for child in children:
            child.check()
        upload = _upload(service, sending)
        sessions = _sessions(service)
        look = _look(cargo, receiver, upload, sessions)
        times.note(look, acknowledged=sending.done())
        show(look)
        if upload is not None and _is_all(look, receiver):
            return upload, times
        if time.monotonic() - times.started > deadline_seconds:
            raise TryLater(
                f"the demo is not through after {deadline_seconds:.0f} seconds: {look}; "
                f"{'; '.join(f'{child.name}: {child.last_words()}' for child in children)}"
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


def _look(
    cargo: DemoInvoices, receiver: Receiver, upload: dict[str, Any] | None, sessions: list[dict[str, Any]]
) -> Look:
    counts: dict[str, int] = (upload or {}).get("counts") or {}
    return Look(
        total=cargo.total,
        valid=cargo.count,
        sent=cargo.sent,
        checked=sum(counts.values()) - counts.get(InvoiceState.RECEIVED, 0),
        sealed=sum(counts.get(state, 0) for state in _SEALED),
        accepted=counts.get(InvoiceState.ACCEPTED, 0),
        refused=sum(counts.get(state, 0) for state in _REFUSED),
        announced=len(receiver.invoices),
        deliveries=receiver.verified,
        sessions=len(sessions),
        sessions_done=sum(one["state"] in {SessionState.COMPLETED, SessionState.FAILED} for one in sessions),
        upo_pages=sum(len(page_numbers(one)) for one in sessions),
        settled=upload is not None and is_settled(upload),
    )


def _is_all(look: Look, receiver: Receiver) -> bool:
    """Verdicts are there, sessions have ended, and the webhooks that follow from them have come."""
    return (
        look.settled
        and look.sessions_done == look.sessions
        and look.announced >= look.accepted
        and receiver.types["upload.completed"] >= 1
        and receiver.types["session.completed"] + receiver.types["session.failed"] >= look.sessions
        and (look.upo_pages == 0 or receiver.types["upo.available"] >= 1)
    )
