"""Child processes of the demo: start them, wait until they are ready, and stop them in every case."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import httpx

from app.errors import DispatchError

_STOP_SECONDS: Final = 20.0
_READY_SECONDS: Final = 90.0
_TAIL_LINES: Final = 15
_KEPT_SETTINGS: Final = {"KSEFD_SCHEMA_DIR", "KSEFD_POOL_WORKERS", "KSEFD_LOG_LEVEL"}


class ChildFailed(DispatchError):
    """A process of the demo ended, or did not become ready."""

    code = "demo-process"
    title = "A process of the demo failed"


class Child:
    """One running process; its output goes to a file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    def check(self) -> None:
        """Raise ChildFailed, with the end of the process's output, if the process has ended."""
        code = self._process.poll()
        if code is not None:
            raise ChildFailed(f"{self.name} ended with exit code {code}: {self.output_end()}")

    def output_end(self) -> str:
        """Return the end of the process's output."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
        return " | ".join(line.strip() for line in lines if line.strip()) or f"no output; see {self._log}"

    def wait_until_ready(self, url: str) -> None:
        """Poll an address until it answers 200. Raises ChildFailed after 90 seconds, or when the process ends."""
        deadline = time.monotonic() + _READY_SECONDS
        with httpx.Client(timeout=5, trust_env=False) as http:
            while time.monotonic() < deadline:
                self.check()
                if _answers(http, url):
                    return
                time.sleep(0.1)
        raise ChildFailed(f"{self.name} was not ready within {_READY_SECONDS:.0f} seconds: {self.output_end()}")

    def stop(self) -> None:
        """Terminate the process, and kill it if it does not end within 20 seconds."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def running(name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[Child]:
    """Run `python -m ARGUMENTS` inside the context; its output goes to `log`.

    The process gets a session of its own, so that Ctrl-C reaches only the demo, which then stops its children in order.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter with our own modules
            [sys.executable, "-m", *arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        child = Child(name, process, log)
        try:
            yield child
        finally:
            child.stop()


def run_once(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run `python -m ARGUMENTS` to its end and return its output. Raises ChildFailed if the exit code is not 0."""
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter with our own modules
            [sys.executable, "-m", *arguments],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            timeout=_READY_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        raise ChildFailed(f"`{' '.join(arguments[1:3])}` failed: {error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise ChildFailed(f"`{' '.join(arguments[1:3])}` did not end") from error
    return done.stdout


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with its settings of the service replaced by these."""
    kept = {name: value for name, value in os.environ.items() if _is_kept(name)}
    return {**kept, **settings, "PYTHONUNBUFFERED": "1"}


def free_port() -> int:
    """Return a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def drop_data(folder: Path) -> None:
    """Remove a service's data folder, stopping an embedded database that a killed service left running."""
    if (folder / "postgres" / "postmaster.pid").exists():
        from app.store.embedded import EmbeddedPostgres  # noqa: PLC0415 - rarely needed, and slow to load

        # The last process that closes the embedded server stops it.
        EmbeddedPostgres(folder).__enter__().close()
    shutil.rmtree(folder, ignore_errors=True)


def _answers(http: httpx.Client, url: str) -> bool:
    try:
        return http.get(url).status_code == 200
    except httpx.TransportError:
        return False  # not listening yet


def _is_kept(name: str) -> bool:
    return not name.startswith(("KSEFD_", "PROMETHEUS_MULTIPROC")) or name in _KEPT_SETTINGS


@contextmanager
def term_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, so that the processes that were started are ended too."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
