"""HTTP connections with limits on request heads, on the time until the first one, and on bodies that are not read.

uvicorn's fast parser accepts a request head of any size and waits for it without a time limit, so a client without a key could fill
the memory or hold all connections open. It also reads a refused body to its end, and takes the trailers behind a body (RFC 9110,
section 6.5) for headers.

uvicorn has no public interface for this, so the classes below depend on its internals. Of `HttpToolsProtocol` they override
`connection_made`, `connection_lost`, `data_received`, `on_message_begin`, `on_header`, `on_headers_complete`, `on_body`,
`on_message_complete` and `on_response_complete`; they call `send_400_response` and `_unset_keepalive_if_required`; they read or set
`loop`, `transport`, `parser`, `flow`, `cycle`, `server_state` and `expect_100_continue`. Of `RequestResponseCycle` they replace `send`
and read or set `more_body`, `response_started` and `keep_alive`. `tests/app/api/http/test_protocol.py` fails when the installed
uvicorn lacks one of them; the version is pinned to a minor in `pyproject.toml`.
"""

from asyncio import Transport
from asyncio.events import TimerHandle
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES: Final = 64 << 10
"""Limit on the bytes of request line and headers, and on those of trailers; exceeded by at most one read from the socket."""

HEAD_SECONDS: Final = 30.0
"""Time within which a new connection must send the head of its first request."""

LINGER_SECONDS: Final = 5.0
LINGER_BYTES: Final = 32 << 20
"""How long, and for how many bytes, a client that has its answer may go on sending before the connection is closed.

Closing at once would lose the answer: bytes that arrive on a closed socket cause a reset, and the client's system then discards
the answer that it has received but not read.
"""


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on request heads, on the time until the first one, and on bodies that are not read."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._in_head = True
        self._first_head: TimerHandle | None = None
        self._unread_body = False
        self._lingering: TimerHandle | None = None
        self._lingered_bytes = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # uvicorn narrows the type likewise
        """Start the time limit for the first request."""
        super().connection_made(transport)
        self._first_head = self.loop.call_later(HEAD_SECONDS, self._close_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timers."""
        self._stop_timer()
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the parser and count those of an unfinished head or of trailers."""
        if self._lingering is not None:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > LINGER_BYTES:
                self._close_silent()
            return
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request head is too large.")

    def on_message_begin(self) -> None:
        """Start counting a head."""
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Accept a header of the head; ignore trailers, which the checks of headers have not seen."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End counting: a body follows, which has limits of its own."""
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        if self.parser.get_http_version() == "1.0":
            # HTTP/1.0 has no interim answers (RFC 9110, section 10.1.1).
            self.expect_100_continue = False
        super().on_headers_complete()
        if self.cycle is not None:
            _AnswerStart(self, self.cycle)

    def on_body(self, body: bytes) -> None:
        """Accept bytes of a body, which do not count as a head."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; the next head is counted from 0."""
        self._head_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with the next request; when the body of this one is incomplete, let the connection linger, then close it."""
        if not self._unread_body or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self._unset_keepalive_if_required()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._lingering = self.loop.call_later(LINGER_SECONDS, self._close_silent)
        # The rest of the body is read and dropped.
        self.flow.resume_reading()

    @property
    def lingers(self) -> bool:
        """Whether the connection is closed, after lingering, behind the answer that has begun."""
        return self._unread_body

    def begin_answer(self, cycle: RequestResponseCycle, headers: list[tuple[bytes, bytes]]) -> None:
        """Add `Connection: close` to an answer that begins before its request's body has ended.

        The client may then stop sending; one that waited for 100 need not send the body at all.
        """
        if cycle.more_body:
            headers.append((b"connection", b"close"))
            self._unread_body = True

    def _stop_timer(self) -> None:
        if self._first_head is not None:
            self._first_head.cancel()
            self._first_head = None

    def _close_silent(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


class _AnswerStart:
    """Wrapper of a cycle's `send` that passes the start of the answer through `BoundedHttpProtocol.begin_answer`."""

    def __init__(self, protocol: BoundedHttpProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._send = cycle.send
        cycle.send = self.send  # type: ignore[method-assign]  # uvicorn has no hook for this

    async def send(self, message: Any) -> None:
        """Send a message of an answer."""
        if message["type"] == "http.response.start" and not self._cycle.response_started:
            message = {**message, "headers": list(message.get("headers", []))}
            self._protocol.begin_answer(self._cycle, message["headers"])
            await self._send(message)
            if self._protocol.lingers:
                # Without this uvicorn would close the connection behind the answer at once, and the answer could be lost.
                self._cycle.keep_alive = True
            return
        await self._send(message)
