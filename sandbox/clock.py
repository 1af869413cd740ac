"""The sandbox's time: the machine's, moved by an offset that tests set through the control API."""

from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

WARSAW = ZoneInfo("Europe/Warsaw")


class Clock(Protocol):
    """Whatever knows the time."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...


class MovableClock:
    """The machine's clock plus an offset. It never stands still and can be moved both ways."""

    def __init__(self) -> None:
        self._offset = timedelta(0)

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        return datetime.now(UTC) + self._offset

    def advance(self, by: timedelta) -> None:
        """Move the time; a negative step goes back."""
        self._offset += by

    def reset(self) -> None:
        """Show the machine's time again."""
        self._offset = timedelta(0)


def warsaw_day(moment: datetime) -> date:
    """The calendar day in Poland, which is what an invoice date is compared with."""
    return moment.astimezone(WARSAW).date()


def stamp(moment: datetime) -> str:
    """A time as KSeF writes it: UTC with an offset and seven fractional digits."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0+00:00"


def polish_stamp(moment: datetime) -> str:
    """A time as a UPO writes it: milliseconds and the Polish offset."""
    return moment.astimezone(WARSAW).isoformat(timespec="milliseconds")
