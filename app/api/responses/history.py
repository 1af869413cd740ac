"""Builds the history of an invoice from the times in its rows and the history of its session."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.domain.history import HistoryAction, HistoryOutcome
from app.domain.states import InvoiceState
from app.domain.timestamps import iso_utc

_SESSION_STEPS: Final = frozenset({HistoryAction.PUT_PART, HistoryAction.DUPLICATES})
"""Actions on a session that concern no single invoice, or only some of its invoices."""


def invoice_history(
    row: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], suspected: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return the history of an invoice, oldest entry first: {"at", "action", "outcome", "detail"}.

    `row` is the store's row of the invoice, `steps` the history of the session that it is in now. An earlier session of which
    KSeF accepted nothing is in the findings instead. `suspected` is the row of an invoice that KSeF called a duplicate.
    """
    history = [_step(row["received_at"], HistoryAction.RECEIVE, HistoryOutcome.RECEIVED)]
    state = InvoiceState(row["state"])
    if state is InvoiceState.RECEIVED:
        return history
    if state in {InvoiceState.INVALID, InvoiceState.DUPLICATE}:
        return [*history, _step(row["finished_at"], HistoryAction.CHECK, HistoryOutcome(state))]
    history.append(_step(row["checked_at"], HistoryAction.CHECK, HistoryOutcome.QUEUED))
    history.extend(session_history(step for step in steps if step["action"] not in _SESSION_STEPS))
    if suspected is not None:
        history.extend(_duplicate_steps(suspected))
    if state.is_final:
        detail = {"ksef_number": row["ksef_number"]} if row["ksef_number"] else {}
        history.append(_step(row["finished_at"], HistoryAction.VERDICT, HistoryOutcome(state), detail))
    return history


def _duplicate_steps(suspected: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the steps of an invoice that KSeF called a duplicate."""
    named = {
        "ksef_number": suspected["original_ksef_number"],
        "session_reference": suspected["original_session"],
    }
    steps = [_step(suspected["suspected_at"], HistoryAction.DUPLICATES, HistoryOutcome.SUSPECTED, named)]
    if suspected["notified_at"] is not None:
        steps.append(_step(suspected["notified_at"], HistoryAction.DUPLICATES, HistoryOutcome.UNRESOLVED))
    if suspected["settled_at"] is not None:
        by_hand = suspected["settled_by"] is not None
        detail = {"evidence": suspected["evidence"]} | ({"by": suspected["settled_by"]} if by_hand else {})
        action = HistoryAction.RESOLVE if by_hand else HistoryAction.DUPLICATES
        steps.append(_step(suspected["settled_at"], action, HistoryOutcome(suspected["outcome"]), detail))
    return steps


def session_history(steps: Any) -> list[dict[str, Any]]:
    """Return the steps of a session in the shape of the API."""
    return [_step(step["at"], step["action"], step["outcome"], step["detail"]) for step in steps]


def _step(at: Any, action: str, outcome: str, detail: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"at": iso_utc(at), "action": str(action), "outcome": str(outcome), "detail": dict(detail or {})}
