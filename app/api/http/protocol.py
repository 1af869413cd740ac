"""HTTP connections with bounds on what a client may send before its request is understood, and after it was answered.

uvicorn's fast parser takes a request head of any size and waits for it as long as it likes; anybody could fill the memory
or hold all connections open without a key. It also reads a refused body to its end, and takes what stands behind a body
(trailers, RFC 9110, section 6.5) for headers.
"""

from asyncio import Transport
from asyncio.events import TimerHandle
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES: Final = 64 << 10
"""Bytes of request line and headers at most, give or take one read from the socket; the same for what is no body behind."""

HEAD_SECONDS: Final = 30.0
"""A new connection says within this time what it wants."""

LINGER_SECONDS: Final = 5.0
LINGER_BYTES: Final = 32 << 20
"""How long, and for how many bytes, a client that is answered already may go on sending before the connection is cut.

Cutting at once would lose the answer: what arrives on a closed connection makes the other side forget what it received.
"""


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a limit on heads, on the time for the first, and on bodies that nobody will read."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._in_head = True
        self._first_head: TimerHandle | None = None
        self._unread_body = False
        self._lingering: TimerHandle | None = None
        self._lingered_bytes = 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own does
        """Start the time for the first request."""
        super().connection_made(transport)
        self._first_head = self.loop.call_later(HEAD_SECONDS, self._close_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        self._stop_timer()
        if self._lingering is not None:
            self._lingering.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the parser and count those of an unfinished head, or of what stands where a body should go on."""
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
        """Begin a head."""
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; what comes behind the body is none, and nobody may believe it."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End a head; what follows is a body, which has bounds of its own."""
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        if self.parser.get_http_version() == "1.0":
            # Such a client does not know what 100 means (RFC 9110, section 10.1.1).
            self.expect_100_continue = False
        super().on_headers_complete()
        if self.cycle is not None:
            _TellsEnd(self, self.cycle)

    def on_body(self, body: bytes) -> None:
        """Take bytes of a body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        self._head_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, or, if the body of this one did not arrive, end the connection gently."""
        if not self._unread_body or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self._unset_keepalive_if_required()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._lingering = self.loop.call_later(LINGER_SECONDS, self._close_silent)
        # What the client still sends is read and dropped.
        self.flow.resume_reading()

    @property
    def lingers(self) -> bool:
        """Tell whether the connection ends gently behind the answer that has begun."""
        return self._unread_body

    def begin_answer(self, cycle: RequestResponseCycle, headers: list[tuple[bytes, bytes]]) -> None:
        """Say in an answer that comes before the end of its request's body that the connection ends with it.

        The client may then stop sending; one that waited for 100 need not send at all.
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


class _TellsEnd:
    """Stands before the `send` of a request: adds what the protocol knows about the connection to its answer."""

    def __init__(self, protocol: BoundedHttpProtocol, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._send = cycle.send
        cycle.send = self.send  # type: ignore[method-assign]  # uvicorn has no place to hook into

    async def send(self, message: Any) -> None:
        """Send a message of an answer."""
        if message["type"] == "http.response.start" and not self._cycle.response_started:
            message = {**message, "headers": list(message.get("headers", []))}
            self._protocol.begin_answer(self._cycle, message["headers"])
            await self._send(message)
            if self._protocol.lingers:
                # Otherwise uvicorn would cut the connection behind the answer, and perhaps the answer with it.
                self._cycle.keep_alive = True
            return
        await self._send(message)
