"""Computes when a lane is to be sealed and when a sealed session may be opened, before midnight in Warsaw.

KSeF dates every invoice of a session by the day on which the session was opened. An invoice whose `P_1` is an earlier day
becomes an offline one (ksef-docs, offline/automatyczne-okreslanie-trybu-offline.md); one whose `P_1` is a later day is refused
with status 450. The day is taken as Poland's.
"""

from datetime import date, datetime, timedelta
from typing import Final

from app.domain.warsaw import CLOCK_TOLERANCE, end_of_warsaw_day, start_of_warsaw_day, warsaw_day

RUSH: Final = timedelta(hours=1)
"""Time before midnight in which sessions with invoices of the day go first. KSeF's longest counting window is an hour."""

_LATECOMERS_SHARE: Final = 5
"""Share of the remaining day that an invoice inside the margin waits, so that several late invoices share one session."""


def due_at(
    oldest: datetime, *, linger: timedelta, oldest_of_today: datetime | None, margin: timedelta, now: datetime
) -> datetime:
    """Return when a lane is due if nothing more arrives.

    `oldest` is the arrival of the oldest invoice, `oldest_of_today` that of the oldest one whose session must be opened today:
    its `P_1` is today, in a lane that is not offline. Those are due `margin` before the end of the Warsaw day, or a fifth
    of the rest of the day after their arrival if that is later, so that invoices that arrive one by one make few sessions.
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
    """Return whether invoices of a session or lane with this latest `P_1` become offline at midnight."""
    return latest_issue_date is not None and not offline_mode and latest_issue_date >= warsaw_day(now)


def may_open_at(latest_issue_date: date | None) -> datetime | None:
    """Return the time from which a session may be opened: the day of its latest `P_1` has begun by KSeF's clock, too."""
    return None if latest_issue_date is None else start_of_warsaw_day(latest_issue_date) + CLOCK_TOLERANCE


def day_of_opening(now: datetime) -> date:
    """Return the Warsaw day of an opening now if KSeF's clock is ahead, so that no late invoice is sent undecided."""
    return warsaw_day(now + CLOCK_TOLERANCE)


def is_rush(now: datetime) -> bool:
    """Return whether midnight in Warsaw is so near that sessions with invoices of the day go first."""
    return end_of_warsaw_day(warsaw_day(now)) - now <= RUSH
