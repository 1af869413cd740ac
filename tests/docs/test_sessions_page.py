"""docs/sessions.md says what the workers do: each of its answers is judged here as they judge it."""

import json

import httpx
import pytest

from app.domain.backoff import next_look
from app.domain.session_machine import TABLE, Action, Event, Pause
from app.ksef.answers import Answer
from app.ksef.error_classification import classify, classify_transport
from app.ksef.errors import KsefError
from tools.docs_sessions import ACTION_WORDS, ANSWERS, EVENT_WORDS, PAUSE_WORDS, AnswerRow, sessions_page
from workers.sessions import advance as session
from workers.sessions import dispatch
from workers.sessions.result import result_of_error
from workers.sessions.tracking import _NOT_FOUND_POLLS


def _error(row: AnswerRow) -> KsefError:
    if row.http_status is None:
        return classify_transport(httpx.ReadTimeout("") if row.sent else httpx.ConnectError(""), row.call)
    bodies = {
        "problem": json.dumps({"title": "x", "errors": [{"code": code, "description": "x"} for code in row.codes]}),
        "permission": json.dumps({"title": "x", "reasonCode": "missing-permissions"}),
        "html": "<!doctype html><title>Request blocked</title>",
        "empty": "",
    }
    return classify(Answer(row.call, row.http_status, {}, bodies[row.body].encode()))


@pytest.mark.parametrize("row", ANSWERS, ids=lambda row: f"{row.call}: {row.answer}")
def test_an_answer_is_judged_as_the_page_says(row: AnswerRow) -> None:
    error = _error(row)
    if row.call == "open":
        event = dispatch._classify_open_error(error).event
    elif row.call == "close":
        event = dispatch._classify_close_error(error).event
    elif row.event is Event.SESSION_UNKNOWN:
        assert type(error).__name__ == "SessionNotFound"
        return
    else:
        event = result_of_error(error).event
    assert event is row.event


def test_every_word_of_the_machine_is_explained() -> None:
    assert set(EVENT_WORDS) == set(Event)
    assert set(ACTION_WORDS) == set(Action)
    assert set(PAUSE_WORDS) == set(Pause)


def test_the_pauses_are_those_that_are_kept() -> None:
    minutes = {
        Pause.WATCH: session._WATCH_SECONDS,
        Pause.PEOPLE: session._PEOPLE_SECONDS,
        Pause.BLOCKED: session._BLOCKED_SECONDS,
    }
    for pause, seconds in minutes.items():
        assert PAUSE_WORDS[pause] == f"{seconds / 60:g} min"
    assert PAUSE_WORDS[Pause.GROWING].startswith(f"{session._GROWING_SECONDS:g} s")
    first, of_a_full_one, longest = next_look(0, 0, 0.5), next_look(0, 10_000, 0.5), next_look(99, 1, 0.5)
    assert PAUSE_WORDS[Pause.POLL] == (
        f"the time that the last sessions of this size took, else {first:g} s ({of_a_full_one:g} s for 10,000 invoices), "
        f"growing to {longest / 60:g} min"
    )
    assert _NOT_FOUND_POLLS == 8, "the page says eight polls in a row"


def test_the_page_has_a_row_for_every_move() -> None:
    rows = sessions_page().partition("## State and event")[2].partition("## Events")[0]
    assert rows.count("\n| `") == len(TABLE)
