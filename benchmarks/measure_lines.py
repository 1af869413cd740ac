"""HTTP/1.1 client with a few kept connections, for load that must use little CPU on the measured machine.

httpx uses one to four milliseconds of CPU for a request when dozens are open, as much as the service itself; at 200 requests a
second on two shared cores the figure would be that of httpx.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

_ANSWER_SECONDS: Final = 60.0

_Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Lines:
    """Connections to one service; a request uses a free one, or waits for it.

    Each is opened at its first use, because the service closes a connection that is idle for half a minute.
    """

    def __init__(self, url: str, count: int) -> None:
        self._address = urlsplit(url)
        self._free: asyncio.LifoQueue[_Line | None] = asyncio.LifoQueue()
        for _ in range(count):
            self._free.put_nowait(None)

    async def ask(self, method: str, path: str, *, headers: str = "", body: bytes = b"") -> int:
        """Send one request and return the status of its answer after its last byte has arrived."""
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._address.netloc}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        )
        line = await self._free.get()
        try:
            line = line or await asyncio.open_connection(self._address.hostname, self._address.port)
            reader, writer = line
            writer.write(head.encode("ascii") + body)
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(_length(answer))
        finally:
            self._free.put_nowait(line)
        return int(answer[9:12])

    def close(self) -> None:
        """Close all connections; no request may be open."""
        while not self._free.empty():
            if (line := self._free.get_nowait()) is not None:
                line[1].close()


@asynccontextmanager
async def open_lines(url: str, count: int) -> AsyncIterator[Lines]:
    """Provide up to `count` connections, and close them in the end."""
    lines = Lines(url, count)
    try:
        yield lines
    finally:
        lines.close()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError("an answer without Content-Length")
