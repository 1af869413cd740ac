"""HTTP connections with bounds on what a client may send before its request is understood.

uvicorn's fast parser takes a request head of any size and waits for it as long as it likes; anybody could fill the memory
or hold all connections open without a key.
"""

from asyncio import Transport
from asyncio.events import TimerHandle
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 64 << 10
"""Bytes of request line and headers at most, give or take one read from the socket."""

HEAD_SECONDS: Final = 30.0
"""A new connection says within this time what it wants."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a limit on the size of a request head and on the time for the first."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._in_head = True
        self._first_head: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own does
        """Start the time for the first request."""
        super().connection_made(transport)
        self._first_head = self.loop.call_later(HEAD_SECONDS, self._close_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the parser and count those of an unfinished head."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request head is too large.")

    def on_message_begin(self) -> None:
        """Begin a head, and let whoever serves the request break the connection off: `scope["ksefd"]["abort"]`."""
        self._in_head = True
        super().on_message_begin()
        self.scope["ksefd"] = {"abort": self.transport.abort}  # type: ignore[typeddict-unknown-key]  # a key of our own

    def on_headers_complete(self) -> None:
        """End a head; what follows is a body, which has bounds of its own."""
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def _stop_timer(self) -> None:
        if self._first_head is not None:
            self._first_head.cancel()
            self._first_head = None

    def _close_silent(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
