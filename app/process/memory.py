"""Memory of a process: excludes start-up objects from garbage collection, and returns freed memory to the system.

glibc keeps freed memory in an arena for each thread. A receipt of 10,000 documents is some hundred megabytes of trees for a moment,
and each is read in another thread of the pool, so after a while every arena had grown that large: 350 MB without use.
"""

import ctypes
import gc
from collections.abc import Callable
from typing import Any, Final


def _trimmer() -> Callable[[int], Any] | None:
    try:
        found: Callable[[int], Any] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        # Another C library has no such function.
        return None
    return found


_TRIM: Final = _trimmer()


def freeze_startup_objects() -> None:
    """Exclude all objects that exist now from garbage collection (`gc.freeze`). Call it once, at the end of the start.

    Libraries, models and the schema are some hundred thousand objects that live as long as the process. Each pass of the collector
    over them would take tens of milliseconds in the middle of a request.
    """
    gc.collect()
    gc.freeze()


def trim_heap() -> None:
    """Return freed memory to the system. Takes some milliseconds, without the interpreter's lock; call it in a thread."""
    if _TRIM is not None:
        _TRIM(0)
