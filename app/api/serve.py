"""Runs the API with uvicorn until SIGTERM or SIGINT."""

import asyncio
import contextlib
import math
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import anyio
import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import ASGIApp

from app.api.application import create_app
from app.api.http.connections import ConnectionLimits, connections_that_fit
from app.api.http.problems import refuse_connection
from app.api.http.protocol import BoundedHttpProtocol
from app.api.state import ApiState
from app.api.waiting import waiting_app
from app.client_addresses import TrustedProxies, read_networks
from app.clock import Clock, utc_now
from app.errors import ConfigurationError
from app.observability.logs import configure_logging, get_logger
from app.process.heartbeat import end_with_supervisor, send_heartbeats
from app.process.open_files import raise_file_limit
from app.process.ports import require_free_port
from app.settings import Settings
from app.store.installation_wait import reason_to_wait, wait_for_installation

_LAST_ANSWERS_SHARE: Final = 0.25
"""Share of the time of a stop that is left for the answers to bodies that did not arrive whole."""

log = get_logger(__name__)


class ApiServer(uvicorn.Server):
    """uvicorn's server, which reports its address when it listens, and returns at a signal instead of raising it again.

    It overrides `startup`, `shutdown` and `capture_signals`, and uses `handle_exit`, `servers` and `lifespan.state`.
    """

    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None] | None) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then log the address and pass it to `ready`."""
        await super().startup(sockets)
        if self.started:
            url = self.url
            log.info("api_started", url=url)
            if self._ready is not None:
                self._ready(url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: requests that wait for events end at once, all others may finish; a body that does not arrive in time gets a 503."""
        state: ApiState | None = self.lifespan.state.get("api")
        if state is None:
            await super().shutdown(sockets)
            return
        state.watcher.end()
        seconds = state.settings.stop_seconds * (1 - _LAST_ANSWERS_SHARE)
        refusing = asyncio.get_running_loop().call_later(seconds, self.lifespan.state["body_stop"].begin)
        try:
            await super().shutdown(sockets)
        finally:
            refusing.cancel()

    @property
    def url(self) -> str:
        """The address at which the server listens, with the port that it was given for port 0."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on SIGTERM and SIGINT; a second SIGINT stops at once. Unlike uvicorn's, do not raise the signal again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handled = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self.handle_exit) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def make_server(
    settings: Settings, host: str, port: int, *, ready: Callable[[str], None] | None = None, clock: Clock = utc_now
) -> ApiServer:
    """Return a server that has not started; `await server.serve()` runs it, `server.should_exit = True` stops it."""
    return _server_of(create_app(settings, clock=clock), settings, host, port, ready)


def _server_of(
    application: ASGIApp, settings: Settings, host: str, port: int, ready: Callable[[str], None] | None
) -> ApiServer:
    limits = ConnectionLimits(
        of_address=settings.connections_per_address,
        trusted=TrustedProxies(read_networks(settings.trusted_proxies)),
        most=connections_that_fit(raise_file_limit()),
    )
    options: dict[str, Any] = {
        "host": host,
        "port": port,
        "loop": "uvloop",
        "http": partial(BoundedHttpProtocol, limits=limits, refuse=refuse_connection),
        "ws": "none",
        "lifespan": "on" if isinstance(application, FastAPI) else "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": math.ceil(settings.stop_seconds),
    }
    return ApiServer(uvicorn.Config(application, **options), ready)


def run_api(
    settings: Settings,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    ready: Callable[[str], None] | None = None,
    clock: Clock = utc_now,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish running requests and return.

    While the database is away or has no installation, every call but `/livez` gets 503. `ready` is called with the address once
    requests are answered; port 0 lets the system choose one. Raises PortTaken; WrongMasterKey; ConfigurationError when the application does
    not start, and the log says why.
    """
    end_with_supervisor()
    configure_logging(settings)
    if settings.database_url is None:
        raise ConfigurationError("KSEFD_DATABASE_URL: no database; start through `ksefd serve` to get the embedded one")
    require_free_port(host, port)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, host, port, ready, clock))
    except SystemExit as error:
        # uvicorn leaves this way when the lifespan or the socket fails; it has logged the cause.
        raise ConfigurationError(f"the API did not start on {host}:{port}; the line above says why") from error


async def _serve(settings: Settings, host: str, port: int, ready: Callable[[str], None] | None, clock: Clock) -> None:
    if await reason_to_wait(settings) is None:
        await make_server(settings, host, port, ready=ready, clock=clock).serve()
        return
    waiting = _Waiting(settings, host, port, ready)
    if await waiting.serve():
        await make_server(settings, host, waiting.port, clock=clock).serve()


class _Waiting:
    """Answers that the API is not ready, until its installation can be used."""

    def __init__(self, settings: Settings, host: str, port: int, ready: Callable[[str], None] | None) -> None:
        self.port = port
        self._settings = settings
        self._ready = ready
        self._reason = "not looked for yet"
        self._found = False
        self._server = _server_of(waiting_app(lambda: self._reason), settings, host, port, self._listens)

    async def serve(self) -> bool:
        """Serve until the installation can be used, and return True; or until a signal to stop, and return False."""
        ended = asyncio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send_heartbeats, ended, name="heartbeat")
            tasks.start_soon(self._find, name="looking for the installation")
            await self._server.serve()
            ended.set()
            tasks.cancel_scope.cancel()
        return self._found

    async def _find(self) -> None:
        await wait_for_installation(self._settings, waits=self._waits)
        self._found = True
        self._server.should_exit = True

    async def _waits(self, reason: str) -> None:
        self._reason = reason

    def _listens(self, url: str) -> None:
        self.port = int(url.rpartition(":")[2])
        if self._ready is not None:
            self._ready(url)
