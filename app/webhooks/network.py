"""Connections to receivers of webhooks, made only to addresses that the installation permits.

A name is resolved once for a connection, all its addresses are checked, and the connection is made to a checked address
instead of the name, so a name server that changes its answer cannot redirect it. TLS still verifies the certificate against the
name.
"""

import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any, Final

import anyio
import httpcore
from anyio import to_thread
from httpcore import AnyIOBackend

from app.webhooks.addresses import AddressRules

CONNECT_SECONDS: Final = 5.0
"""For resolving, connecting and the TLS handshake; short, because a dead receiver occupies a slot of the queue meanwhile."""

MAX_CONNECTIONS: Final = 50
"""Connections of one pool, which serves one endpoint: as many as an endpoint may have requests under way."""

KEPT_SECONDS: Final = 3.0
"""How long an idle connection is kept for another delivery. Shorter than the timeout of common servers, so that this side closes it."""

_KEPT_CONNECTIONS: Final = 10

_ADDRESSES_TRIED: Final = 3
_RESOLVERS: Final = 32

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns every address of a name, as text, in the order in which to try them. Raises OSError."""


fresh_connections: Final[ContextVar[list[str] | None]] = ContextVar("fresh_connections", default=None)
"""Addresses connected to during the current request; empty when a pooled connection was reused. None outside a request."""


class AddressRefused(httpcore.ConnectError):
    """The receiver's name resolves to an address that this installation does not send to."""


class SystemResolver:
    """Resolver of the operating system, with a thread limit of its own, so that slow name servers cannot take all threads."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(_RESOLVERS)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Return every address of a name."""

        def resolve() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(entry[4][0]) for entry in found))

        return await to_thread.run_sync(resolve, abandon_on_cancel=True, limiter=self._limiter)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Network backend for httpcore that resolves a name, checks its addresses and connects in one step."""

    def __init__(
        self,
        rules: AddressRules,
        *,
        resolve: Resolver | None = None,
        inner: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """Store the rules. Tests may replace `resolve` and `inner`; the checks between them always run."""
        self._rules = rules
        self._resolve = resolve or SystemResolver()
        self._inner = inner or AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to an address of `host` within `timeout` seconds. Raises AddressRefused, ConnectError, ConnectTimeout."""
        seconds = CONNECT_SECONDS if timeout is None else timeout
        try:
            with anyio.fail_after(seconds):
                addresses = await self._addresses(host, port)
                return await self._first_that_answers(addresses, port, seconds, local_address, socket_options)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("no connection in time") from error

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: receivers are on the network."""
        raise AddressRefused("a receiver cannot be a local socket")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)

    async def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError("the receiver's name cannot be resolved") from error
        if not found:
            raise httpcore.ConnectError("the receiver's name has no address")
        # One forbidden address is enough: another connection could use it.
        for text in found:
            if not self._rules.permits(ip_address(text)):
                raise AddressRefused("the receiver's name resolves to an address that is not on the public internet")
        return list(found[:_ADDRESSES_TRIED])

    async def _first_that_answers(
        self,
        addresses: list[str],
        port: int,
        seconds: float,
        local_address: str | None,
        socket_options: Iterable[Any] | None,
    ) -> httpcore.AsyncNetworkStream:
        share = seconds / len(addresses)
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in addresses:
            try:
                stream = await self._inner.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                made = fresh_connections.get()
                if made is not None:
                    made.append(address)
                return stream
        raise failure or httpcore.ConnectError("the receiver's name has no address")


def stop_sniffio_searches() -> None:
    """Mark the package `sniffio` as absent for the whole process, if it is not installed. Call it when a process starts.

    httpcore tries to import it at each of its locks. Python searches all folders of `sys.path` again for a package that is not
    there, which took a fifth of the time of a delivery; `None` in `sys.modules` is the documented way to end the search.
    """
    if find_spec("sniffio") is None:
        sys.modules["sniffio"] = None  # type: ignore[assignment]  # typeshed leaves out the documented None


@asynccontextmanager
async def open_pool(
    rules: AddressRules,
    *,
    resolve: Resolver | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[httpcore.AsyncConnectionPool]:
    """Open a pool of connections as `make_pool` does, and close it at the end."""
    async with make_pool(GuardedBackend(rules, resolve=resolve), ssl_context or ssl.create_default_context()) as pool:
        yield pool


def make_pool(backend: GuardedBackend, ssl_context: ssl.SSLContext) -> httpcore.AsyncConnectionPool:
    """Return a pool of connections for the deliveries of one endpoint, without proxies, redirects, cookies or retries.

    httpcore instead of httpx, because it does not decompress answers, read the environment or keep cookies. A connection is
    kept for the next delivery. Its address was checked when it was made, even if the name resolves to another one since; the
    dispatcher therefore replaces each pool every minute.
    """
    return httpcore.AsyncConnectionPool(
        ssl_context=ssl_context,
        max_connections=MAX_CONNECTIONS,
        max_keepalive_connections=_KEPT_CONNECTIONS,
        keepalive_expiry=KEPT_SECONDS,
        http1=True,
        http2=False,
        retries=0,
        network_backend=backend,
    )
