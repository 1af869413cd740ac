"""Every value in the history of invoices and sessions is declared, and every declared value is written."""

import ast
from enum import StrEnum
from pathlib import Path

from app.domain.history import HistoryAction, HistoryOutcome
from app.domain.session_machine import OUTCOMES, TABLE, Action, Event
from app.domain.states import InvoiceState
from app.ksef.errors import Outcome

ROOT = Path(__file__).resolve().parents[3]

# Events of calls that are recorded by their own name. A status code, OPENED and RESULTS_COMPLETE have entries of their own.
CALL_EVENTS = {
    event
    for action in (Action.OPEN, Action.CHECK_OPENED, Action.CLOSE, Action.POLL_STATUS, Action.READ_RESULTS)
    for event in OUTCOMES[action]
    if not event.value.startswith("seen-") and event not in {Event.OPENED, Event.RESULTS_COMPLETE}
}
ENTERED_STATES = {move.state for (state, _), move in TABLE.items() if move.state is not state}
CONVERTED: set[StrEnum] = {
    *CALL_EVENTS,
    *ENTERED_STATES,
    *(state for state in InvoiceState if state.is_final),
    *Outcome,
}
ONLY_IN_OLD_ROWS = {HistoryOutcome.FOUND_OURS}
"""Outcomes that earlier versions wrote. Their rows are still read, so the words stay declared, and no module writes them."""


def _written(enum: str) -> set[str]:
    """Return the members of an enum that modules of the product name, other than the one that declares it."""
    return {
        node.attr
        for top in ("app", "workers")
        for path in (ROOT / top).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == enum
    }


def test_every_result_that_is_recorded_is_a_declared_outcome() -> None:
    assert {HistoryOutcome(value) for value in CONVERTED} <= set(HistoryOutcome)


def test_every_declared_action_is_written() -> None:
    assert _written("HistoryAction") == {action.name for action in HistoryAction}


def test_every_declared_outcome_is_written() -> None:
    converted = {HistoryOutcome(value).name for value in CONVERTED}
    old = {outcome.name for outcome in ONLY_IN_OLD_ROWS}
    written = _written("HistoryOutcome") | converted
    assert {outcome.name for outcome in HistoryOutcome} - old == written


def test_the_words_that_users_and_rows_know_never_change() -> None:
    actions = "receive check seal pack enter open put-part close status results upo upo-link duplicates finish resolve verdict"
    outcomes = (
        "received queued invalid duplicate accepted rejected failed sealed packed opening open closing processing completed "
        "asking opened key-unknown our-fault stored part-damaged closed close-forbidden too-late part-missing not-seen "
        "session-unknown session-gone results-incomplete not-done no-answer rate-limited blocked refused try_again unknown "
        "doubtful suspected unresolved found-ours"
    )
    assert [action.value for action in HistoryAction] == actions.split()
    assert [outcome.value for outcome in HistoryOutcome] == outcomes.split()
