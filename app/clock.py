"""Source of the machine's time. Other modules get a `Clock` or a time as an argument."""

from collections.abc import Callable
from datetime import UTC, datetime

from app.domain.warsaw import WARSAW, warsaw_day

__all__ = ["WARSAW", "Clock", "utc_now", "warsaw_day"]

Clock = Callable[[], datetime]
"""Function that returns the current time, aware and in UTC."""


def utc_now() -> datetime:
    """Return the current time, aware and in UTC."""
    return datetime.now(UTC)
