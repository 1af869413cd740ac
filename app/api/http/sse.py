"""Server-sent events: their frames, and a streaming answer that keeps one piece in memory.

The form is that of the HTML standard, section 9.2, "Server-sent events".
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Final

import anyio
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from app.api.http.streaming import one_line
from app.observability.logs import get_logger

MEDIA_TYPE: Final = "text/event-stream"

RETRY_MILLISECONDS: Final = 3_000
"""How long a client waits before it connects again."""

HEARTBEAT_SECONDS: Final = 15.0
"""Time without an event after which a comment shows client and proxies that the stream works."""

STUCK_SECONDS: Final = 60.0
"""Time after which a client that does not read is disconnected; it can continue from its last event id."""

# A comment without the empty line that would end a block: some clients would report that as an event without data.
HEARTBEAT: Final = b": still here\n"

HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    # nginx and similar proxies would buffer the stream.
    "X-Accel-Buffering": "no",
}

log = get_logger(__name__)


def opening(event_id: str) -> bytes:
    """Return the first block: the time before a reconnection, and the id to continue from if no event comes before."""
    return b"retry: %d\nid: %s\n\n" % (RETRY_MILLISECONDS, event_id.encode("ascii"))


def moved(event_id: str) -> bytes:
    """Return a block without an event, which only moves the id that a client continues from after a reconnection."""
    return b"id: %s\n\n" % event_id.encode("ascii")


def frame(event_id: str, event_type: str, body: bytes) -> bytes:
    """Return the block of one event. The database writes JSON without line ends, so it is one line of data."""
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (event_id.encode("ascii"), event_type.encode("ascii"), one_line(body))


class EventStream(StreamingResponse):
    """A streaming answer that ends with its content, with the connection, or when the client reads nothing for too long."""

    media_type = MEDIA_TYPE

    def __init__(
        self, first: bytes, rest: AsyncGenerator[bytes, None], *, stuck_seconds: float = STUCK_SECONDS
    ) -> None:
        super().__init__(_joined(first, rest), headers=dict(HEADERS))
        self._rest = rest
        self._stuck_seconds = stuck_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream piece by piece; a piece is made when the connection has accepted the one before."""

        async def send_in_time(message: Message) -> None:
            with anyio.move_on_after(self._stuck_seconds) as limit:
                await send(message)
            if limit.cancelled_caught:
                log.info("event_stream_cut", reason="the client does not read")
                _abort(scope)
                raise ClientDisconnect

        try:
            await super().__call__(scope, receive, send_in_time)
        finally:
            with anyio.CancelScope(shield=True):
                await self._rest.aclose()


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _abort(scope: Scope) -> None:
    # An orderly close would first write the bytes that the client does not read, and keep them until it does.
    abort: Callable[[], None] | None = scope.get("ksefd", {}).get("abort")
    if abort is not None:
        abort()
