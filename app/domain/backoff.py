"""Pauses before another try: pure functions of the number of tries, with jitter from the caller's randomness."""

from typing import Final

LONGEST_SECONDS: Final = 300.0

# KSeF processes a small package in seconds and a full one in minutes. Doubling keeps polls few (one more for twice the time), and
# a poll comes at most as late as the processing took again; a session that makes no progress is polled once a minute.
_FIRST_LOOK_SECONDS: Final = 1.5
_MORE_FOR_10_000_SECONDS: Final = 3.0
_LONGEST_LOOK_SECONDS: Final = 60.0
_SOONEST_LOOK_SECONDS: Final = 0.5


def doubling(first_seconds: float, tries: int, random: float) -> float:
    """Wait twice as long after each try, up to five minutes. `tries` counts from 0, `random` is in [0, 1)."""
    pause = min(LONGEST_SECONDS, first_seconds * 2.0 ** min(tries, 30))
    return pause * (0.75 + random / 2)


def next_look(polls: int, invoices: int, random: float, *, expected_seconds: float | None = None) -> float:
    """Return the seconds until the next status poll of a session, by its number of invoices and of polls so far.

    `expected_seconds`: KSeF's recent processing time of sessions of that size; the first poll comes shortly after it. A wrong
    estimate changes no later poll.
    """
    if polls == 0 and expected_seconds is not None:
        return min(_LONGEST_LOOK_SECONDS, _SOONEST_LOOK_SECONDS + expected_seconds * (1.05 + random / 10))
    first = _FIRST_LOOK_SECONDS + _MORE_FOR_10_000_SECONDS * invoices / 10_000
    pause = first * 2.0 ** min(max(0, polls - 1), 10)
    return min(_LONGEST_LOOK_SECONDS, pause) * (0.9 + random / 5)
