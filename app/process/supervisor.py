"""A whole service on one machine: the embedded database, the API and a worker, each a process, kept alive and ended together.

Children hold the other end of a pipe from here: when this process is killed, they see its end and stop by themselves. Through
another one they tell every second that they live: one that has been silent for long hangs, and is killed and started again.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from app.domain.backoff import doubling
from app.observability.logs import configure_logging, get_logger
from app.observability.metrics_folder import process_environment, sweep_dead_processes
from app.process.heartbeat import HEARTBEAT_VARIABLE
from app.settings import Settings
from app.store.embedded import EmbeddedPostgres
from app.store.interrupted_jobs import requeue_interrupted_jobs
from app.store.migrate import migrate

log = get_logger(__name__)

_STOP_SECONDS: Final = 15.0
_DATABASE_CHECK_SECONDS: Final = 1.0
SILENT_SECONDS: Final = 60.0
"""A child that was not heard for so long hangs. Its own calls have shorter deadlines, and nothing keeps a loop so long."""
_STARTING_SECONDS: Final = 180.0
"""Before a child is heard for the first time it may wait for a database that starts on a slow disk."""
_CHECKS: Final = 12
"""Looks in that time. Silence is counted in looks, so that this process's own pause is not taken for its children's."""
_STEADY_SECONDS: Final = 30.0
"""A child that lived so long counts as healthy again."""


@dataclass(frozen=True, slots=True)
class _Child:
    name: str
    command: Sequence[str]


def run_serve(settings: Settings, host: str, port: int) -> int:
    """Run API and worker until SIGTERM or SIGINT; returns the exit code. A child that dies is started again."""
    configure_logging(settings)
    with ExitStack() as stack:
        server: EmbeddedPostgres | None = None
        if settings.database_url is None:
            server = stack.enter_context(EmbeddedPostgres(settings.data_dir))
            settings = settings.model_copy(update={"database_url": server.url})
        url = settings.database_url
        if url is None:
            raise RuntimeError("no database address")
        migrate(url)
        # The embedded database serves this machine only and its last worker is gone, or we would not be starting.
        if server is not None and (jobs := requeue_interrupted_jobs(url)):
            log.info("running_jobs_requeued", jobs=jobs)
        sweep_dead_processes(settings)
        environment = (
            os.environ
            | process_environment(settings)
            | {
                "KSEFD_DATA_DIR": str(settings.data_dir.expanduser().resolve()),
                "KSEFD_DATABASE_URL": url,
                "KSEFD_SUPERVISED": "1",
            }
        )
        command = (sys.executable, "-m", "app.cli.main")
        children = [
            _Child("api", (*command, "api", "--host", host, "--port", str(port))),
            _Child("worker", (*command, "worker")),
        ]
        return asyncio.run(_supervise(children, environment, server))


async def _supervise(children: Sequence[_Child], environment: dict[str, str], server: EmbeddedPostgres | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as tasks:
        for child in children:
            tasks.create_task(_keep_alive(child, environment, stop))
        if server is not None:
            tasks.create_task(_keep_database(server, stop))
    return 0


async def _listen(child: _Child, process: asyncio.subprocess.Process, heard: int, silent_seconds: float) -> None:
    """Kill the child when it has been silent for too long; whoever waits for its end starts it again."""
    loop = asyncio.get_running_loop()
    silent, allowed = 0, _CHECKS * _STARTING_SECONDS / SILENT_SECONDS

    def hear() -> None:
        nonlocal silent, allowed
        if not os.read(heard, 4096):
            loop.remove_reader(heard)
            return
        silent, allowed = 0, float(_CHECKS)

    loop.add_reader(heard, hear)
    try:
        while silent < allowed:
            await asyncio.sleep(silent_seconds / _CHECKS)
            silent += 1
        log.error("process_hung", process=child.name, pid=process.pid, silent_seconds=silent_seconds)
        process.kill()
    finally:
        loop.remove_reader(heard)
        os.close(heard)


async def _keep_alive(
    child: _Child, environment: dict[str, str], stop: asyncio.Event, *, silent_seconds: float = SILENT_SECONDS
) -> None:
    failures = 0
    while not stop.is_set():
        started = asyncio.get_running_loop().time()
        # A session of its own, so that Ctrl-C reaches only this process, which then asks the others to stop.
        heard, mouth = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *child.command,
                env=environment | {HEARTBEAT_VARIABLE: str(mouth)},
                stdin=asyncio.subprocess.PIPE,
                start_new_session=True,
                pass_fds=(mouth,),
            )
        finally:
            os.close(mouth)
        ended = asyncio.ensure_future(process.wait())
        asked = asyncio.ensure_future(stop.wait())
        listening = asyncio.ensure_future(_listen(child, process, heard, silent_seconds))
        await asyncio.wait([ended, asked], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        listening.cancel()
        if stop.is_set():
            await _end(child, process)
            return
        lived = asyncio.get_running_loop().time() - started
        failures = 0 if lived > _STEADY_SECONDS else failures + 1
        pause = min(5.0, doubling(0.25, failures, 0.5))
        log.warning("process_restarted", process=child.name, exit_code=process.returncode, pause=pause)
        try:
            await asyncio.wait_for(stop.wait(), timeout=pause)
        except TimeoutError:
            continue


async def _end(child: _Child, process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), timeout=_STOP_SECONDS)
        except TimeoutError:
            log.warning("process_not_stopping", process=child.name)
            process.kill()
            await process.wait()
    log.info("process_stopped", process=child.name, exit_code=process.returncode)


async def _keep_database(server: EmbeddedPostgres, stop: asyncio.Event) -> None:
    while not stop.is_set():
        if not await asyncio.to_thread(server.is_running):
            log.warning("embedded_database_restarted")
            await asyncio.to_thread(server.start)
        try:
            await asyncio.wait_for(stop.wait(), timeout=_DATABASE_CHECK_SECONDS)
        except TimeoutError:
            continue
