"""Decides KSeF's availability by consecutive calls without an answer, unless an operator has ordered otherwise.

Away means: for minutes no call of any process has had an answer. A refusal, a 401 or a 429 is an answer. While KSeF is away, one
call at a time probes it, at growing pauses; the first answer of any kind ends the outage.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final


class KsefState(StrEnum):
    """Availability of KSeF."""

    AVAILABLE = "available"
    AWAY = "away"


FAILURES: Final = 5
SILENCE: Final = timedelta(minutes=3)
"""Consecutive calls without an answer, and the time between the first and the last, that make an outage. One slow minute does not."""
RUN_ENDS_AFTER: Final = timedelta(minutes=15)
"""Failures further apart than this are counted anew, since no call was made in between."""
PROBE_SECONDS: Final = 30.0
"""How long one probe waits for an answer; shorter than the first pause, so that there is never more than one."""
_FIRST_PAUSE: Final = timedelta(seconds=40)
_LONGEST_PAUSE: Final = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Health:
    """Record of KSeF's answers. All workers of an installation share one for each environment."""

    state: KsefState = KsefState.AVAILABLE
    since: datetime | None = None
    """Away: time of the first call without an answer. Available: time of the answer that ended the last outage; None before any."""
    reason: str | None = None
    failures: int = 0
    failing_since: datetime | None = None
    last_failure_at: datetime | None = None
    probes: int = 0
    next_probe_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """Order of an operator, until a moment or until it is cleared."""

    state: KsefState
    set_at: datetime
    until: datetime | None = None
    reason: str | None = None

    def holds(self, now: datetime) -> bool:
        """Return whether the order is still in force."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class Availability:
    """The availability that applies at a moment: by an operator's order, or by KSeF's answers."""

    state: KsefState
    since: datetime | None
    reason: str | None
    ordered: bool
    """True when an operator's order decides, and not KSeF's answers."""


def after_failure(health: Health, now: datetime, reason: str) -> Health:
    """Count a call without an answer of KSeF."""
    stale = health.last_failure_at is None or now - health.last_failure_at > RUN_ENDS_AFTER
    if health.state is KsefState.AVAILABLE and stale:
        return replace(health, failures=1, failing_since=now, last_failure_at=now)
    # Clocks of several machines differ a little: the time without an answer never becomes shorter by that.
    last = max(now, health.last_failure_at or now)
    counted = replace(health, failures=health.failures + 1, last_failure_at=last)
    if health.state is KsefState.AWAY:
        return replace(counted, reason=reason)
    begun = health.failing_since or now
    if counted.failures < FAILURES or last - begun < SILENCE:
        return counted
    return replace(
        counted, state=KsefState.AWAY, since=begun, reason=reason, probes=0, next_probe_at=now + _FIRST_PAUSE
    )


def after_answer(health: Health, now: datetime) -> Health:
    """Reset the count after an answer. Returns the same object when there is nothing to reset."""
    if health.state is KsefState.AVAILABLE and health.failures == 0:
        return health
    return Health(since=now if health.state is KsefState.AWAY else health.since)


def reserve_probe(health: Health, now: datetime) -> Health | None:
    """Reserve the next probe; None before its time, or when KSeF is not away."""
    if health.state is not KsefState.AWAY or (health.next_probe_at is not None and now < health.next_probe_at):
        return None
    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 1.5 ** min(health.probes + 1, 30))
    return replace(health, probes=health.probes + 1, next_probe_at=now + pause)


def standing(health: Health, override: Override | None, now: datetime) -> Availability:
    """Return the availability that applies now: by an order in force, else by KSeF's answers."""
    if override is not None and override.holds(now):
        return Availability(override.state, override.set_at, override.reason or "ordered by an operator", ordered=True)
    return Availability(health.state, health.since, health.reason, ordered=False)
