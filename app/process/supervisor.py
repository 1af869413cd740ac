"""Supervisor of a service on one machine: starts, restarts and ends the embedded database, the API and a worker together.

Each child has one end of two pipes. When this process is killed, the first pipe is closed and the child stops by itself. Through the
second one the child sends a heartbeat every second; a child without heartbeats hangs, and is killed and started again.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import uuid4

from app.domain.backoff import doubling
from app.observability.logs import configure_logging, get_logger
from app.observability.metrics_folder import process_environment, sweep_dead_processes
from app.process.heartbeat import HEARTBEAT_VARIABLE
from app.process.owner import OWNER_VARIABLE
from app.process.ports import require_free_port
from app.process.serve_lock import ServeLock
from app.settings import Settings
from app.store.backup.restore import refuse_unfinished_restore
from app.store.data_folder import prepare_data_folder
from app.store.database_errors import DatabaseError
from app.store.embedded import EmbeddedPostgres
from app.store.installation import prepare_installation
from app.store.interrupted_jobs import release_sessions_of, requeue_interrupted_jobs

log = get_logger(__name__)

_STOP_MARGIN_SECONDS: Final = 5.0
"""Time that a child has for its own end, besides that of its running requests and jobs."""
_DATABASE_CHECK_SECONDS: Final = 1.0
SILENT_SECONDS: Final = 60.0
"""A child without heartbeats for this long hangs: its own calls have shorter deadlines, and no computation blocks its loop as long."""
_STARTING_SECONDS: Final = 180.0
"""Time to a child's first heartbeat; the child may wait for a database that starts on a slow disk."""
_CHECKS: Final = 12
"""Checks in SILENT_SECONDS. Silence is counted in checks, so that a pause of this process is not mistaken for one of its children."""
_STEADY_SECONDS: Final = 30.0
"""A child that ran this long counts as healthy again."""


@dataclass(frozen=True, slots=True)
class _Child:
    name: str
    command: Sequence[str]
    stop_seconds: float = 20.0
    inherits: tuple[int, ...] = ()
    """Descriptors that stay open in the child."""


def run_serve(settings: Settings, host: str, port: int) -> int:
    """Run API and worker until SIGTERM or SIGINT; returns the exit code. A child that dies is started again.

    Raises AlreadyServed when another one runs in the data folder, PortTaken, and the errors of `prepare_installation`.
    """
    configure_logging(settings)
    settings = settings.model_copy(update={"data_dir": prepare_data_folder(settings.data_dir)})
    with ExitStack() as stack:
        lock = stack.enter_context(closing(ServeLock(settings.data_dir)))
        refuse_unfinished_restore(settings.data_dir)
        require_free_port(host, port)
        server: EmbeddedPostgres | None = None
        if settings.database_url is None:
            server = stack.enter_context(EmbeddedPostgres(settings.data_dir))
            settings = settings.model_copy(update={"database_url": server.url})
        url = settings.database_url
        if url is None:
            raise RuntimeError("no database address")
        prepare_installation(settings)
        # The embedded database serves this machine only and its last worker is gone, or we would not have its lock.
        if server is not None and (jobs := requeue_interrupted_jobs(url)):
            log.info("running_jobs_requeued", jobs=jobs)
        sweep_dead_processes(settings)
        command = (sys.executable, "-m", "app.cli.main")
        child = partial(_Child, stop_seconds=settings.stop_seconds, inherits=(lock.children_fd,))
        children = [
            child("api", (*command, "api", "--host", host, "--port", str(port))),
            child("worker", (*command, "worker")),
        ]
        return asyncio.run(_supervise(children, _environment(settings, url), server))


def _environment(settings: Settings, url: str) -> dict[str, str]:
    """Return the environment of the children, which use the database that runs here."""
    given = os.environ | process_environment(settings)
    given.pop("KSEFD_DATABASE_URL_FILE", None)
    return given | {"KSEFD_DATA_DIR": str(settings.data_dir), "KSEFD_DATABASE_URL": url, "KSEFD_SUPERVISED": "1"}


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


async def _watch(child: _Child, process: asyncio.subprocess.Process, read_fd: int, silent_seconds: float) -> None:
    """Kill a child that sends no heartbeats; `_keep_alive` starts it again."""
    loop = asyncio.get_running_loop()
    silent, allowed = 0, _CHECKS * _STARTING_SECONDS / SILENT_SECONDS

    def read_heartbeats() -> None:
        nonlocal silent, allowed
        if not os.read(read_fd, 4096):
            loop.remove_reader(read_fd)
            return
        silent, allowed = 0, float(_CHECKS)

    loop.add_reader(read_fd, read_heartbeats)
    try:
        while silent < allowed:
            await asyncio.sleep(silent_seconds / _CHECKS)
            silent += 1
        log.error("process_hung", process=child.name, pid=process.pid, silent_seconds=silent_seconds)
        process.kill()
    finally:
        loop.remove_reader(read_fd)
        os.close(read_fd)


async def _keep_alive(
    child: _Child, environment: dict[str, str], stop: asyncio.Event, *, silent_seconds: float = SILENT_SECONDS
) -> None:
    failures = 0
    while not stop.is_set():
        started = asyncio.get_running_loop().time()
        # The child gets a session of its own, so that Ctrl-C reaches only this process, which then asks its children to stop.
        read_fd, write_fd = os.pipe()
        owner = uuid4().hex
        try:
            process = await asyncio.create_subprocess_exec(
                *child.command,
                env=environment | {HEARTBEAT_VARIABLE: str(write_fd), OWNER_VARIABLE: owner},
                stdin=asyncio.subprocess.PIPE,
                start_new_session=True,
                pass_fds=(write_fd, *child.inherits),
            )
        finally:
            os.close(write_fd)
        ended = asyncio.ensure_future(process.wait())
        asked = asyncio.ensure_future(stop.wait())
        watching = asyncio.ensure_future(_watch(child, process, read_fd, silent_seconds))
        await asyncio.wait([ended, asked], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        watching.cancel()
        if stop.is_set():
            await _end(child, process)
            return
        lived = asyncio.get_running_loop().time() - started
        failures = 0 if lived > _STEADY_SECONDS else failures + 1
        pause = min(5.0, doubling(0.25, failures, 0.5))
        log.warning("process_restarted", process=child.name, exit_code=process.returncode, pause=pause)
        if database_url := environment.get("KSEFD_DATABASE_URL"):
            await _release_sessions(database_url, owner)
        try:
            await asyncio.wait_for(stop.wait(), timeout=pause)
        except TimeoutError:
            continue


async def _release_sessions(database_url: str, owner: str) -> None:
    """Let the next worker take the sessions of one that has ended. Without the database they are free when their time is over."""
    try:
        if sessions := await asyncio.to_thread(release_sessions_of, database_url, owner):
            log.info("sessions_released", sessions=sessions)
    except DatabaseError as error:
        log.warning("sessions_not_released", reason=error.detail)


async def _end(child: _Child, process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), timeout=child.stop_seconds + _STOP_MARGIN_SECONDS)
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
