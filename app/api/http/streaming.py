"""Answers that are sent while their content is read."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Final

import anyio
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

_LINE_ENDS_OF_UNICODE: Final = tuple((chr(point).encode(), b"\\u%04x" % point) for point in (0x85, 0x2028, 0x2029))


def one_line(body: bytes) -> bytes:
    """Return JSON that has no line ends so that every reader sees one line.

    Characters that only Unicode counts as line ends become JSON escapes: some clients end lines at them, and an invoice's
    number may contain one.
    """
    for character, escape in _LINE_ENDS_OF_UNICODE:
        body = body.replace(character, escape)
    return body


class _Streamed(StreamingResponse):
    """A streaming answer that closes its content when it ends, also when the client disconnects or asked for the head only."""

    def __init__(
        self, first: bytes, rest: AsyncIterator[bytes], *, media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(_joined(first, rest), media_type=media_type, headers=dict(headers))
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream piece by piece."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            if isinstance(self._rest, AsyncGenerator):
                with anyio.CancelScope(shield=True):
                    await self._rest.aclose()


async def stream_answer(
    content: AsyncIterator[bytes], *, media_type: str, headers: Mapping[str, str]
) -> StreamingResponse:
    """Return an answer with a stream, after its first piece was read.

    A failure before the first piece is therefore answered with a problem; a later one can only break the connection.
    """
    return _Streamed(await anext(content, b""), content, media_type=media_type, headers=headers)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
