"""Estimates KSeF's processing time from recent sessions, to schedule the first status poll of the next one.

Each worker has its own estimates in memory. A first poll at a wrong time costs a few seconds or one request.
"""

from collections import deque
from datetime import datetime
from statistics import median
from typing import Final

from app.ksef.models import SessionStatus
from app.store.sessions.session import Session

_REMEMBERED: Final = 9
_ALIKE: Final = 3
"""Two sessions are similar when one has at most this many times the invoices of the other."""


class ProcessingTimeEstimator:
    """Processing times of the last sessions of this worker, newest last."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED)

    def note(self, session: Session, status: SessionStatus, *, now: datetime) -> None:
        """Add the time of a processed session, if KSeF's answer and our row have all four times.

        The time from opening to end is measured by KSeF's clock and the time from opening to close by ours, so the clocks may differ.
        """
        opened, closed, created, updated = (
            session.opened_at,
            session.closed_at,
            status.date_created,
            status.date_updated,
        )
        if opened is None or closed is None or created is None or updated is None:
            return
        seconds = ((updated - created) - (closed - opened)).total_seconds()
        self._seen.append((session.invoices, max(0.0, min(seconds, (now - closed).total_seconds()))))

    def expected(self, invoices: int) -> float | None:
        """Return the seconds that a session of this size is expected to take, or None without a similar session."""
        alike = [seconds for seen, seconds in self._seen if seen <= _ALIKE * invoices and invoices <= _ALIKE * seen]
        return median(alike) if alike else None
