"""The one place that asks the machine for the time. Everything else is given a `Clock` or a moment."""

from collections.abc import Callable
from datetime import UTC, datetime

from app.domain.warsaw import WARSAW, warsaw_day

__all__ = ["WARSAW", "Clock", "utc_now", "warsaw_day"]

Clock = Callable[[], datetime]
"""Gives the present moment, aware and in UTC."""


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)
