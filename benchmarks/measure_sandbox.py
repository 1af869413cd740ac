"""KSeF as a process: the strict sandbox, or the sink where KSeF's use of the cores matters."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import httpx
import psutil

from app.cli.demo.processes import clean_environment
from benchmarks.measure import MeasurementFailed

_READY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0


@contextmanager
def running_sandbox(port: int, *options: str) -> Iterator[str]:
    """Run the sandbox inside the context, without XSD check, and by default without limits; yields its address."""
    with _running("sandbox", port, "--validate", "off", "--log-level", "error", *options) as process:
        url = _address(port)
        _wait_until_ready(process, url)
        yield url


@dataclass(frozen=True, slots=True)
class RunningSink:
    """A KSeF that accepts and discards invoices, in a process of its own."""

    url: str
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that the sink and its pool have used so far."""
        return sum(cpu_of(one) for one in (self.process, *self.process.children(recursive=True)))

    def ledger(self) -> dict[str, int]:
        """Return the counts of invoices, different invoices and sessions."""
        answer = httpx.get(f"{self.url}/_sink/ledger", timeout=30, trust_env=False)
        return dict(answer.raise_for_status().json())


@contextmanager
def running_sink(port: int) -> Iterator[RunningSink]:
    """Run the sink inside the context."""
    with _running("benchmarks.sink", port) as process:
        url = _address(port)
        _wait_until_ready(process, url)
        yield RunningSink(url, psutil.Process(process.pid))


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU seconds of one process so far."""
    times = process.cpu_times()
    return times.user + times.system


def ledger(url: str) -> dict[str, Any]:
    """Return the sandbox's ledger of sessions and accepted invoices."""
    found: dict[str, Any] = httpx.get(f"{url}/_sandbox/ledger", timeout=30, trust_env=False).raise_for_status().json()
    return found


@contextmanager
def _running(module: str, port: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--port", str(port), *options],
        env=clean_environment({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/_sandbox/health", timeout=5, trust_env=False).status_code == 200:
                return
        time.sleep(0.1)
    raise MeasurementFailed("the KSeF sandbox did not start")
