"""Supervision of children: a child that dies or hangs is started again, one that sends heartbeats runs on."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import cast

import psutil
import pytest

from app.process.supervisor import _Child, _keep_alive, _watch

_HEARD = """
import asyncio, os, pathlib, sys
from app.process.heartbeat import send_heartbeats
pathlib.Path(sys.argv[1]).open("a").write(f"{os.getpid()}\\n")
asyncio.run(send_heartbeats(asyncio.Event()))
"""


def _lines(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


async def _wait_for_lines(path: Path, count: int) -> list[int]:
    async with asyncio.timeout(60):
        while len(lines := _lines(path)) < count:
            await asyncio.sleep(0.02)
    return lines


class _Process:
    """As much of a process as the listener touches."""

    pid = 1

    def __init__(self) -> None:
        self.killed = asyncio.Event()

    def kill(self) -> None:
        self.killed.set()


@pytest.mark.slow
async def test_a_child_with_heartbeats_runs_on_and_one_whose_heartbeats_stop_is_killed() -> None:
    read_fd, write_fd = os.pipe()
    process = _Process()
    child = _Child("worker", ())
    watching = asyncio.create_task(_watch(child, cast("asyncio.subprocess.Process", process), read_fd, 0.24))
    # Twenty times the silence that is borne. Both sides share a loop, so that a slow machine slows them alike.
    for _ in range(240):
        os.write(write_fd, b".")
        await asyncio.sleep(0.02)
        assert not process.killed.is_set()
    async with asyncio.timeout(60):
        await process.killed.wait()
        await watching
    os.close(write_fd)


@pytest.mark.slow
@pytest.mark.parametrize("harm", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_child_that_hangs_or_dies_is_started_again(tmp_path: Path, harm: signal.Signals) -> None:
    starts, stop = tmp_path / "starts", asyncio.Event()
    child = _Child("worker", (sys.executable, "-c", _HEARD, str(starts)))
    keeping = asyncio.create_task(_keep_alive(child, dict(os.environ), stop, silent_seconds=4))
    [first] = await _wait_for_lines(starts, 1)
    os.kill(first, harm)
    _, second = await _wait_for_lines(starts, 2)
    assert not psutil.pid_exists(first)
    stop.set()
    await keeping
    assert not psutil.pid_exists(second)


async def test_a_child_that_never_sends_a_heartbeat_is_killed(tmp_path: Path) -> None:
    starts, stop = tmp_path / "starts", asyncio.Event()
    script = (
        "import os, pathlib, sys, time\npathlib.Path(sys.argv[1]).open('a').write(f'{os.getpid()}\\n')\ntime.sleep(600)"
    )
    child = _Child("worker", (sys.executable, "-c", script, str(starts)))
    keeping = asyncio.create_task(_keep_alive(child, dict(os.environ), stop, silent_seconds=0.3))
    assert len(await _wait_for_lines(starts, 2)) == 2
    stop.set()
    await keeping
