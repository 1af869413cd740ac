"""Server-sent events: the frames, and an answer that a slow reader cannot make large.

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
"""After this silence a comment tells client and proxies that the stream lives."""

STUCK_SECONDS: Final = 60.0
"""A reader that has not taken what was written for it in this time is cut off; it goes on from its last event id."""

# A comment alone, without the empty line that would end a block: some clients make an event without data of that.
HEARTBEAT: Final = b": still here\n"

HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    # nginx and its kin would collect the stream before they pass it on.
    "X-Accel-Buffering": "no",
}

log = get_logger(__name__)


def opening(place: str) -> bytes:
    """Give the first block: how soon to come back, and from where if nothing has happened by then."""
    return b"retry: %d\nid: %s\n\n" % (RETRY_MILLISECONDS, place.encode("ascii"))


def moved(place: str) -> bytes:
    """Give a block that is no event: it only moves the place from which a client that comes back goes on."""
    return b"id: %s\n\n" % place.encode("ascii")


def frame(place: str, event_type: str, body: bytes) -> bytes:
    """Give the block of one event. JSON as the database writes it has no line ends, so it is one line of data."""
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (place.encode("ascii"), event_type.encode("ascii"), one_line(body))


class EventStream(StreamingResponse):
    """An endless answer. It ends with its content, with its reader, or when the reader takes nothing for too long."""

    media_type = MEDIA_TYPE

    def __init__(
        self, first: bytes, rest: AsyncGenerator[bytes, None], *, stuck_seconds: float = STUCK_SECONDS
    ) -> None:
        super().__init__(_joined(first, rest), headers=dict(HEADERS))
        self._rest = rest
        self._stuck_seconds = stuck_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. Memory stays at one piece: the next is made when the connection has taken the one before."""

        async def patient(message: Message) -> None:
            with anyio.move_on_after(self._stuck_seconds) as patience:
                await send(message)
            if patience.cancelled_caught:
                log.info("event_stream_cut", reason="the reader does not read")
                _abort(scope)
                raise ClientDisconnect

        try:
            await super().__call__(scope, receive, patient)
        finally:
            with anyio.CancelScope(shield=True):
                await self._rest.aclose()


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _abort(scope: Scope) -> None:
    # Closing in order would first write what the reader does not take, and keep it for ever.
    abort: Callable[[], None] | None = scope.get("ksefd", {}).get("abort")
    if abort is not None:
        abort()
