"""A server that keeps the very bytes it received: no library tidies up the request line on this side."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class RawServer:
    url: str = ""
    reply: bytes = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    reply_before_body: bool = False
    requests: list[bytes] = field(default_factory=list)

    def head(self, number: int = -1) -> list[bytes]:
        return self.requests[number].partition(b"\r\n\r\n")[0].split(b"\r\n")

    def header(self, name: str) -> list[bytes]:
        start = name.lower().encode() + b":"
        return [line[len(start) :].strip() for line in self.head()[1:] if line.lower().startswith(start)]

    def body(self) -> bytes:
        return self.requests[-1].partition(b"\r\n\r\n")[2]


@asynccontextmanager
async def raw_server() -> AsyncIterator[RawServer]:
    server = RawServer()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            data = await reader.readuntil(b"\r\n\r\n")
            lengths = [line.split(b":")[1] for line in data.split(b"\r\n") if line.lower().startswith(b"content-le")]
            if lengths and not server.reply_before_body:
                data += await reader.readexactly(int(lengths[0]))
            server.requests.append(data)
            writer.write(server.reply)
            await writer.drain()
        writer.close()

    # asyncio's own server, since a fixture may be left in another task than the one that entered it.
    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with listener:
        yield server
