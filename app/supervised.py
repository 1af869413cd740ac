"""How a process that `ksefd serve` started ends when nobody supervises it any more."""

import os
import select
import signal
import sys
import threading
import time
from typing import Final

_GRACE_SECONDS: Final = 5.0


def end_with_supervisor() -> None:
    """From now on, end within seconds of the supervisor's end, however it ended. Does nothing without a supervisor.

    Call it first thing: a process that hangs while it starts, waiting for a database that died as well, must not be found
    by the next start. It is asked to stop as by anybody else, and after five seconds it is gone in any case.
    """
    if os.environ.get("KSEFD_SUPERVISED") == "1":
        threading.Thread(target=_watch, args=(sys.stdin.fileno(),), name="supervisor-watch", daemon=True).start()


def _watch(stdin: int) -> None:
    # The supervisor holds the other end and never writes, so whatever there is to read is the end.
    poller = select.poll()
    poller.register(stdin, select.POLLIN)
    poller.poll()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)
