"""A TCP proxy before PostgreSQL that loses it: it swallows bytes with the sockets left open, drops answers, or refuses connections."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Any, TypeVar

from psycopg.conninfo import conninfo_to_dict

_Result = TypeVar("_Result")


class Mode(Enum):
    """What becomes of connections and bytes."""

    PASSES = "passes"
    SWALLOWS = "swallows"
    DROPS_ANSWERS = "drops answers"
    REFUSES = "refuses"


class LossyProxy:
    """Runs in a thread of its own. A connection that lost a byte stays dead when others pass again."""

    def __init__(self, database_url: str) -> None:
        target = conninfo_to_dict(database_url)
        self._host, self._port = str(target["host"]), int(target.get("port") or 5432)
        self._mode = Mode.PASSES
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._dead: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = self._run(self._listen(0))
        rest = {name: value for name, value in target.items() if name not in {"host", "port", "user", "dbname"}}
        query = "&".join(f"{name}={value}" for name, value in ({"connect_timeout": 2} | rest).items())
        self.url = f"postgresql://{target['user']}@127.0.0.1:{self.port}/{target['dbname']}?{query}"

    def become(self, mode: Mode) -> None:
        """Change what happens from now on."""
        self._run(self._become(mode))

    def close(self) -> None:
        """Close all connections and end the thread."""
        self._run(self._become(Mode.REFUSES))
        self._run(self._all_ended())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self, port: int) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    async def _become(self, mode: Mode) -> None:
        was, self._mode = self._mode, mode
        if mode is Mode.REFUSES and self._server is not None:
            self._server.close()
            self._server = None
            for writer in list(self._writers):
                writer.transport.abort()
        elif was is Mode.REFUSES:
            await self._listen(self.port)

    async def _all_ended(self) -> None:
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.01)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._host.startswith("/"):
            path = f"{self._host}/.s.PGSQL.{self._port}"
            to_server, from_us = await asyncio.open_unix_connection(path)
        else:
            to_server, from_us = await asyncio.open_connection(self._host, self._port)
        ends = {writer, from_us}
        self._writers |= ends
        try:
            await asyncio.gather(self._carry(reader, from_us, ends), self._carry(to_server, writer, ends, answers=True))
        finally:
            self._writers -= ends
            self._dead -= ends
            for end in ends:
                end.transport.abort()

    async def _carry(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        ends: set[asyncio.StreamWriter],
        *,
        answers: bool = False,
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                if self._mode is Mode.SWALLOWS or (self._mode is Mode.DROPS_ANSWERS and answers):
                    self._dead |= ends
                if not self._dead & ends or (self._mode is Mode.DROPS_ANSWERS and not answers):
                    sink.write(data)
                    await sink.drain()
        for end in ends:
            end.transport.abort()


@contextmanager
def lossy_proxy(database_url: str) -> Iterator[LossyProxy]:
    """Run a proxy before the server of a database."""
    proxy = LossyProxy(database_url)
    try:
        yield proxy
    finally:
        proxy.close()
