"""Answers that are sent while their content is read."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

from fastapi.responses import StreamingResponse

_LINE_ENDS_OF_UNICODE: Final = tuple((chr(point).encode(), b"\\u%04x" % point) for point in (0x85, 0x2028, 0x2029))


def one_line(body: bytes) -> bytes:
    """Return JSON that has no line ends so that every reader sees one line.

    Characters that only Unicode counts as line ends become JSON escapes: some clients end lines at them, and an invoice's
    number may contain one.
    """
    for character, escape in _LINE_ENDS_OF_UNICODE:
        body = body.replace(character, escape)
    return body


async def stream_answer(
    content: AsyncIterator[bytes], *, media_type: str, headers: Mapping[str, str]
) -> StreamingResponse:
    """Return an answer with a stream, after its first piece was read.

    A failure before the first piece is therefore answered with a problem; a later one can only break the connection.
    """
    first = await anext(content, b"")

    async def all_pieces() -> AsyncIterator[bytes]:
        yield first
        async for piece in content:
            yield piece

    return StreamingResponse(all_pieces(), media_type=media_type, headers=dict(headers))
