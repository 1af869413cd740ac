"""Receivers for `benchmarks.webhook_storm`, in a process of their own: good ones and three kinds of bad ones.

    /good/<n>    answers 200 at once          /fail/<n>    answers 500
    /hang/<n>    never answers                another port: answers 200 a number of times, then closes its server

One JSON line on standard output has the ports; each line on standard input is answered by one with the counts so far.
"""

import asyncio
import json
import sys
import time
from collections import Counter, defaultdict
from typing import Final

_OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_BAD: Final = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 3\r\n\r\nbad"


class Ledger:
    """Counts of the requests received, by path."""

    def __init__(self) -> None:
        self.seen: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.last_at: dict[str, float] = {}

    def add(self, path: str, event_id: str) -> None:
        """Count one request. Only the first request of an event changes the time of the last arrival."""
        if event_id not in self.seen[path]:
            self.last_at[path] = time.time()
        self.seen[path][event_id] += 1

    def report(self) -> dict[str, dict[str, float]]:
        """Return, by path, the events, the requests, and the time of the last new event."""
        return {
            path: {"events": len(ids), "requests": sum(ids.values()), "last_at": self.last_at[path]}
            for path, ids in self.seen.items()
        }


class Connection(asyncio.Protocol):
    """One connection; it reads requests one after the other, with bodies of a known length."""

    def __init__(self, ledger: Ledger, enough: "Enough | None" = None) -> None:
        self._ledger = ledger
        self._enough = enough
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport for the answers."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP provides one
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            lines = bytes(self._buffer[:end]).split(b"\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
            length = end + 4 + int(headers.get(b"content-length", b"0"))
            if len(self._buffer) < length:
                return
            del self._buffer[:length]
            self._answer(lines[0].split(b" ")[1].decode(), headers[b"webhook-id"].decode())

    def _answer(self, path: str, event_id: str) -> None:
        assert self._transport is not None  # noqa: S101 - data comes on a connection
        if self._enough is not None and not self._enough.takes_more():
            self._transport.abort()
            return
        self._ledger.add(path, event_id)
        if path.startswith("/hang/"):
            return
        self._transport.write(_BAD if path.startswith("/fail/") else _OK)


class Enough:
    """Counter that closes a server after a number of requests."""

    def __init__(self, requests: int) -> None:
        self._left = requests
        self.server: asyncio.Server | None = None

    def takes_more(self) -> bool:
        """Count one request; after the last one close the server and return False."""
        self._left -= 1
        if self._left < 0 and self.server is not None:
            self.server.close()
        return self._left >= 0


async def _serve(vanishing: int, after: int) -> None:
    loop, ledger = asyncio.get_running_loop(), Ledger()
    main = await loop.create_server(lambda: Connection(ledger), "127.0.0.1", 0, backlog=1_024)
    ports = [main.sockets[0].getsockname()[1]]
    for _ in range(vanishing):
        enough = Enough(after)
        enough.server = await loop.create_server(lambda e=enough: Connection(ledger, e), "127.0.0.1", 0)  # type: ignore[misc]  # a default in a lambda
        ports.append(enough.server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(ledger.report()), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
