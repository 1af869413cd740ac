"""The sandbox's clock: it shows the machine's time until a test moves it, stops it, or changes its rate.

Tokens, links, limits, retention and the processing of sessions all use this clock, so that one call to the control API moves
the time of all of them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

WARSAW = ZoneInfo("Europe/Warsaw")


class Clock(Protocol):
    """Source of the current time."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...


@dataclass(frozen=True, slots=True)
class ClockSetting:
    """Relation of sandbox time to machine time: the sandbox showed `shown` when the machine showed `machine`.

    From then on the sandbox's clock runs `rate` times as fast; with a rate of 0 it is stopped.
    """

    machine: datetime
    shown: datetime
    rate: float

    def at(self, machine: datetime) -> datetime:
        """Return the sandbox's time when the machine shows `machine`."""
        return self.shown + (machine - self.machine) * self.rate


class MovableClock:
    """The sandbox's clock. It can be moved both ways, stopped, and sped up; sleeping tasks react at once."""

    def __init__(self) -> None:
        self._setting = _plain()
        self._sleepers: set[asyncio.Event] = set()

    @property
    def setting(self) -> ClockSetting:
        """The current setting; `restore` applies it after a restart."""
        return self._setting

    @property
    def rate(self) -> float:
        """Seconds of this clock in one second of the machine."""
        return self._setting.rate

    @property
    def offset(self) -> timedelta:
        """The difference to the machine's clock; positive if this clock is ahead."""
        machine = datetime.now(UTC)
        return self._setting.at(machine) - machine

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        return self._setting.at(datetime.now(UTC))

    def advance(self, by: timedelta) -> None:
        """Move the time; a negative step moves it back."""
        self.show(self.now() + by)

    def show(self, moment: datetime) -> None:
        """Set the time, and continue at the same rate."""
        self._change(ClockSetting(datetime.now(UTC), moment.astimezone(UTC), self._setting.rate))

    def run(self, rate: float) -> None:
        """Continue from now at another rate; 0 stops the time."""
        self._change(ClockSetting(machine := datetime.now(UTC), self._setting.at(machine), rate))

    def restore(self, setting: ClockSetting) -> None:
        """Apply an earlier setting, as if the clock had run since then."""
        self._change(setting)

    def reset(self) -> None:
        """Return to the machine's time and rate."""
        self._change(_plain())

    async def sleep(self, seconds: float) -> None:
        """Wait until this many seconds of the sandbox have passed, by running or by a jump."""
        await self.sleep_until(self.now() + timedelta(seconds=seconds))

    async def sleep_until(self, moment: datetime) -> None:
        """Wait until the clock shows `moment` or later."""
        await self.wait(moment, lambda: False)

    async def wait(self, until: datetime | None, done: Callable[[], bool]) -> None:
        """Wait until the clock shows `until` (None: never) or until `done`, which is called again after every `wake`."""
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
        """Let all waiting tasks check their conditions again."""
        for sleeper in self._sleepers:
            sleeper.set()

    def _change(self, setting: ClockSetting) -> None:
        self._setting = setting
        self.wake()


def _plain() -> ClockSetting:
    machine = datetime.now(UTC)
    return ClockSetting(machine, machine, 1.0)


def warsaw_day(moment: datetime) -> date:
    """Return the calendar day in Poland, with which invoice dates are compared."""
    return moment.astimezone(WARSAW).date()


def stamp(moment: datetime) -> str:
    """Format a time as KSeF does: UTC with an offset and seven fractional digits."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0+00:00"


def polish_stamp(moment: datetime) -> str:
    """Format a time as in a UPO: milliseconds and the Polish offset."""
    return moment.astimezone(WARSAW).isoformat(timespec="milliseconds")
