"""HTTP connections with limits on request heads, on bodies that are not read, and on answers that are not read.

uvicorn's fast parser accepts a request head of any size and waits for it without a time limit, so a client without a key could fill
the memory or hold all connections open. It also reads a refused body to its end, takes the trailers behind a body (RFC 9110,
section 6.5) for headers, and keeps an answer for as long as the client does not read it.

uvicorn has no public interface for this, so the classes below depend on its internals. Of `HttpToolsProtocol` they override
`connection_made`, `connection_lost`, `data_received`, `on_message_begin`, `on_header`, `on_headers_complete`, `on_body`,
`on_message_complete`, `on_response_complete`, `pause_writing` and `resume_writing`; they call `send_400_response` and `_unset_keepalive_if_required`; they
read or set `loop`, `transport`, `parser`, `flow`, `cycle`, `server_state`, `expect_100_continue`, `app`, `url`, `scope`, `pipeline` and `client`.
Of `RequestResponseCycle` they replace `send` and read or set `more_body`, `response_started`, `response_complete`, `disconnected`,
`message_event`, `scope` and `keep_alive`.
`tests/app/api/http/test_protocol.py` fails when the installed uvicorn lacks one of them; the version is pinned to a minor in
`pyproject.toml`.
"""

from asyncio import Transport
from asyncio.events import TimerHandle
from typing import Any, Final

from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api.http import connections
from app.api.http.connections import ConnectionLimits, Place

MAX_HEAD_BYTES: Final = 64 << 10
"""Limit on the bytes of request line and headers, and on those of trailers; exceeded by at most one read from the socket."""

HEAD_SECONDS: Final = 30.0
"""Time within which a request head must be complete: the first from the connection's start, a later one from its first byte."""

MOST_PIPELINED: Final = 32
"""Requests of a connection that may wait for the answers before them; each uses some kilobytes."""

UNREAD_SECONDS: Final = 60.0
"""Time after which a connection is cut whose client has read nothing of an answer."""

HEALTH_PATHS: Final = frozenset({b"/livez", b"/readyz"})
"""What a connection of the reserve may request."""

LINGER_SECONDS: Final = 5.0
LINGER_BYTES: Final = 32 << 20
"""How long, and for how many bytes, a client that has its answer may go on sending before the connection is closed.

Closing at once would lose the answer: bytes that arrive on a closed socket cause a reset, and the client's system then discards
the answer that it has received but not read.
"""


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits on connections, on request heads, and on bodies and answers that are not read."""

    def __init__(self, *arguments: Any, limits: ConnectionLimits, refuse: ASGIApp, **named: Any) -> None:
        """Create the protocol of one connection. `refuse` answers the requests of a connection that has no ordinary place."""
        super().__init__(*arguments, **named)
        self._limits = limits
        self._refuse = refuse
        self._place = Place.ORDINARY
        self._place_timer: TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True
        self._in_message = False
        self._parsed = False
        self._head_timer: TimerHandle | None = None
        self._unread_body = False
        self._lingering: TimerHandle | None = None
        self._lingered_bytes = 0
        self._unread_answer: TimerHandle | None = None
        self._moves = 0
        self._unanswered: list[RequestResponseCycle] = []

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # uvicorn narrows the type likewise
        """Take a place, and start the time limit for the first request."""
        super().connection_made(transport)
        self._place = self._limits.take(self, self.client[0] if self.client is not None else None)
        if self._place is Place.ORDINARY:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_overdue)
        else:
            self._head_timer = self.loop.call_later(connections.RESERVED_SECONDS, self.drop)
            self._place_timer = self.loop.call_later(connections.RESERVED_SECONDS + LINGER_SECONDS, self.drop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place, cancel the timers, and end the requests."""
        self._limits.release(self)
        self._end_requests()
        for timer in (self._head_timer, self._place_timer, self._lingering, self._unread_answer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Pass bytes to the parser and count those of an unfinished head or of trailers."""
        if self._lingering is not None:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > LINGER_BYTES:
                self._close_silent()
            return
        self._head_bytes += len(data)
        self._parsed = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            self.send_400_response("The request head is too large.")
        elif self._head_timer is None and (self._in_head or not (self._parsed or self._in_message)):
            # A later head has begun, or bytes arrived that begin none.
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_overdue)

    @property
    def works_for_a_tenant(self) -> bool:
        """Whether a request with a valid API key is under way."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        scope: dict[str, Any] = dict(cycle.scope)
        return "tenant" in scope.get("ksefd", {})

    def drop(self) -> None:
        """Close the connection; bytes of an answer that the client does not read are lost."""
        if self.transport.get_write_buffer_size():
            self._abort()
        else:
            self._end_requests()
            self._close_silent()

    def on_message_begin(self) -> None:
        """Start counting a head."""
        self._in_head = self._in_message = self._parsed = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Accept a header of the head; ignore trailers, which the checks of headers have not seen."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End counting: a body follows, which has limits of its own."""
        self._in_head = False
        self._head_bytes = 0
        self._moves += 1
        if self.transport.is_closing():
            return
        if len(self.pipeline) >= MOST_PIPELINED:
            self.drop()
            return
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if self._place is not Place.ORDINARY and not self._asks_for_health():
            self.app = self._refuse
        if self.parser.get_http_version() == "1.0":
            # HTTP/1.0 has no interim answers (RFC 9110, section 10.1.1).
            self.expect_100_continue = False
        super().on_headers_complete()
        if self.cycle is not None:
            self._unanswered.append(self.cycle)
            self.scope["ksefd"] = {"abort": self._abort, "place": self._place}  # type: ignore[typeddict-unknown-key]
            if self._place is not Place.ORDINARY:
                self.cycle.keep_alive = False
            _AnswerStart(self, self.cycle)

    def on_body(self, body: bytes) -> None:
        """Accept bytes of a body, which do not count as a head."""
        self._head_bytes = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request; the next head is counted from 0."""
        self._head_bytes = 0
        self._in_message = False
        self._parsed = True
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with the next request; when the body of this one is incomplete, let the connection linger, then close it."""
        self._limits.rest(self)
        self._moves += 1
        self._unanswered = [cycle for cycle in self._unanswered if not cycle.response_complete]
        self._watch_answer()
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

    def pause_writing(self) -> None:
        """Stop the answer while the client does not read it, and cut the connection when that lasts."""
        super().pause_writing()
        self._watch_answer()

    def resume_writing(self) -> None:
        """Go on with the answer, since the client has read."""
        self._moves += 1
        super().resume_writing()

    def _watch_answer(self) -> None:
        if self._unread_answer is None and (unread := self.transport.get_write_buffer_size()):
            self._unread_answer = self.loop.call_later(UNREAD_SECONDS, self._answer_unread, unread, self._moves)

    def _answer_unread(self, before: int, moves: int) -> None:
        self._unread_answer = None
        if self._moves == moves and self.transport.get_write_buffer_size() >= before:
            self._abort()
        else:
            self._watch_answer()

    def _abort(self) -> None:
        self._end_requests()
        self.transport.abort()

    def _end_requests(self) -> None:
        # uvicorn ends the last request of a pipeline only; those before it would write to a closed connection.
        for cycle in self._unanswered:
            cycle.disconnected = True
            cycle.message_event.set()
        self._unanswered = []

    def _head_overdue(self) -> None:
        self._head_timer = None
        if self.flow.read_paused:
            # The rest of the head may have arrived; it is read when the request before it has its answer.
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_overdue)
        else:
            self.drop()

    def _asks_for_health(self) -> bool:
        return self.parser.get_method() in {b"GET", b"HEAD"} and self.url.partition(b"?")[0] in HEALTH_PATHS

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
