"""The search for culprits: documents of a chunk that end or hang the process that checks them.

The search runs in a pool process and checks the documents in child processes, forked from it with the schema already compiled. A child
writes the position of its document into shared memory, so the document under check at its death is known without bisecting. A document
is a culprit after two deaths, in two processes: one death may have been the machine's fault.
"""

import ctypes
import mmap
import os
import select
import signal
import sys
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from app.checking.check_chunk import check_entry
from app.checking.process_limits import MEMORY_EXIT, SHORT_LIMIT, use_limit
from app.forms.form import CheckContext
from app.reading.entry import RawEntry

NORMAL_CULPRITS: Final = 4
"""Culprits of a chunk that are found with the normal limit. Beyond them the chunk is hostile, and its documents get the short limit, so that
a thousand documents that hang cost seconds and not minutes."""

STALLED_SECONDS: Final = 10.0
"""Time that a child may sleep at one document. A document that computes uses up its processor time first."""
_STALLED_SECONDS_HURRIED: Final = 1.0
# Added to the pool process's own: while other tenants' chunks need the processors, they come first.
_NICENESS: Final = 4

_PR_SET_PDEATHSIG: Final = 1
_POSITION_BYTES: Final = 8
_FAULT_EXIT: Final = 70
_WAITS: Final = 20
_CAUSES: Final[dict[int, str]] = {signal.SIGPROF: "processor_time", signal.SIGSEGV: "segmentation_fault"}


@dataclass(frozen=True, slots=True)
class Search:
    """The documents of one chunk to search through."""

    entries: tuple[RawEntry, ...]
    context: CheckContext
    culprits: frozenset[int] = frozenset()
    """Positions that are known already."""
    stalled_seconds: float = STALLED_SECONDS


@dataclass(frozen=True, slots=True)
class _Death:
    """The end of a child before it had checked all its documents."""

    position: int
    cause: str


def find_culprits(search: Search) -> dict[int, str]:
    """Return the culprits' positions, each with the cause of its process's death, for the log."""
    found: dict[int, str] = {}
    suspect: int | None = None
    position = 0
    with closing(mmap.mmap(-1, _POSITION_BYTES)) as progress:
        while (death := _check_in_child(search, position, progress, hurried=len(found) >= NORMAL_CULPRITS)) is not None:
            if death.position == suspect or death.cause == "fault":
                if death.cause != "fault":
                    found[death.position] = death.cause
                position, suspect = death.position + 1, None
            else:
                position = suspect = death.position
    return found


def _check_in_child(search: Search, start: int, progress: mmap.mmap, *, hurried: bool) -> _Death | None:
    """Check the documents from a position on in a new child; return its death, None when it has survived them all."""
    progress[:] = start.to_bytes(_POSITION_BYTES, sys.byteorder)
    # The child has the only writing end: the pipe ends with it.
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _run_child(search, start, progress, hurried=hurried)
    os.close(writing)
    try:
        patience = min(search.stalled_seconds, _STALLED_SECONDS_HURRIED if hurried else STALLED_SECONDS)
        stalled = not _wait_for_end(child, reading, progress, patience)
        if stalled:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    if status == 0:
        return None
    return _Death(_position(progress), "no_progress" if stalled else _cause(status))


def _run_child(search: Search, start: int, progress: mmap.mmap, *, hurried: bool) -> NoReturn:
    """Check documents until the end or until one ends this process; never return."""
    code = _FAULT_EXIT
    try:
        # The kernel ends the child when the pool process is ended.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.nice(_NICENESS)
        if hurried:
            use_limit(SHORT_LIMIT)
        for position in range(start, len(search.entries)):
            if position not in search.culprits:
                progress[:] = position.to_bytes(_POSITION_BYTES, sys.byteorder)
                check_entry(search.entries[position], search.context, Counter())
        code = 0
    finally:
        # Without the parent's handlers and buffers, which are copies here. An exception of the check is found again by the next run.
        os._exit(code)


def _wait_for_end(child: int, pipe: int, progress: mmap.mmap, stalled_seconds: float) -> bool:
    """Wait until the child has ended; return False when it has slept for so many seconds at the same position.

    A child that is runnable, or waits for memory from the disk, does not sleep: a busy machine rejects no document.
    """
    step = stalled_seconds / _WAITS
    last, sleeps = _position(progress), 0
    while not select.select([pipe], [], [], step)[0]:
        at = _position(progress)
        sleeps = sleeps + 1 if at == last and _sleeps(child) else 0
        last = at
        if sleeps >= _WAITS:
            return False
    return True


def _sleeps(child: int) -> bool:
    """Return whether a process sleeps: state S of proc_pid_stat(5), behind the name in parentheses."""
    state = Path(f"/proc/{child}/stat").read_bytes().rpartition(b")")[2].split()[0]
    return state == b"S"


def _position(progress: mmap.mmap) -> int:
    return int.from_bytes(progress[:], sys.byteorder)


def _cause(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return _CAUSES.get(number, f"signal_{number}")
    exited = os.WEXITSTATUS(status)
    return {MEMORY_EXIT: "memory", _FAULT_EXIT: "fault"}.get(exited, f"exit_{exited}")
