"""Computes the wait before the next attempt of a delivery. Pure: the caller supplies the random number."""

from datetime import timedelta
from typing import Final

SCHEDULE: Final[tuple[timedelta, ...]] = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""Waits between attempts: seconds for a restart of the receiver, and a little over three days in all for an outage over a weekend."""

MAX_ATTEMPTS: Final = len(SCHEDULE) + 1

JITTER: Final = 0.2
"""Share by which a wait is made shorter or longer, so that deliveries that failed together are not repeated together."""

MAX_RETRY_AFTER: Final = timedelta(hours=6)
"""The longest wait that a receiver can ask for: a longer one would use up the days of the schedule without an attempt."""

DISABLE_AFTER: Final = timedelta(days=5)
"""An endpoint without a success for this long is disabled at the next failure."""


def next_delay(attempts: int, *, jitter: float, retry_after: timedelta | None = None) -> timedelta | None:
    """Return the wait after the failed attempt number `attempts` (from 1); None when it was the last.

    `jitter` is a random number in [0, 1). `retry_after` is the wait that the receiver asked for: it can make the wait longer, up to
    `MAX_RETRY_AFTER`, never shorter.
    """
    if attempts < 1:
        raise ValueError("a delay follows an attempt")
    if not 0 <= jitter < 1:
        raise ValueError("jitter is in [0, 1)")
    if attempts > len(SCHEDULE):
        return None
    delay = SCHEDULE[attempts - 1] * (1 - JITTER + 2 * JITTER * jitter)
    if retry_after is None:
        return delay
    return max(delay, min(retry_after, MAX_RETRY_AFTER) * (1 + JITTER * jitter))
