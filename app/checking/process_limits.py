"""Limits of a checking process: processor time of one document, address space, and no core files.

The kernel enforces the time: a timer of the process sends SIGPROF, whose default action ends the process also while C code runs that no
Python signal handler could interrupt. The time is processor time, so a busy machine does not shorten it.
"""

import os
import resource
import signal
from dataclasses import dataclass
from typing import Final

ADDRESS_SPACE_BYTES: Final = 1 << 30
"""Address space of one process.

A process with the compiled schema has 140 MB of it; a chunk on its way through takes some 50 MB and the dearest known document 200 MB
(`tests/hostile`). The limit is more than twice their sum, so only a document that was made for it comes near.
"""

MEMORY_EXIT: Final = 71
"""Exit code of a process in which an allocation failed while it checked a document."""


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """Processor time that the check of one document may take: a part for any document, and a part for each of its bytes."""

    seconds: float
    seconds_a_byte: float

    def of(self, size: int) -> float:
        """Return the seconds for a document of that many bytes."""
        return self.seconds + self.seconds_a_byte * size


NORMAL_LIMIT: Final = TimeLimit(0.25, 3e-6)
"""The limit of a document. An ordinary invoice takes 1 ms; the dearest known document (2.4 MB of character references) takes 0.9 s of
the 7.5 s that it may take."""

SHORT_LIMIT: Final = TimeLimit(0.008, 1e-6)
"""The limit of a document after many others of its chunk have exceeded theirs: 12 ms for an ordinary invoice, still 2.5 times the time of
the dearest known document."""

_enforced = False
_limit = NORMAL_LIMIT


def enforce_limits() -> None:
    """Make the limits those of this process; without this call `begin_document` limits nothing, as in a test's own process."""
    global _enforced  # noqa: PLW0603 - a process's own state, set once at its start
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    # A core file would take seconds to write and would keep invoices on the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    _enforced = True


def use_limit(limit: TimeLimit) -> None:
    """Use another time limit for the documents that this process checks from now on."""
    global _limit  # noqa: PLW0603 - a process's own state
    _limit = limit


def begin_document(size: int) -> None:
    """Start the time limit of a document of that many bytes; it replaces the one of the document before."""
    if _enforced:
        signal.setitimer(signal.ITIMER_PROF, _limit.of(size))


def end_documents() -> None:
    """Stop the time limit. A process must not end while it sends a result, because it then holds the lock of the pool's pipe."""
    if _enforced:
        signal.setitimer(signal.ITIMER_PROF, 0)


def end_without_memory() -> None:
    """End this process after a failed allocation, so that all deaths take the same way; return where no limits are enforced."""
    if _enforced:
        os._exit(MEMORY_EXIT)
