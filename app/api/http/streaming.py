"""Answers that are sent while they are being read."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

from fastapi.responses import StreamingResponse

_LINE_ENDS_OF_UNICODE: Final = tuple((chr(point).encode(), b"\\u%04x" % point) for point in (0x85, 0x2028, 0x2029))


def one_line(body: bytes) -> bytes:
    """Return JSON without line ends as something that every reader takes for one line.

    Characters that only Unicode counts as line ends are written as JSON escapes: some clients end lines at them, and
    an invoice's number may hold one.
    """
    for character, escape in _LINE_ENDS_OF_UNICODE:
        body = body.replace(character, escape)
    return body


async def stream_answer(
    content: AsyncIterator[bytes], *, media_type: str, headers: Mapping[str, str]
) -> StreamingResponse:
    """Answer with a stream whose first piece is there before the status is sent.

    So what is missing or away from the start is a problem document; what fails later can only break the connection.
    """
    first = await anext(content, b"")

    async def all_pieces() -> AsyncIterator[bytes]:
        yield first
        async for piece in content:
            yield piece

    return StreamingResponse(all_pieces(), media_type=media_type, headers=dict(headers))
