"""The session's table: always a next step, no way past its rules, and an end to every path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.session_machine import (
    KEY_RENEWALS,
    OUTCOMES,
    TABLE,
    Action,
    Event,
    Move,
    Pause,
    event_of_status,
    next_move,
)
from app.domain.states import SESSION_MOVES, SessionState

STARTS = (SessionState.PACKED, SessionState.OPENING, SessionState.OPEN, SessionState.CLOSING, SessionState.PROCESSING)
ENDS = {Action.END_DEAD, Action.END_REBUILD, Action.END_SPLIT, Action.REST}


def test_every_move_is_one_that_the_states_allow() -> None:
    for (state, event), move in TABLE.items():
        assert move.state is state or move.state in SESSION_MOVES[state], f"{state} after {event}"


def test_whatever_an_action_can_bring_has_a_next_step() -> None:
    for move in TABLE.values():
        for event in OUTCOMES[move.action]:
            assert isinstance(next_move(move.state, event), Move)


def test_a_job_can_begin_in_every_state_that_is_not_final() -> None:
    for state in STARTS:
        assert next_move(state, Event.RESUMED)


@given(data=st.data())
def test_a_random_life_never_meets_a_step_without_a_successor(data: st.DataObject) -> None:
    state, event, renewals = data.draw(st.sampled_from(STARTS)), Event.RESUMED, 0
    for _ in range(60):
        move = next_move(state, event, key_renewals=renewals)
        renewals += move.action is Action.RENEW_KEY
        assert renewals <= KEY_RENEWALS
        if move.action in ENDS:
            assert move.state.is_final
            return
        assert not move.state.is_final
        state = move.state
        event = data.draw(st.sampled_from((*OUTCOMES[move.action], Event.RESUMED)))


def test_an_end_can_be_reached_from_every_step() -> None:
    ending = {(move.state, move.action) for move in TABLE.values() if move.action in ENDS}
    grown = True
    while grown:
        grown = False
        for move in TABLE.values():
            step = (move.state, move.action)
            if step in ending:
                continue
            following = (next_move(move.state, event) for event in OUTCOMES[move.action])
            if any((after.state, after.action) in ending for after in following):
                ending.add(step)
                grown = True
    assert {(move.state, move.action) for move in TABLE.values()} <= ending


def test_after_a_close_was_asked_for_only_ksefs_word_ends_a_session_without_results() -> None:
    """The symptom of April 2026: packages sent again after a close without an answer became thousands of duplicates."""
    words = {
        Event.SEEN_KEY_REFUSED, Event.SEEN_BROKEN, Event.SEEN_TOO_MANY, Event.SEEN_CANCELLED, Event.SEEN_DEAD,
        Event.SESSION_GONE,
    }  # fmt: skip
    for (state, event), move in TABLE.items():
        if state in {SessionState.CLOSING, SessionState.PROCESSING} and move.state is SessionState.FAILED:
            assert event in words, f"{state} after {event} gives up without KSeF's word"


@pytest.mark.parametrize("event", [Event.NO_ANSWER, Event.SESSION_UNKNOWN, Event.BLOCKED, Event.RESUMED])
def test_a_close_without_a_clear_answer_is_followed_by_a_look_at_the_same_session(event: Event) -> None:
    move = next_move(SessionState.CLOSING, event)
    assert (move.state, move.action) == (SessionState.CLOSING, Action.POLL_STATUS)


def test_a_key_is_wrapped_again_once_and_then_people_are_told() -> None:
    assert next_move(SessionState.OPENING, Event.KEY_UNKNOWN).action is Action.RENEW_KEY
    second = next_move(SessionState.OPENING, Event.KEY_UNKNOWN, key_renewals=1)
    assert (second.pause, second.alert) == (Pause.PEOPLE, True)
    assert next_move(SessionState.OPEN, Event.SEEN_KEY_REFUSED).action is Action.RENEW_KEY
    assert next_move(SessionState.OPEN, Event.SEEN_KEY_REFUSED, key_renewals=1).action is Action.END_REBUILD


def test_an_impossible_event_is_our_fault_and_says_so() -> None:
    with pytest.raises(ValueError, match="cannot meet"):
        next_move(SessionState.COMPLETED, Event.OPENED)


@given(code=st.integers(100, 999))
def test_every_status_code_is_understood(code: int) -> None:
    event = event_of_status(code)
    assert (code < 200) == (event in {Event.SEEN_WAITING, Event.SEEN_WORKING})
    assert next_move(SessionState.PROCESSING, event)
