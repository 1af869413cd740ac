"""Builds the history of an invoice from the times in its rows and the history of its session."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.domain.states import InvoiceState
from app.domain.timestamps import iso_utc

# Steps of a session that do not concern a single invoice.
_PACKAGE_STEPS: Final = frozenset({"put-part"})


def invoice_history(row: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps of an invoice, oldest first: {"at", "action", "outcome", "detail"}.

    `row` is the store's row of the invoice, `steps` the history of the session that it is in now. An earlier
    session that failed is recorded in a finding.
    """
    history = [_step(row["received_at"], "receive", "received")]
    state = InvoiceState(row["state"])
    if state is InvoiceState.RECEIVED:
        return history
    if state in {InvoiceState.INVALID, InvoiceState.DUPLICATE}:
        return [*history, _step(row["finished_at"], "check", state.value)]
    history.append(_step(row["checked_at"], "check", "queued"))
    history.extend(session_history(step for step in steps if step["action"] not in _PACKAGE_STEPS))
    if state.is_final:
        detail = {"ksef_number": row["ksef_number"]} if row["ksef_number"] else {}
        history.append(_step(row["finished_at"], "verdict", state.value, detail))
    return history


def session_history(steps: Any) -> list[dict[str, Any]]:
    """Return the steps of a session in the shape of the API."""
    return [_step(step["at"], step["action"], step["outcome"], step["detail"]) for step in steps]


def _step(at: Any, action: str, outcome: str, detail: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"at": iso_utc(at), "action": action, "outcome": outcome, "detail": dict(detail or {})}
