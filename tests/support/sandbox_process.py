"""A real sandbox process for tests: started on a free port, stopped with the context."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.ports import reserved_port

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class SandboxHandle:
    """Where a running sandbox is to be found."""

    base_url: str
    """With `/v2`: what a KSeF client is given."""
    control_url: str
    """Of `/_sandbox`."""
    port: int
    process: subprocess.Popen[bytes]


@contextmanager
def running_sandbox(**options: str | float | bool) -> Iterator[SandboxHandle]:
    """Start `python -m sandbox` and wait until it answers.

    Options are the command's, with underscores: `limits="production"`, `validate="off"`, `processing_delay=0.5`,
    `enforce_identifiers=True`. The process is ended on leaving. Without a `port` it gets one that is kept for it until then,
    so that it can be killed and started again there.
    """
    with ExitStack() as stack:
        port = int(options.pop("port", 0)) or stack.enter_context(reserved_port())
        yield stack.enter_context(_running(port, options))


@contextmanager
def _running(port: int, options: dict[str, str | float | bool]) -> Iterator[SandboxHandle]:
    arguments = [sys.executable, "-m", "sandbox", "--port", str(port)]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(flag)
        elif value is not False:
            arguments += [flag, str(value)]
    process = subprocess.Popen(arguments, cwd=_ROOT)
    origin = f"http://localhost:{port}"
    handle = SandboxHandle(f"{origin}/v2", f"{origin}/_sandbox", port, process)
    try:
        _wait_until_healthy(handle)
        yield handle
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_healthy(handle: SandboxHandle) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        if handle.process.poll() is not None:
            raise RuntimeError(f"the sandbox ended with code {handle.process.returncode}")
        try:
            if httpx.get(f"{handle.control_url}/health").status_code == 200:
                return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)
