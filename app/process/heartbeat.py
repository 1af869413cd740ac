"""Connection of a process with its supervisor, `ksefd serve`: it ends with the supervisor and sends it heartbeats."""

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
"""Environment variable with the file descriptor of a pipe, whose other end the supervisor reads."""

BEAT_SECONDS: Final = 1.0
_GRACE_SECONDS: Final = 5.0


def end_with_supervisor() -> None:
    """End this process within seconds after its supervisor ends, also when the supervisor is killed. Does nothing without one.

    Call it before anything else: a process that hangs in its start, for example because the database died too, must be gone
    before the next start. The process gets SIGTERM, and exits after five seconds in any case.
    """
    if os.environ.get("KSEFD_SUPERVISED") == "1":
        threading.Thread(target=_watch, args=(sys.stdin.fileno(),), name="supervisor-watch", daemon=True).start()


async def send_heartbeats(ended: asyncio.Event) -> None:
    """Send the supervisor a byte every second while this event loop runs, until `ended`. Returns at once without a supervisor."""
    number = os.environ.get(HEARTBEAT_VARIABLE)
    if number is None:
        return
    pipe = int(number)
    os.set_blocking(pipe, False)
    os.set_inheritable(pipe, False)
    while not ended.is_set():
        try:
            # A full pipe needs no other byte: the supervisor has unread ones.
            with contextlib.suppress(BlockingIOError):
                os.write(pipe, b".")
        except OSError:
            # The supervisor is gone; the thread that watches standard input ends this process.
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), timeout=BEAT_SECONDS)


def _watch(stdin: int) -> None:
    # The supervisor has the other end and never writes, so the pipe becomes readable only when it is closed.
    poller = select.poll()
    poller.register(stdin, select.POLLIN)
    poller.poll()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)
