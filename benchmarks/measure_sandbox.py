"""The KSeF stand-in as a process beside the service; what it takes of time and memory is not measured."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import httpx
import psutil

from app.cli.demo.processes import clean_environment
from benchmarks.measure import MeasurementFailed

_READY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0


@contextmanager
def running_sandbox(port: int, *options: str) -> Iterator[str]:
    """Run the stand-in while inside, without its own XSD check, and without limits unless `options` say so; give its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--port", str(port), "--validate", "off", "--log-level", "error", *options],
        env=clean_environment({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, url)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def sandbox_process(url: str) -> psutil.Process:
    """Give the process that serves a stand-in started here, to read its CPU time. Raises MeasurementFailed."""
    port = url.rpartition(":")[2]
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            words = child.cmdline()
            if "sandbox" in words and port in words:
                return child
    raise MeasurementFailed("the process of the KSeF stand-in cannot be found")


def ledger(url: str) -> dict[str, Any]:
    """Give what the stand-in knows of sessions and accepted invoices."""
    found: dict[str, Any] = httpx.get(f"{url}/_sandbox/ledger", timeout=30, trust_env=False).raise_for_status().json()
    return found


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/_sandbox/health", timeout=5, trust_env=False).status_code == 200:
                return
        time.sleep(0.1)
    raise MeasurementFailed("the KSeF stand-in did not start")
