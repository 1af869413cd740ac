"""Limits the requests that one endpoint has under way.

There are few at first, more as it answers, one after a failure, and none for a while after several failures.
A receiver that hangs or is gone thus takes little of the service's time, however many deliveries are pending for it, and their attempts
are not spent while it cannot answer. The module is pure: the caller supplies the time and the random numbers.
"""

from datetime import datetime, timedelta
from typing import Final

FIRST_WINDOW: Final = 2
"""Requests at an endpoint that has not answered yet."""

FAILURES_BEFORE_A_PAUSE: Final = 3
"""Failures in a row: a receiver may fail at one event and take the next."""

FIRST_PAUSE: Final = timedelta(milliseconds=500)
LONGEST_PAUSE: Final = timedelta(seconds=60)
"""Also the longest time until the service notices that a receiver works again."""

MAX_ASKED_PAUSE: Final = timedelta(minutes=10)
"""The longest pause of an endpoint that a receiver can ask for by one Retry-After."""

_JITTER: Final = 0.2


class Pace:
    """The pace of one endpoint."""

    def __init__(self, most: int) -> None:
        """Start with `FIRST_WINDOW` requests; `most` is the endpoint's own limit on requests under way."""
        self.most = most
        self._window = FIRST_WINDOW
        self._failures = 0
        self._resume_at: datetime | None = None

    def allowed(self, now: datetime) -> int:
        """Return how many requests may be under way now."""
        if self._resume_at is not None and now < self._resume_at:
            return 0
        return min(self.most, self._window)

    @property
    def resumes_at(self) -> datetime | None:
        """The end of the present or last pause; None when there was none since the last success."""
        return self._resume_at

    def succeeded(self) -> None:
        """Count a success and allow one request more, so that the number doubles with every round of answers."""
        self._failures = 0
        self._resume_at = None
        self._window = min(self.most, self._window + 1)

    def failed(self, now: datetime, *, jitter: float, retry_after: timedelta | None = None) -> None:
        """Count a failure. `jitter` is a random number in [0, 1), `retry_after` the pause that the receiver asked for."""
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
