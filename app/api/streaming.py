"""Answers that are sent while they are being read."""

from collections.abc import AsyncIterator, Mapping

from fastapi.responses import StreamingResponse


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
