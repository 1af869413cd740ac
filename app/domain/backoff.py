"""How long to wait before another try: pure functions of the number of tries, with jitter from the caller's randomness."""

from typing import Final

LONGEST_SECONDS: Final = 300.0

# Small packages are done in seconds; a stuck one is watched for as long as it takes, a look a minute.
_POLL_SECONDS: Final = (1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 45.0)
_POLL_LONGEST_SECONDS: Final = 60.0


def doubling(first_seconds: float, tries: int, random: float) -> float:
    """Wait twice as long after each try, up to five minutes. `tries` counts from 0, `random` is in [0, 1)."""
    pause = min(LONGEST_SECONDS, first_seconds * 2.0 ** min(tries, 30))
    return pause * (0.75 + random / 2)


def next_look(polls: int, random: float) -> float:
    """Seconds until the next look at a session's status, after so many looks; at most about a minute."""
    pause = _POLL_SECONDS[polls] if polls < len(_POLL_SECONDS) else _POLL_LONGEST_SECONDS
    return pause * (0.9 + random / 5)
