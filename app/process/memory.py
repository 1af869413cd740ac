"""Memory: what is loaded stays out of the collector's way, and what was freed goes back to the system.

glibc keeps freed memory in an arena for each thread. A receipt of 10,000 documents is some hundred megabytes of trees for a moment,
each read in whichever thread is free, so after a while every arena had held one: 350 MB that nobody used.
"""

import ctypes
import gc
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


def settle() -> None:
    """Have the collector pass over all that is loaded now. Call it once, when a process is ready for its work.

    Libraries, models and the schema are some hundred thousand objects that live as long as the process; going through them again
    and again costs tens of milliseconds each time, in the middle of somebody's request.
    """
    gc.collect()
    gc.freeze()


def give_back() -> None:
    """Return freed memory to the system. Takes some milliseconds, without the interpreter's lock; call it in a thread."""
    if _TRIM is not None:
        _TRIM(0)
