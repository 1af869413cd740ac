"""The sandbox's time: the machine's until a test moves it, stops it, or lets it run at another pace.

Everything that has to do with time asks here - tokens, links, limits, retention, the processing of a session - so
that one call to the control API moves all of it at once.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

WARSAW = ZoneInfo("Europe/Warsaw")


class Clock(Protocol):
    """Whatever knows the time."""

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class ClockSetting:
    """How sandbox time follows from machine time: it showed `shown` when the machine showed `machine`.

    From there on it runs `rate` times as fast; a rate of 0 is a clock that stands still.
    """

    machine: datetime
    shown: datetime
    rate: float

    def at(self, machine: datetime) -> datetime:
        """The sandbox's time when the machine shows `machine`."""
        return self.shown + (machine - self.machine) * self.rate


class MovableClock:
    """The sandbox's clock. It can be moved both ways, stopped, and run faster; sleepers notice at once."""

    def __init__(self) -> None:
        self._setting = _plain()
        self._sleepers: set[asyncio.Event] = set()

    @property
    def setting(self) -> ClockSetting:
        """How it is set now; with `restore` it survives a restart."""
        return self._setting

    @property
    def rate(self) -> float:
        """How many of its seconds pass in one of the machine's."""
        return self._setting.rate

    @property
    def offset(self) -> timedelta:
        """How far ahead of the machine's clock it is."""
        machine = datetime.now(UTC)
        return self._setting.at(machine) - machine

    def now(self) -> datetime:
        """The present moment, aware, in UTC."""
        return self._setting.at(datetime.now(UTC))

    def advance(self, by: timedelta) -> None:
        """Move the time; a negative step goes back."""
        self.show(self.now() + by)

    def show(self, moment: datetime) -> None:
        """Show this moment now, and go on from there at the same pace."""
        self._change(ClockSetting(datetime.now(UTC), moment.astimezone(UTC), self._setting.rate))

    def run(self, rate: float) -> None:
        """Go on from now at another pace; 0 stops the time."""
        self._change(ClockSetting(machine := datetime.now(UTC), self._setting.at(machine), rate))

    def restore(self, setting: ClockSetting) -> None:
        """Go on as a clock that was set like this would have."""
        self._change(setting)

    def reset(self) -> None:
        """Show the machine's time again."""
        self._change(_plain())

    async def sleep(self, seconds: float) -> None:
        """Return when so many of the sandbox's own seconds have passed, by themselves or by a jump."""
        await self.sleep_until(self.now() + timedelta(seconds=seconds))

    async def sleep_until(self, moment: datetime) -> None:
        """Return when it shows `moment` or later."""
        await self.wait(moment, lambda: False)

    async def wait(self, until: datetime | None, done: Callable[[], bool]) -> None:
        """Return when it shows `until` (None: never), or when `done`, which is asked again after every `wake`."""
        while not done():
            left = (until - self.now()).total_seconds() if until is not None else None
            if left is not None and left <= 0:
                return
            woken = asyncio.Event()
            self._sleepers.add(woken)
            try:
                async with asyncio.timeout(left / self.rate if left is not None and self.rate else None):
                    await woken.wait()
            except TimeoutError:
                continue
            finally:
                self._sleepers.discard(woken)

    def wake(self) -> None:
        """Let everyone who waits look again at what they wait for."""
        for sleeper in self._sleepers:
            sleeper.set()

    def _change(self, setting: ClockSetting) -> None:
        self._setting = setting
        self.wake()


def _plain() -> ClockSetting:
    machine = datetime.now(UTC)
    return ClockSetting(machine, machine, 1.0)


def warsaw_day(moment: datetime) -> date:
    """The calendar day in Poland, which is what an invoice date is compared with."""
    return moment.astimezone(WARSAW).date()


def stamp(moment: datetime) -> str:
    """A time as KSeF writes it: UTC with an offset and seven fractional digits."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0+00:00"


def polish_stamp(moment: datetime) -> str:
    """A time as a UPO writes it: milliseconds and the Polish offset."""
    return moment.astimezone(WARSAW).isoformat(timespec="milliseconds")
