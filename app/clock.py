"""The one place that asks the machine for the time. Everything else is given a `Clock` or a moment."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

Clock = Callable[[], datetime]
"""Gives the present moment, aware and in UTC."""

WARSAW: Final = ZoneInfo("Europe/Warsaw")
"""Days of the law are Polish days; their offset changes twice a year, so only the time-zone database may compute them."""


def utc_now() -> datetime:
    """Give the present moment."""
    return datetime.now(UTC)


def warsaw_day(moment: datetime) -> date:
    """Give the Polish calendar day of a moment."""
    return moment.astimezone(WARSAW).date()
