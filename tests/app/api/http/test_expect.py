"""Who asks first is told before sending (Expect: 100-continue); who is refused does not send, and still reads the answer."""

import gzip
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio.to_thread
import pytest

from app.api.http import protocol
from app.settings import Settings
from app.store.store import Store
from tests.app.api.conftest import Caller, eventually_no_blobs

LINE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Wire:
    """A connection that is written and read by hand."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def status(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer, an interim one as well."""
        number = int(self._file.readline().split()[1])
        headers: dict[str, str] = {}
        while (line := self._file.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return number, headers, self._file.read(int(headers.get("content-length", "0")))

    def at_end(self) -> bool:
        """Tell whether the other side has ended the connection, and said nothing more."""
        return self._file.read() == b""


@contextmanager
def wire(url: str) -> Iterator[Wire]:
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=10) as connection:
        yield Wire(connection)


def head(key: str, path: str = "/v1/uploads", version: str = "1.1", **headers: str) -> bytes:
    lines = {
        "Host": "x",
        "Content-Type": "application/zip",
        "Content-Length": "4",
        "Authorization": f"Bearer {key}",
        "Expect": "100-continue",
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    written = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"POST {path} HTTP/{version}\r\n{written}\r\n".encode()


async def test_a_client_that_waits_is_told_when_to_send(alpha: Caller, running_api: str) -> None:
    def talk() -> None:
        with wire(running_api) as connection:
            # Twice: the connection serves on.
            for body in (b"PK1.", b"PK2."):
                connection.send(head(alpha.key))
                assert connection.status()[0] == 100
                connection.send(body)
                status, headers, _ = connection.status()
                assert (status, headers.get("connection")) == (202, None)

    await anyio.to_thread.run_sync(talk)


REFUSED: list[tuple[dict[str, str], str, int]] = [
    ({"Authorization": "Bearer ksefd_" + "0" * 32 + "_x"}, "/v1/uploads", 401),
    ({"Content-Length": "99000000000000"}, "/v1/uploads", 413),
    ({"Content-Type": "application/pdf"}, "/v1/uploads", 415),
    ({"Content-Encoding": "br"}, "/v1/uploads", 415),
    ({"Content-Digest": "sha-256=:AAAA:"}, "/v1/uploads", 400),
    ({"Content-Type": "application/pdf"}, "/v1/invoices", 415),
    ({"Content-Type": "application/xml", "Content-Length": "3000001"}, "/v1/invoices", 413),
    ({"Content-Type": "application/xml", "Content-Length": "3000001"}, "/v1/validate", 413),
    ({}, "/v1/nothing", 404),
]


async def test_a_refused_client_gets_its_answer_without_having_sent(
    alpha: Caller, running_api: str, store: Store
) -> None:
    def talk() -> None:
        for headers, path, status in REFUSED:
            with wire(running_api) as connection:
                connection.send(head(alpha.key, path, **headers))
                got, answered, body = connection.status()
                assert (got, answered["connection"]) == (status, "close")
                assert b'"code"' in body
                assert connection.at_end()

    await anyio.to_thread.run_sync(talk)
    assert await store.database.fetch_all("SELECT id FROM uploads") == []
    await eventually_no_blobs(store, "uploads")


class TestFull:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"spool_limit_bytes": 1})

    async def test_a_client_that_is_put_off_does_not_send_either(self, alpha: Caller, running_api: str) -> None:
        def talk() -> None:
            with wire(running_api) as connection:
                connection.send(head(alpha.key))
                status, headers, _ = connection.status()
                assert status in {429, 503}
                assert int(headers["retry-after"]) > 0
                assert connection.at_end()

        await anyio.to_thread.run_sync(talk)


async def test_who_sends_all_the_same_reads_the_answer(alpha: Caller, running_api: str) -> None:
    """The connection is not cut under a client that is still sending: it would lose the answer."""

    def talk() -> None:
        with wire(running_api) as connection:
            size = protocol.LINGER_BYTES // 4
            connection.send(head("nobody", Expect="", Content_Length=str(size)))
            connection.send(bytes(size))
            status, headers, _ = connection.status()
            assert (status, headers["connection"]) == (401, "close")
            assert connection.at_end()

    await anyio.to_thread.run_sync(talk)


async def test_a_body_that_nobody_wants_is_not_read_for_ever(
    alpha: Caller, running_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "LINGER_BYTES", 1 << 20)

    def talk() -> None:
        with wire(running_api) as connection:
            connection.send(head("nobody", Expect="", Content_Length="99000000000000"))
            with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012 - some time, not at once
                for _ in range(10_000):
                    connection.send(bytes(1 << 20))

    await anyio.to_thread.run_sync(talk)


async def test_an_old_client_is_not_sent_an_answer_that_it_does_not_know(alpha: Caller, running_api: str) -> None:
    def talk() -> None:
        with wire(running_api) as connection:
            connection.send(head(alpha.key, version="1.0") + b"PK..")
            assert connection.status()[0] == 202
            assert connection.at_end()

    await anyio.to_thread.run_sync(talk)


async def test_what_stands_behind_a_body_is_no_header(alpha: Caller, running_api: str, store: Store) -> None:
    """A digest there would not have been verified, and a key there would come too late."""

    def talk() -> None:
        with wire(running_api) as connection:
            begin = head("nobody", Expect="", Content_Length="", Transfer_Encoding="chunked")
            trailer = f"Authorization: Bearer {alpha.key}\r\n".encode()
            connection.send(begin.replace(b"Authorization: Bearer nobody\r\n", b"") + b"4\r\nPK..\r\n0\r\n" + trailer)
            connection.send(b"\r\n")
            assert connection.status()[0] == 401
        with wire(running_api) as connection:
            begin = head(alpha.key, Expect="", Content_Length="", Transfer_Encoding="chunked", Trailer="Content-Digest")
            connection.send(begin + b"4\r\nPK..\r\n0\r\nContent-Digest: sha-256=:AAAA:\r\n\r\n")
            status, _, body = connection.status()
            assert status == 400
            assert b"Trailer" in body

    await anyio.to_thread.run_sync(talk)


@pytest.mark.parametrize("garbage", [b"0\r\nX: ", b"4;"])
async def test_what_stands_behind_a_body_or_a_chunk_size_is_bounded(
    alpha: Caller, running_api: str, garbage: bytes
) -> None:
    def talk() -> None:
        with wire(running_api) as connection:
            connection.send(head(alpha.key, Expect="", Content_Length="", Transfer_Encoding="chunked"))
            connection.send(b"4\r\nPK..\r\n" + garbage)
            with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012 - some time, not at once
                for _ in range(1_000):
                    connection.send(b"x" * 65_536)

    await anyio.to_thread.run_sync(talk)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["-H", "Content-Type: application/xml"], "202"),
        (["-H", "Content-Type: application/xml", "-H", "Content-Encoding: gzip"], "202"),
        (["-H", "Content-Type: application/zip", "-H", "Content-Encoding: gzip"], "415"),
        (["-H", "Content-Type: application/xml", "-H", "X-Key: none"], "401"),
    ],
)
async def test_curl_understands_every_answer(
    alpha: Caller, running_api: str, tmp_path: Path, options: list[str], status: str
) -> None:
    body = tmp_path / "body"
    body.write_bytes(gzip.compress(b"<a/>" * 1_000_000, 0))

    key = "none" if status == "401" else alpha.key

    def talk() -> None:
        done = subprocess.run(
            ["curl", "-sS", "-v", "--noproxy", "*", "-o", tmp_path / "answer", "-w", "%{http_code} %{size_upload}",
             "-H", "Expect: 100-continue", "-H", f"Authorization: Bearer {key}", *options,
             "--data-binary", f"@{body}", f"{running_api}/v1/uploads"],
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        code, sent = done.stdout.split()
        assert code == status
        assert ("100 Continue" in done.stderr) == (status == "202")
        assert (int(sent) > 0) == (status == "202")

    await anyio.to_thread.run_sync(talk)
