"""Locks on files of the data folder. The kernel holds them, so a lock ends with its process, also when that is killed."""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

from app.errors import ConfigurationError

_PAUSE_SECONDS: Final = 0.05


class LockHeld(ConfigurationError):
    """Another process holds the lock."""


def lock_file(path: Path, *, exclusive: bool, seconds: float = 0.0) -> int:
    """Lock a file, which is made with mode 0600 when it is missing, and return its descriptor; closing that ends the lock.

    Raises LockHeld when another process holds it for longer than `seconds`.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        take_lock(fd, path, exclusive=exclusive, seconds=seconds)
    except BaseException:
        os.close(fd)
        raise
    return fd


def take_lock(fd: int, path: Path, *, exclusive: bool, seconds: float = 0.0) -> None:
    """Lock an open file. Raises LockHeld when another process holds it for longer than `seconds`."""
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise LockHeld(f"another process has locked {path} for more than {seconds:.0f} seconds") from error
            time.sleep(_PAUSE_SECONDS)
        else:
            return
