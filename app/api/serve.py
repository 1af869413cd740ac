"""Runs the API with uvicorn until SIGTERM or SIGINT."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import uvicorn

from app.api.application import create_app
from app.api.http.connections import ConnectionLimits, connections_that_fit
from app.api.http.problems import refuse_connection
from app.api.http.protocol import BoundedHttpProtocol
from app.api.state import ApiState
from app.client_addresses import TrustedProxies, read_networks
from app.clock import Clock, utc_now
from app.errors import ConfigurationError
from app.observability.logs import configure_logging, get_logger
from app.process.heartbeat import end_with_supervisor
from app.process.open_files import raise_file_limit
from app.settings import Settings

GRACE_SECONDS: Final = 20
"""How long running requests may take to finish after a signal to stop; then they are cancelled."""

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
        """Stop: requests that wait for events end at once, all others may finish."""
        state: ApiState | None = self.lifespan.state.get("api")
        if state is not None:
            state.watcher.end()
        await super().shutdown(sockets)

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
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": GRACE_SECONDS,
    }
    return ApiServer(uvicorn.Config(create_app(settings, clock=clock), **options), ready)


def run_api(
    settings: Settings,
    host: str = "127.0.0.1",
    port: int = 8080,
    *,
    ready: Callable[[str], None] | None = None,
    clock: Clock = utc_now,
) -> None:
    """Serve until SIGTERM or SIGINT, then finish running requests and return.

    `ready` is called with the address once requests are accepted; port 0 lets the system choose one. Raises
    ConfigurationError when the address is taken or the application does not start; the log says why.
    """
    end_with_supervisor()
    configure_logging(settings)
    server = make_server(settings, host, port, ready=ready, clock=clock)
    try:
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(server.serve())
    except SystemExit as error:
        # uvicorn leaves this way when the lifespan or the socket fails; it has logged the cause.
        raise ConfigurationError(f"the API did not start on {host}:{port}; the line above says why") from error
