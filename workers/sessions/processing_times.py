"""How long KSeF takes on a session, as it was a moment ago: so that the first look at the next one comes neither early nor late.

Kept by each worker for itself and forgotten with it; a first look that comes at a wrong moment costs a few seconds or one request.
"""

from collections import deque
from datetime import datetime
from statistics import median
from typing import Final

from app.ksef.models import SessionStatus
from app.store.sessions.session import Session

_REMEMBERED: Final = 9
_ALIKE: Final = 3
"""Sessions are alike when one has at most so many times the invoices of the other."""


class ProcessingTimeEstimator:
    """What the last sessions took, newest last."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED)

    def note(self, session: Session, status: SessionStatus, *, now: datetime) -> None:
        """Learn from a session that KSeF has processed, if its answer and our row say enough.

        KSeF's own clock says how long it was from opening to end, ours from opening to close, so that they need not agree.
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
        """Give the seconds that a session of so many invoices will take, or None when none like it was seen."""
        alike = [seconds for seen, seconds in self._seen if seen <= _ALIKE * invoices and invoices <= _ALIKE * seen]
        return median(alike) if alike else None
