"""One `ksefd serve` a data folder, and none beside the children of one that was killed."""

import os
from pathlib import Path
from typing import Final

from app.errors import DispatchError
from app.store.file_locks import LockHeld, lock_file

_CHILDREN_SECONDS: Final = 15.0
"""Children end within seconds after their supervisor; see `heartbeat.end_with_supervisor`."""


class AlreadyServed(DispatchError):
    """Another `ksefd serve` runs in the data folder."""

    status = 503
    code = "already-served"
    title = "Already served"


class ServeLock:
    """The locks of one supervisor. The kernel ends them with the processes that hold them."""

    def __init__(self, data_dir: Path) -> None:
        """Take both locks. Raises AlreadyServed at once when another supervisor runs, later when old children do not end."""
        path = data_dir / "serve.lock"
        try:
            self._fd = lock_file(path, exclusive=True)
        except LockHeld as error:
            raise AlreadyServed(
                f"another `ksefd serve`{_process_in(path)} runs in {data_dir}; end it first, or give this one a folder of its own "
                "with KSEFD_DATA_DIR"
            ) from error
        try:
            os.truncate(self._fd, 0)
            os.write(self._fd, f"{os.getpid()}\n".encode())
            self.children_fd = self._lock_of_children(data_dir)
        except BaseException:
            os.close(self._fd)
            raise

    @staticmethod
    def _lock_of_children(data_dir: Path) -> int:
        """Return a locked descriptor for the children to inherit: the lock is held until the last of them has ended."""
        try:
            return lock_file(data_dir / "serve.children", exclusive=True, seconds=_CHILDREN_SECONDS)
        except LockHeld as error:
            raise AlreadyServed(
                f"processes of an earlier `ksefd serve` still run in {data_dir}, and have not ended for "
                f"{_CHILDREN_SECONDS:.0f} seconds; end them first"
            ) from error

    def close(self) -> None:
        """Release the locks."""
        os.close(self.children_fd)
        os.close(self._fd)


def _process_in(path: Path) -> str:
    try:
        pid = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return f" (process {pid})" if pid.isdigit() else ""
