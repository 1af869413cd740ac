"""Polish calendar days, which the law counts.

Their offset from UTC changes twice a year, so the time-zone database computes them.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

WARSAW: Final = ZoneInfo("Europe/Warsaw")

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""Most difference between KSeF's clock and ours at which an invoice still gets the intended day."""


def warsaw_day(moment: datetime) -> date:
    """Give the Polish calendar day of a moment."""
    return moment.astimezone(WARSAW).date()


def start_of_warsaw_day(day: date) -> datetime:
    """Give the first moment of a Polish day, in UTC. Polish clocks never change at midnight, so there is exactly one."""
    return datetime.combine(day, time(), WARSAW).astimezone(UTC)


def end_of_warsaw_day(day: date) -> datetime:
    """Give the moment at which a Polish day is over, in UTC: 23, 24 or 25 hours after its start."""
    return start_of_warsaw_day(day + timedelta(days=1))
