"""How long to wait before another try: pure functions of the number of tries, with jitter from the caller's randomness."""

from typing import Final

LONGEST_SECONDS: Final = 300.0

# A small package is done in seconds, a full one rarely before. Doubling keeps the questions few (one look more for twice the
# time), and no look comes later than KSeF's own processing took again; a stuck session is watched, a look a minute.
_FIRST_LOOK_SECONDS: Final = 1.5
_MORE_FOR_10_000_SECONDS: Final = 3.0
_LONGEST_LOOK_SECONDS: Final = 60.0
_SOONEST_LOOK_SECONDS: Final = 0.5


def doubling(first_seconds: float, tries: int, random: float) -> float:
    """Wait twice as long after each try, up to five minutes. `tries` counts from 0, `random` is in [0, 1)."""
    pause = min(LONGEST_SECONDS, first_seconds * 2.0 ** min(tries, 30))
    return pause * (0.75 + random / 2)


def next_look(polls: int, invoices: int, random: float, *, expected_seconds: float | None = None) -> float:
    """Seconds until the next look at the status of a session with so many invoices, after so many looks.

    `expected_seconds`: how long KSeF took on sessions like it a moment ago; the first look comes shortly after that. Were it wrong,
    the looks after it would be as rare as ever.
    """
    if polls == 0 and expected_seconds is not None:
        return min(_LONGEST_LOOK_SECONDS, _SOONEST_LOOK_SECONDS + expected_seconds * (1.05 + random / 10))
    first = _FIRST_LOOK_SECONDS + _MORE_FOR_10_000_SECONDS * invoices / 10_000
    pause = first * 2.0 ** min(max(0, polls - 1), 10)
    return min(_LONGEST_LOOK_SECONDS, pause) * (0.9 + random / 5)
