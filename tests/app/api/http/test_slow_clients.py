"""Two thousand slow clients without a key do not keep anybody else from the service."""

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread
import httpx
import pytest

from app.api.http import connections, middleware, protocol
from app.process.open_files import raise_file_limit
from app.settings import Settings
from tests.app.api.conftest import Caller
from tests.support.database import fresh_settings

SLOW = 2_000
HEAD = b"GET /livez HTTP/1.1\r\nHost: slow.example\r\nX-Padding: "


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> float:
    """Give heads a second."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(connections, "RESERVED_SECONDS", 0.5)
    return 1.0


class SlowClients:
    """Connections with one finished request each, which then send a second head a byte at a time."""

    def __init__(self, url: str, hosts: list[str]) -> None:
        self._target = ("127.0.0.1", int(url.rpartition(":")[2]))
        self._hosts = hosts
        self.open: set[socket.socket] = set()
        self._unanswered: set[socket.socket] = set()
        self._sent: dict[socket.socket, int] = {}

    def start(self, number: int) -> None:
        """Open connections, each with one finished request."""
        for place in range(number):
            host = self._hosts[place % len(self._hosts)]
            line = socket.create_connection(self._target, timeout=10, source_address=(host, 0))
            line.setblocking(False)
            self.open.add(line)
            self._sent[line] = -1_000_000 if place % 3 == 0 else -1
            self._unanswered.add(line)
            self._send(line, HEAD + b"\r\n\r\n")
            while len(self._unanswered) > 50:
                self._read_all(0.2)
        while self._unanswered:
            self._read_all(0.2)

    def drip(self) -> None:
        """Send one more byte on each connection, and read what came."""
        self._read_all(0)
        for line in list(self.open):
            self._sent[line] += 1
            # One in three sends the empty lines that a server passes over before a head.
            filler = (
                b"\r\n" if self._sent[line] < 0 else HEAD.ljust(4_000, b"x")[self._sent[line] : self._sent[line] + 1]
            )
            self._send(line, filler)

    def _read_all(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            for line in self._unanswered or self.open:
                selector.register(line, selectors.EVENT_READ)
            for key, _ in selector.select(seconds):
                self._read(key.fileobj)

    def _read(self, line: object) -> None:
        assert isinstance(line, socket.socket)
        self._unanswered.discard(line)
        try:
            data = line.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._close(line)

    def _send(self, line: socket.socket, data: bytes) -> None:
        try:
            line.send(data)
        except (ConnectionError, BlockingIOError):
            self._close(line)

    def _close(self, line: socket.socket) -> None:
        self.open.discard(line)
        self._unanswered.discard(line)
        line.close()


@contextmanager
def slow_clients(url: str, hosts: list[str]) -> Iterator[SlowClients]:
    clients = SlowClients(url, hosts)
    try:
        yield clients
    finally:
        for line in clients.open:
            line.close()


def answer_seconds(url: str, path: str, host: str) -> float:
    """Return how long a new client at an address waits for a health request's answer, which must be 200."""
    began = time.perf_counter()
    with httpx.Client(transport=httpx.HTTPTransport(local_address=host), trust_env=False, timeout=5) as client:
        answer = client.get(f"{url}{path}")
    assert answer.status_code == 200, answer.text
    return time.perf_counter() - began


def hold_off(url: str, hosts: list[str], short: float) -> float:
    """Run the slow clients until all are held off; return how long nine of ten health requests waited at most meanwhile."""
    raise_file_limit()
    waits = []
    with slow_clients(url, hosts) as slow:
        slow.start(SLOW)
        began = time.perf_counter()
        while slow.open and time.perf_counter() - began < 20 * short:
            slow.drip()
            waits += [answer_seconds(url, path, hosts[0]) for path in ("/livez", "/readyz")]
        assert not slow.open, f"{len(slow.open)} slow clients are still connected"
    # All clients, the service and the probes share one interpreter here, so the slowest tenth is not judged.
    return sorted(waits)[len(waits) * 9 // 10]


@pytest.mark.parametrize(
    "hosts", [["127.0.0.2"], ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"]], ids=["one", "four"]
)
async def test_2000_slow_clients_are_held_off_and_health_and_keys_are_answered_meanwhile(
    alpha: Caller, running_api: str, short: float, hosts: list[str]
) -> None:
    statuses: list[int] = []

    async def use() -> None:
        while True:
            # A new connection each time, as a client that starts has none.
            async with httpx.AsyncClient(base_url=running_api, headers=alpha.http.headers, trust_env=False) as client:
                statuses.append((await client.get("/v1/uploads")).status_code)
            await anyio.sleep(0.05)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use)
        longest = await anyio.to_thread.run_sync(hold_off, running_api, hosts, short)
        tasks.cancel_scope.cancel()
    assert set(statuses) == {200}
    assert longest < 1


class TestWithFewPlaces:
    """The limits of one address, seen from outside."""

    @pytest.fixture
    def settings(self, tmp_path: Path, database: str) -> Settings:
        return fresh_settings(tmp_path, database, connections_per_address=3)

    async def test_an_address_at_its_limit_is_answered_429_and_its_health_requests_200(self, running_api: str) -> None:
        def talk() -> None:
            port = int(running_api.rpartition(":")[2])
            lines = [socket.create_connection(("127.0.0.1", port), timeout=5) for _ in range(3)]
            with httpx.Client(base_url=running_api, trust_env=False) as client:
                refused = client.get("/v1/me")
                assert (refused.status_code, refused.json()["code"]) == (429, "connection-limit")
                assert int(refused.headers["retry-after"]) > 0
                assert refused.headers["connection"] == "close"
                assert client.post("/livez").status_code == 429
                for path in ("/livez", "/readyz", "/livez?probe=1"):
                    assert client.get(path).status_code == 200
            lines[0].close()
            deadline = time.monotonic() + 5
            while httpx.get(f"{running_api}/v1/me", trust_env=False).status_code != 401:
                assert time.monotonic() < deadline
            for line in lines:
                line.close()

        await anyio.to_thread.run_sync(talk)


async def test_a_body_that_drips_and_an_answer_that_is_not_read_end_without_a_key(
    running_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(middleware, "SMALL_BODY_SECONDS", 0.3)
    monkeypatch.setattr(protocol, "UNREAD_SECONDS", 0.3)
    port = int(running_api.rpartition(":")[2])

    def drip() -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
            line.sendall(
                b"POST /v1/webhooks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
            )
            return line.recv(4096)

    def ignore() -> bool:
        with socket.socket() as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            line.settimeout(5)
            line.connect(("127.0.0.1", port))
            line.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                try:
                    line.send(b"\r\n")
                except ConnectionError:
                    return True
                time.sleep(0.02)
            return False

    answer = await anyio.to_thread.run_sync(drip)
    assert b" 408 " in answer.partition(b"\r\n")[0]
    assert b"body-too-slow" in answer
    assert await anyio.to_thread.run_sync(ignore)


async def test_a_connection_that_sends_thousands_of_requests_ahead_is_closed_and_few_are_answered_in_order(
    running_api: str,
) -> None:
    port = int(running_api.rpartition(":")[2])

    def send(number: int) -> int:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as line:
            line.sendall(
                b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * number + b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n"
            )
            answer = b""
            try:
                while piece := line.recv(65536):
                    answer += piece
            except ConnectionError:
                pass
        return answer.count(b"HTTP/1.1 200")

    assert await anyio.to_thread.run_sync(send, 30) == 31
    assert await anyio.to_thread.run_sync(send, 4_000) <= protocol.MOST_PIPELINED + 1
