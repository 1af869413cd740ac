"""How many requests an endpoint may have under way."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.webhooks.pace import (
    FAILURES_BEFORE_A_PAUSE,
    FIRST_PAUSE,
    FIRST_WINDOW,
    LONGEST_PAUSE,
    MAX_ASKED_PAUSE,
    Pace,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def _failing(times: int, *, most: int = 10) -> Pace:
    pace = Pace(most)
    for _ in range(times):
        pace.failed(NOW, jitter=0.0)
    return pace


def test_it_begins_low_and_grows_with_each_success_up_to_the_endpoints_own_bound() -> None:
    pace = Pace(5)
    seen = []
    for _ in range(6):
        seen.append(pace.allowed(NOW))
        pace.succeeded()
    assert seen == [FIRST_WINDOW, 3, 4, 5, 5, 5]


def test_a_bound_below_the_beginning_holds_from_the_start() -> None:
    assert Pace(1).allowed(NOW) == 1


def test_a_lowered_bound_holds_at_once() -> None:
    pace = Pace(10)
    for _ in range(10):
        pace.succeeded()
    pace.most = 2
    assert pace.allowed(NOW) == 2


def test_one_failure_leaves_one_request_and_several_in_a_row_a_pause() -> None:
    assert _failing(1).allowed(NOW) == 1
    assert _failing(FAILURES_BEFORE_A_PAUSE - 1).allowed(NOW) == 1
    pace = _failing(FAILURES_BEFORE_A_PAUSE)
    assert pace.allowed(NOW) == 0
    assert pace.resumes_at == NOW + FIRST_PAUSE
    assert pace.allowed(NOW + FIRST_PAUSE) == 1


def test_pauses_double_up_to_the_longest() -> None:
    pauses = [_failing(times).resumes_at for times in range(FAILURES_BEFORE_A_PAUSE, 200)]
    waits = [pause - NOW for pause in pauses if pause is not None]
    assert waits[:4] == [FIRST_PAUSE * factor for factor in (1, 2, 4, 8)]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_PAUSE


def test_a_success_ends_the_pause_and_counts_from_the_start_again() -> None:
    pace = _failing(20)
    pace.succeeded()
    assert pace.allowed(NOW) == 2
    pace.failed(NOW, jitter=0.0)
    assert pace.allowed(NOW) == 1


def test_a_receiver_can_ask_for_a_pause_of_everything_within_bounds() -> None:
    pace = Pace(10)
    pace.failed(NOW, jitter=0.0, retry_after=timedelta(seconds=90))
    assert pace.resumes_at == NOW + timedelta(seconds=90)
    pace.failed(NOW, jitter=0.0, retry_after=timedelta(days=365))
    assert pace.resumes_at == NOW + MAX_ASKED_PAUSE


@given(st.integers(1, 50), st.lists(st.booleans(), max_size=60), st.floats(0, 1, exclude_max=True))
def test_whatever_happens_the_bounds_hold_and_no_pause_is_for_ever(
    most: int, outcomes: list[bool], jitter: float
) -> None:
    pace = Pace(most)
    for succeeded in outcomes:
        if succeeded:
            pace.succeeded()
        else:
            pace.failed(NOW, jitter=jitter)
        assert 0 <= pace.allowed(NOW) <= most
        assert pace.allowed(NOW + LONGEST_PAUSE * 1.2) >= 1
