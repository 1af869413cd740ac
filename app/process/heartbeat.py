"""What ties a process to `ksefd serve`, which started it: it ends when nobody supervises it any more, and tells that it lives."""

import asyncio
import contextlib
import os
import select
import signal
import sys
import threading
import time
from typing import Final

HEARTBEAT_VARIABLE: Final = "KSEFD_HEARTBEAT_FD"
"""Names the file descriptor of a pipe; whoever started the process reads its other end."""

BEAT_SECONDS: Final = 1.0
_GRACE_SECONDS: Final = 5.0


def end_with_supervisor() -> None:
    """From now on, end within seconds of the supervisor's end, however it ended. Does nothing without a supervisor.

    Call it first thing: a process that hangs while it starts, waiting for a database that died as well, must not be found
    by the next start. It is asked to stop as by anybody else, and after five seconds it is gone in any case.
    """
    if os.environ.get("KSEFD_SUPERVISED") == "1":
        threading.Thread(target=_watch, args=(sys.stdin.fileno(),), name="supervisor-watch", daemon=True).start()


async def beat(ended: asyncio.Event) -> None:
    """Tell the supervisor every second that this event loop turns, until `ended`. Returns at once without a supervisor."""
    written = os.environ.get(HEARTBEAT_VARIABLE)
    if written is None:
        return
    pipe = int(written)
    os.set_blocking(pipe, False)
    os.set_inheritable(pipe, False)
    while not ended.is_set():
        try:
            # A full pipe is no trouble: the supervisor has enough to read.
            with contextlib.suppress(BlockingIOError):
                os.write(pipe, b".")
        except OSError:
            # It is gone; the watch on standard input sees to the end.
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), timeout=BEAT_SECONDS)


def _watch(stdin: int) -> None:
    # The supervisor holds the other end and never writes, so whatever there is to read is the end.
    poller = select.poll()
    poller.register(stdin, select.POLLIN)
    poller.poll()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)
