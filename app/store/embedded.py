"""A real PostgreSQL under the data folder, for machines that have none.

The server is a process of its own: it outlives a crash of ours and is found again by the next start. Every user of it holds
a shared file lock, and the last user to release it stops the server. A lock dies with its process, so a kill leaves no trace that could keep
the server running for ever.
"""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from app.errors import ConfigurationError
from app.store.data_folder import prepare_data_folder
from app.store.embedded_account import ServerAccount, let_account_in, programs, server_account
from app.store.embedded_files import (
    choose_socket_folder,
    drop_socket_folder,
    make_cluster,
    url_of,
    write_configuration,
)
from app.store.file_locks import LockHeld, lock_file, take_lock

# Recovery after a crash replays the write-ahead log.
_START_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 60.0
_KILL_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 0.3
_LOG_LINES: Final = 3
_READY: Final = "ready"
_STATUS_LINE: Final = 7
# The shell ends at once and leaves the server to the system, so that it outlives us; it prints the number of the process.
_DETACHED: Final = '"$@" </dev/null >>"$0" 2>&1 & echo $!'


class EmbeddedPostgres:
    """The server of one data folder, as a context manager. `url` is valid inside."""

    def __init__(self, data_dir: Path) -> None:
        """`data_dir` is made when it is missing; the server's files go into `postgres` below it."""
        self._root = data_dir.expanduser().resolve()
        self._pgdata = self._root / "postgres"
        self._users_path = self._root / "postgres.users"
        self._users_fd: int | None = None
        self._account: ServerAccount | None = None
        self._url: str | None = None

    @property
    def url(self) -> str:
        """The server's address, over a socket that only our own user can reach."""
        if self._url is None:
            raise ConfigurationError("the embedded PostgreSQL is not running")
        return self._url

    def __enter__(self) -> Self:
        """Start the server, or find the running one."""
        prepare_data_folder(self._root)
        # Waits while another process stops the server, which it does under an exclusive lock.
        self._users_fd = lock_file(self._users_path, exclusive=False, seconds=_STOP_SECONDS + _KILL_SECONDS)
        try:
            self.start()
        except BaseException:
            os.close(self._users_fd)
            self._users_fd = None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server unless another process uses it."""
        self.close()

    def close(self) -> None:
        """Release the server and stop it unless another process uses it. Safe to call twice."""
        if self._users_fd is None:
            return
        try:
            take_lock(self._users_fd, self._users_path, exclusive=True)
            self._stop()
        except LockHeld:
            return
        finally:
            os.close(self._users_fd)
            self._users_fd = None
            self._url = None

    def is_running(self) -> bool:
        """Return whether the server's process runs."""
        found = _read_pid_file(self._pgdata)
        return found is not None and found.lives(self._pgdata)

    def start(self) -> None:
        """Start the server unless it runs; after a crash it recovers first. Raises ConfigurationError after two minutes."""
        deadline = time.monotonic() + _START_SECONDS
        try:
            lock = lock_file(self._root / "postgres.lock", exclusive=True, seconds=_START_SECONDS)
        except LockHeld as error:
            raise ConfigurationError(
                f"another process has been starting the database of {self._root} for two minutes; end it and try again"
            ) from error
        try:
            account = server_account()
            let_account_in(account, self._root)
            make_cluster(account, self._pgdata)
            folder = choose_socket_folder(account, self._pgdata)
            if write_configuration(account, self._pgdata, folder):
                # A server that was started with other rules about who may log in, by an older version, is not used.
                self._stop_process()
            self._run(account, deadline)
            self._account, self._url = account, url_of(folder)
        finally:
            os.close(lock)

    def _run(self, account: ServerAccount, deadline: float) -> None:
        """Start the server's process unless it runs, and wait until it takes connections."""
        log, started = self._pgdata / "log", -1
        while True:
            found = _read_pid_file(self._pgdata)
            if found is not None and not found.lives(self._pgdata):
                # The number of a server that is gone may belong to another program by now.
                (self._pgdata / "postmaster.pid").unlink(missing_ok=True)
                found = None
            if found is not None and found.status == _READY:
                return
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"the embedded PostgreSQL did not start within {_START_SECONDS:.0f} seconds; "
                    f"its last words, from {log}: {_last_words(log)}"
                )
            if found is None and not _runs(started):
                # After a kill the children of the old server may still hold its memory: try again until they are gone.
                if started > 0:
                    time.sleep(_RETRY_SECONDS)
                    # No server runs, and nothing but this start writes the file: an empty one was left by a loss of power.
                    (self._pgdata / "postmaster.pid").unlink(missing_ok=True)
                with account.reaching(self._pgdata) as there:
                    command = (there.path / "log", programs() / "postgres", "-D", there.path)
                    words = ("/bin/sh", "-c", _DETACHED, *command)
                    started = int(account.run(*words, seconds=_STOP_SECONDS, inherits=there.inherits))
            time.sleep(_PAUSE_SECONDS)

    def stop_leftover(self) -> None:
        """Stop a server that a killed process of ours left running, whose folder is to be removed."""
        self._stop_process()

    def _stop(self) -> None:
        self._stop_process()
        if self._account is not None:
            drop_socket_folder(self._account, self._pgdata)

    def _stop_process(self) -> None:
        found = _read_pid_file(self._pgdata)
        if found is None or not found.lives(self._pgdata):
            return
        # SIGINT ends all connections and writes everything out; SIGQUIT leaves the rest to the recovery at the next start.
        for number, seconds in ((signal.SIGINT, _STOP_SECONDS), (signal.SIGQUIT, _KILL_SECONDS)):
            try:
                os.kill(found.pid, number)
            except ProcessLookupError:
                return
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if not found.lives(self._pgdata):
                    return
                time.sleep(_PAUSE_SECONDS)
        os.kill(found.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class _PidFile:
    """The file that a server writes about itself into its folder."""

    pid: int
    status: str

    def lives(self, pgdata: Path) -> bool:
        """Return whether the process runs and is the server of this folder."""
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE or "postgres" not in process.name():
                return False
            # Another program's PostgreSQL may have got the number after a restart of the machine.
            return Path(process.cwd()) == pgdata
        except psutil.AccessDenied:
            return True
        except psutil.NoSuchProcess:
            return False


def _read_pid_file(pgdata: Path) -> _PidFile | None:
    try:
        lines = (pgdata / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        pid = int(lines[0])
    except (FileNotFoundError, IndexError, ValueError):
        # Missing, or being written.
        return None
    # A server that only makes a cluster writes a negative number.
    return _PidFile(pid, lines[_STATUS_LINE].strip() if len(lines) > _STATUS_LINE else "") if pid > 0 else None


def _runs(pid: int) -> bool:
    try:
        return pid > 0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _last_words(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    except OSError as error:
        return str(error)
    return " | ".join(lines)
