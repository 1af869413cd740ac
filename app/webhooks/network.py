"""Connections that go nowhere they should not.

A name is resolved once for a connection, every address that it has is checked, and the connection is made to an address
that was checked, not to the name: a name server that answers differently the second time is never asked a second time. TLS
still verifies the certificate against the name.
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

if find_spec("sniffio") is None:
    # httpcore tries to import this at each of its locks, and where it is not installed Python searches all folders for it each
    # time: a fifth of the time of a delivery. This is how Python is told to remember that there is none.
    sys.modules["sniffio"] = None  # type: ignore[assignment]  # the documented meaning of None here

CONNECT_SECONDS: Final = 5.0
"""For resolving, connecting and shaking hands; short, because a dead receiver holds a slot of the queue meanwhile."""

MAX_CONNECTIONS: Final = 50
"""Of one pool, which serves one endpoint; as many as an endpoint may have requests under way."""

KEPT_SECONDS: Final = 3.0
"""How long a connection waits for another delivery. Shorter than common servers wait, so that we are the ones to hang up."""

_KEPT_CONNECTIONS: Final = 10

_ADDRESSES_TRIED: Final = 3
_RESOLVERS: Final = 32

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives every address of a name, as text, in the order in which to try them. Raises OSError."""


fresh_connections: Final[ContextVar[list[str] | None]] = ContextVar("fresh_connections", default=None)
"""Where whoever sends a request can see whether a connection was made for it: the addresses that it was made to."""


class AddressRefused(httpcore.ConnectError):
    """The receiver's name leads to an address that this installation does not send to."""


class SystemResolver:
    """Asks the system. In threads of its own number, so that slow name servers cannot starve other work of threads."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(_RESOLVERS)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """Give every address of a name."""

        def look_up() -> list[str]:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(entry[4][0]) for entry in found))

        return await to_thread.run_sync(look_up, abandon_on_cancel=True, limiter=self._limiter)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """A network for httpcore that resolves, checks and connects in one step."""

    def __init__(
        self,
        rules: AddressRules,
        *,
        resolve: Resolver | None = None,
        inner: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """`resolve` and `inner` can be replaced by tests; the checks in between cannot."""
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
        """Refuse: a receiver is never a file of this machine."""
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
        # One bad address condemns the name: which of them a receiver means is not ours to guess.
        for text in found:
            if not self._rules.permits(ip_address(text)):
                raise AddressRefused("the receiver's name leads to an address that is not on the public internet")
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


@asynccontextmanager
async def open_pool(
    rules: AddressRules,
    *,
    resolve: Resolver | None = None,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncIterator[httpcore.AsyncConnectionPool]:
    """Open connections for the deliveries of one endpoint, as `make_pool` does, and close them at the end."""
    async with make_pool(GuardedBackend(rules, resolve=resolve), ssl_context or ssl.create_default_context()) as pool:
        yield pool


def make_pool(backend: GuardedBackend, ssl_context: ssl.SSLContext) -> httpcore.AsyncConnectionPool:
    """Make connections for the deliveries of one endpoint: guarded, without proxies, redirects, cookies or repeats.

    httpcore rather than httpx, because it does nothing unasked: no decompression of an answer, no environment, no cookies.
    A connection stays for the next delivery: it leads to an address that was checked when it was made, whatever the name
    says since, and whoever keeps a pool makes a new one every minute so that this does not last.
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
