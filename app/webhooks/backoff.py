"""When to try a delivery again. A pure function: the caller brings the random number."""

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
"""Waits between attempts: a restart of the receiver costs seconds, a broken weekend is still inside (a little over three days)."""

MAX_ATTEMPTS: Final = len(SCHEDULE) + 1

JITTER: Final = 0.2
"""A wait is made up to this share shorter or longer, so that what failed together does not come back together."""

MAX_RETRY_AFTER: Final = timedelta(hours=6)
"""The longest wait that a receiver can ask for: longer ones would use the schedule up without trying."""

DISABLE_AFTER: Final = timedelta(days=5)
"""An endpoint at which nothing has succeeded for this long is disabled by the next failure."""


def next_delay(attempts: int, *, jitter: float, retry_after: timedelta | None = None) -> timedelta | None:
    """Say how long to wait after the attempt number `attempts` (from 1) failed; None when it was the last.

    `jitter` is a random number in [0, 1). `retry_after` is the receiver's own wish: it can make the wait longer, up to
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
