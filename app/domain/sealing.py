"""When a lane's session is due, and when a sealed one may be opened, with midnight in Warsaw in view.

KSeF dates every invoice of a session by the day on which the session was opened. An invoice whose `P_1` is an earlier day
becomes an offline one (ksef-docs, offline/automatyczne-okreslanie-trybu-offline.md); one whose `P_1` is a later day is refused
with status 450. The day is taken as Poland's.
"""

from datetime import date, datetime, timedelta
from typing import Final

from app.domain.warsaw import CLOCK_TOLERANCE, end_of_warsaw_day, start_of_warsaw_day, warsaw_day

RUSH: Final = timedelta(hours=1)
"""How long before midnight sessions with invoices of the day go first; an hour is KSeF's longest window of counting."""

_LATECOMERS_SHARE: Final = 5
"""An invoice that comes inside the margin waits a fifth of what is left of the day: company arrives, midnight does not."""


def due_at(
    oldest: datetime, *, linger: timedelta, oldest_of_today: datetime | None, margin: timedelta, now: datetime
) -> datetime:
    """Say when a lane is due, should nothing more arrive.

    `oldest` is the arrival of what has waited longest, `oldest_of_today` that of what has waited longest and must be opened
    today: `P_1` is today, in a lane that is not offline. Those are due `margin` before the end of the Warsaw day, or a fifth
    of the rest of the day after their arrival if that is later: a trickle through the margin makes few sessions, not many.
    """
    lingered = oldest + linger
    if oldest_of_today is None:
        return lingered
    midnight = end_of_warsaw_day(warsaw_day(now))
    deadline = midnight - margin
    if oldest_of_today > deadline:
        deadline = oldest_of_today + max(timedelta(0), midnight - oldest_of_today) / _LATECOMERS_SHARE
    return min(lingered, deadline)


def is_of_today(latest_issue_date: date | None, *, offline_mode: bool, now: datetime) -> bool:
    """Tell whether a session or lane with this latest `P_1` loses something at midnight."""
    return latest_issue_date is not None and not offline_mode and latest_issue_date >= warsaw_day(now)


def may_open_at(latest_issue_date: date | None) -> datetime | None:
    """Say from when on a session may be opened: once the day of its latest `P_1` has begun for KSeF's clock too."""
    return None if latest_issue_date is None else start_of_warsaw_day(latest_issue_date) + CLOCK_TOLERANCE


def day_of_opening(now: datetime) -> date:
    """Give the Warsaw day that an opening now may get, if KSeF's clock is ahead: what is held must not slip through."""
    return warsaw_day(now + CLOCK_TOLERANCE)


def is_rush(now: datetime) -> bool:
    """Tell whether midnight in Warsaw is so near that what loses something by it goes first."""
    return end_of_warsaw_day(warsaw_day(now)) - now <= RUSH
