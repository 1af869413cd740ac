"""How many requests one endpoint may have under way: few at first, more as it answers, one when it fails, then none for a while.

A receiver that hangs or is gone costs little then, however much it is owed, and what it is owed is not used up by attempts
that nobody expects to succeed. Pure: time and chance are brought by the caller.
"""

from datetime import datetime, timedelta
from typing import Final

FIRST_WINDOW: Final = 2
"""Requests at an endpoint of which nothing is known yet."""

FAILURES_BEFORE_A_PAUSE: Final = 3
"""In a row: one event that a receiver cannot digest is no reason to stop."""

FIRST_PAUSE: Final = timedelta(milliseconds=500)
LONGEST_PAUSE: Final = timedelta(seconds=60)
"""Also how late, at worst, we notice that a receiver is back."""

MAX_ASKED_PAUSE: Final = timedelta(minutes=10)
"""The longest pause for everything that a receiver can ask for by one Retry-After."""

_JITTER: Final = 0.2


class Pace:
    """The pace of one endpoint."""

    def __init__(self, most: int) -> None:
        """`most` is the endpoint's own bound on requests under way."""
        self.most = most
        self._window = FIRST_WINDOW
        self._failures = 0
        self._resume_at: datetime | None = None

    def allowed(self, now: datetime) -> int:
        """Say how many requests may be under way now."""
        if self._resume_at is not None and now < self._resume_at:
            return 0
        return min(self.most, self._window)

    @property
    def resumes_at(self) -> datetime | None:
        """When the present or last pause ends; None when there was none since the last success."""
        return self._resume_at

    def succeeded(self) -> None:
        """Count a success: one request more, so that the number doubles with every round of answers."""
        self._failures = 0
        self._resume_at = None
        self._window = min(self.most, self._window + 1)

    def failed(self, now: datetime, *, jitter: float, retry_after: timedelta | None = None) -> None:
        """Count a failure. `jitter` is a random number in [0, 1), `retry_after` the receiver's wish."""
        self._failures += 1
        self._window = 1
        pause = timedelta(0)
        if self._failures >= FAILURES_BEFORE_A_PAUSE:
            # The exponent is bounded too: an endpoint can fail for days.
            doublings = min(self._failures - FAILURES_BEFORE_A_PAUSE, 16)
            pause = min(FIRST_PAUSE * 2**doublings, LONGEST_PAUSE) * (1 + _JITTER * jitter)
        if retry_after is not None:
            pause = max(pause, min(retry_after, MAX_ASKED_PAUSE))
        if pause:
            self._resume_at = now + pause
