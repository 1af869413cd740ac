"""The tables of states: closed, ending, and the same as the database's constraints."""

import re

from hypothesis import given
from hypothesis import strategies as st

from app.domain.backoff import LONGEST_SECONDS, doubling, next_look
from app.domain.states import (
    FINAL_INVOICE_STATES,
    INVOICE_MOVES,
    SESSION_MOVES,
    InvoiceState,
    SessionState,
    UploadState,
)
from app.store.database import Database
from app.store.store import Store


def test_every_state_has_a_line_in_its_table() -> None:
    assert set(INVOICE_MOVES) == set(InvoiceState)
    assert set(SESSION_MOVES) == set(SessionState)


def test_a_final_state_leads_nowhere_and_every_other_one_somewhere() -> None:
    assert {state for state, moves in INVOICE_MOVES.items() if not moves} == FINAL_INVOICE_STATES
    assert {state for state, moves in SESSION_MOVES.items() if not moves} == {
        state for state in SessionState if state.is_final
    }


def test_an_end_can_be_reached_from_everywhere() -> None:
    for start in SessionState:
        reached, waiting = {start}, [start]
        while waiting:
            for move in SESSION_MOVES[waiting.pop()] - reached:
                reached.add(move)
                waiting.append(move)
        assert any(state.is_final for state in reached)


async def _allowed(database: Database, table: str) -> set[str]:
    row = await database.fetch_one(
        "SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint WHERE conname = %(name)s",
        {"name": f"{table}_state_check"},
    )
    assert row is not None
    return set(re.findall(r"'(\w+)'::text", row["text"]))


async def test_the_database_allows_exactly_the_states_of_the_tables(store: Store) -> None:
    assert await _allowed(store.database, "invoices") == {state.value for state in InvoiceState}
    assert await _allowed(store.database, "sessions") == {state.value for state in SessionState}
    assert await _allowed(store.database, "uploads") == {state.value for state in UploadState}


@given(first=st.floats(0.1, 60), tries=st.integers(0, 10_000), random=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_positive_and_never_much_longer_than_the_longest(first: float, tries: int, random: float) -> None:
    assert 0 < doubling(first, tries, random) <= LONGEST_SECONDS * 1.25


@given(polls=st.integers(0, 100_000), invoices=st.integers(1, 100_000), random=st.floats(0, 1, exclude_max=True))
def test_looks_at_a_session_get_rarer_but_never_cease(polls: int, invoices: int, random: float) -> None:
    assert 0.5 < next_look(polls, invoices, random) <= 66
    assert next_look(polls, invoices, 0.5) <= next_look(polls + 1, invoices, 0.5)


@given(seconds=st.floats(1, 60), random=st.floats(0, 1, exclude_max=True))
def test_a_full_session_that_takes_a_minute_is_looked_at_five_times(seconds: float, random: float) -> None:
    looks, passed = 0, 0.0
    while passed < seconds:
        passed += next_look(looks, 10_000, random)
        looks += 1
    assert looks <= 5
