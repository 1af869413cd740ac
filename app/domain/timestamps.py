"""Times that users and KSeF write: their conversion to UTC, their bounds, and the text that users read."""

from datetime import UTC, datetime, tzinfo
from typing import Final

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2100, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
"""Bounds of a time that a user gives. Outside them the database and Python differ in what they can hold, and no invoice has a date there."""


def to_utc(moment: datetime, *, zone: tzinfo = UTC) -> datetime:
    """Return a time in UTC; without an offset it is one of `zone`. Raises ValueError when UTC cannot express it."""
    try:
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time does not exist in UTC") from error


def bounded_utc(moment: datetime, *, zone: tzinfo = UTC) -> datetime:
    """Return a user's time in UTC; without an offset it is one of `zone`. Raises ValueError outside the bounds."""
    found = to_utc(moment, zone=zone)
    if not EARLIEST <= found <= LATEST:
        raise ValueError(f"the time must be from {EARLIEST:%Y} to {LATEST:%Y}")
    return found


def iso_utc(moment: datetime | None) -> str | None:
    """Write a time as users see it: UTC, ISO 8601, milliseconds (as the database function of the same name does)."""
    if moment is None:
        return None
    offset = moment.utcoffset()
    naive = moment.replace(tzinfo=None) - offset if offset is not None else moment
    return naive.isoformat(timespec="milliseconds") + "Z"
