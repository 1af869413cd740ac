"""Giving memory back to the system, where the C library keeps what was freed.

glibc keeps freed memory in an arena for each thread. A receipt of 10,000 documents is some hundred megabytes of trees for a moment,
each read in whichever thread is free, so after a while every arena had held one: 350 MB that nobody used.
"""

import ctypes
from collections.abc import Callable
from typing import Any, Final


def _trimmer() -> Callable[[int], Any] | None:
    try:
        found: Callable[[int], Any] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        # Another C library; it has ways of its own.
        return None
    return found


_TRIM: Final = _trimmer()


def give_back() -> None:
    """Return freed memory to the system. Takes some milliseconds, without the interpreter's lock; call it in a thread."""
    if _TRIM is not None:
        _TRIM(0)
