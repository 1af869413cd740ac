"""When to look at a session for the first time: shortly after the moment at which the last ones like it were done."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.domain.backoff import next_look
from app.domain.states import SessionState
from app.ksef.models import SessionStatus
from app.store.sessions.session import Session
from workers.sessions.processing_times import ProcessingTimeEstimator

OPENED = datetime(2026, 11, 22, 12, tzinfo=UTC)
CLOSED = OPENED + timedelta(seconds=30)


def session_of(invoices: int) -> Session:
    blank: dict[str, Any] = dict.fromkeys(Session.__dataclass_fields__)
    return replace(
        Session(**blank),
        id=uuid4(),
        state=SessionState.PROCESSING,
        invoices=invoices,
        opened_at=OPENED,
        closed_at=CLOSED,
    )


def status_after(seconds: float, *, ahead: timedelta = timedelta(0)) -> SessionStatus:
    """A session that KSeF, whose clock is so far ahead of ours, was done with so many seconds after our close."""
    return SessionStatus.model_validate(
        {
            "status": {"code": 200, "description": "ok"},
            "dateCreated": (OPENED + ahead).isoformat(),
            "dateUpdated": (CLOSED + timedelta(seconds=seconds) + ahead).isoformat(),
        }
    )


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(minutes=7), timedelta(hours=-3)])
def test_what_ksef_took_is_told_by_its_own_clock(ahead: timedelta) -> None:
    times = ProcessingTimeEstimator()
    times.note(session_of(10_000), status_after(8, ahead=ahead), now=CLOSED + timedelta(seconds=13))
    assert times.expected(10_000) == pytest.approx(8)


def test_nothing_is_expected_of_sessions_of_another_size_or_of_answers_that_say_too_little() -> None:
    times = ProcessingTimeEstimator()
    assert times.expected(1) is None
    times.note(session_of(10_000), status_after(8), now=CLOSED + timedelta(seconds=9))
    times.note(session_of(50), status_after(8).model_copy(update={"date_updated": None}), now=CLOSED)
    times.note(replace(session_of(50), closed_at=None), status_after(8), now=CLOSED)
    assert times.expected(50) is None
    assert times.expected(4_000) == pytest.approx(8)


def test_one_that_took_ten_minutes_does_not_make_the_next_one_wait() -> None:
    times = ProcessingTimeEstimator()
    for seconds in (5, 600, 5.2, 4.8, 5.1):
        times.note(session_of(9_000), status_after(seconds), now=CLOSED + timedelta(seconds=1_000))
    assert times.expected(10_000) == pytest.approx(5.1)


def test_a_moment_that_cannot_be_is_none() -> None:
    times = ProcessingTimeEstimator()
    times.note(session_of(10), status_after(-90), now=CLOSED + timedelta(seconds=3))
    times.note(session_of(1_000), status_after(90), now=CLOSED + timedelta(seconds=3))
    assert times.expected(10) == 0
    assert times.expected(1_000) == 3


@pytest.mark.parametrize("expected", [0.0, 1.0, 5.0, 30.0, 1_000.0])
@pytest.mark.parametrize("random", [0.0, 0.5, 0.99])
def test_a_wrong_expectation_costs_no_look_more(expected: float, random: float) -> None:
    for seconds in (1.0, 5.0, 20.0, 60.0):
        looks, passed = 0, 0.0
        while passed < seconds:
            passed += next_look(looks, 10_000, random, expected_seconds=expected)
            looks += 1
        assert looks <= 5


def test_the_first_look_comes_shortly_after_what_is_expected() -> None:
    for expected in (0.0, 2.0, 20.0):
        assert expected < next_look(0, 10_000, 0.5, expected_seconds=expected) <= expected * 1.15 + 0.5
