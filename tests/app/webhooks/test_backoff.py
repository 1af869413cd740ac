"""When a delivery is tried again."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.webhooks.backoff import JITTER, MAX_ATTEMPTS, MAX_RETRY_AFTER, SCHEDULE, next_delay

ATTEMPTS = st.integers(min_value=1, max_value=len(SCHEDULE))
RANDOM = st.floats(min_value=0, max_value=1, exclude_max=True)
WISHES = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=3650))


def test_the_schedule_lasts_a_broken_weekend_and_ends() -> None:
    assert timedelta(days=3) < sum(SCHEDULE, timedelta()) < timedelta(days=4)
    assert next_delay(MAX_ATTEMPTS, jitter=0.5) is None
    assert next_delay(MAX_ATTEMPTS + 50, jitter=0.5, retry_after=timedelta(seconds=1)) is None
    assert next_delay(MAX_ATTEMPTS - 1, jitter=0.5) == SCHEDULE[-1]


@given(ATTEMPTS, RANDOM)
def test_a_wait_stays_within_its_jitter(attempts: int, jitter: float) -> None:
    delay = next_delay(attempts, jitter=jitter)
    assert delay is not None
    planned = SCHEDULE[attempts - 1]
    slack = timedelta(microseconds=1)
    assert planned * (1 - JITTER) - slack <= delay <= planned * (1 + JITTER) + slack


@given(ATTEMPTS, RANDOM, WISHES)
def test_a_receiver_can_make_a_wait_longer_within_bounds_but_never_shorter(
    attempts: int, jitter: float, wish: timedelta
) -> None:
    plain, asked = next_delay(attempts, jitter=jitter), next_delay(attempts, jitter=jitter, retry_after=wish)
    assert plain is not None
    assert asked is not None
    assert asked >= plain
    assert asked >= min(wish, MAX_RETRY_AFTER)
    assert asked <= max(plain, MAX_RETRY_AFTER * (1 + JITTER))


@given(RANDOM)
def test_later_waits_are_longer_on_average(jitter: float) -> None:
    delays = [next_delay(attempts, jitter=jitter) for attempts in range(1, MAX_ATTEMPTS)]
    known = [delay for delay in delays if delay is not None]
    assert known == sorted(known)
    assert len(known) == len(SCHEDULE)


@pytest.mark.parametrize(("attempts", "jitter"), [(0, 0.5), (-1, 0.5), (1, 1.0), (1, -0.1)])
def test_nonsense_is_refused(attempts: int, jitter: float) -> None:
    with pytest.raises(ValueError, match=r"attempt|jitter"):
        next_delay(attempts, jitter=jitter)
