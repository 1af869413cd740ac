"""Parts go up and receipts come down by links that are used byte for byte and never see a token."""

import base64
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from pydantic import SecretStr

from app.ksef.batch import PartUpload
from app.ksef.errors import (
    FrontLayerBlocked,
    KsefError,
    LinkRefused,
    Outcome,
    PartBodyWrong,
    PartNotStored,
    RateLimited,
    RequestRefused,
    ServerFailed,
    TransportFailed,
    Unreadable,
)
from app.ksef.storage import DownloadedUpo, StorageClient
from app.ksef.transport import RequestRecord, make_http_client
from tests.app.ksef.raw_server import RawServer, raw_server

HTML = b"<html><head><script src='/_Incapsula_Resource?SWJIYLWA=1'></script></head></html>"
ODD_TARGETS = [
    "/storage/01/ref/batch-parts/1?sv=2025-05-05&sig=a%2Bb%2F%3D&se=2026-11-22T10%3A00%3A00Z&sp=w",
    "/storage/01/ref/batch-parts/1?sig=a+b/c==&x=[1]{2}|3^4`5'6\"7<8>9~%zz%2f%2F&&=&empty=",
    "/st%6Frage//a/../b/./c?sig=%C5%BC#fragment",
    "/only-a-path",
]


async def chunks(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def upload_to(url: str, **headers: str) -> PartUpload:
    return PartUpload(1, "PUT", SecretStr(url), {"x-ms-blob-type": "BlockBlob", **headers})


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with raw_server() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with make_http_client() as client:
        yield client


@pytest.mark.parametrize("target", ODD_TARGETS)
async def test_a_link_goes_out_byte_for_byte(server: RawServer, http: httpx.AsyncClient, target: str) -> None:
    await StorageClient(http).upload_part(upload_to(server.url + target), chunks(b"x" * 2500), 2500)
    assert server.head()[0].decode() == f"PUT {target.partition('#')[0]} HTTP/1.1"


async def test_a_part_has_its_length_its_headers_and_nothing_that_tells_who_we_are(
    server: RawServer, http: httpx.AsyncClient
) -> None:
    data = bytes(range(256)) * 40
    records: list[RequestRecord] = []
    storage = StorageClient(http, on_request=records.append)
    await storage.upload_part(upload_to(server.url + "/p?sig=s", X_Odd="as given"), chunks(data), len(data))
    assert server.body() == data
    assert server.header("content-length") == [str(len(data)).encode()]
    assert server.header("x-ms-blob-type") == [b"BlockBlob"]
    assert server.header("x_odd") == [b"as given"]
    for absent in ("transfer-encoding", "authorization", "cookie", "content-type"):
        assert server.header(absent) == []
    assert [(r.group.value, r.method, r.status, r.path_template) for r in records] == [
        ("storage", "PUT", "201", "(storage)/batch-parts")
    ]


def reply(status: int, body: bytes = b"", content_type: str = "application/xml") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Set-Cookie: visid_incap=1\r\nConnection: close\r\n\r\n" + body


@pytest.mark.parametrize(
    ("status", "body", "kind", "outcome"),
    [
        (200, b"", PartNotStored, Outcome.UNKNOWN),
        (200, HTML, PartNotStored, Outcome.UNKNOWN),
        (201, HTML, PartNotStored, Outcome.UNKNOWN),
        (202, b"", PartNotStored, Outcome.UNKNOWN),
        (302, b"", PartNotStored, Outcome.UNKNOWN),
        (400, b"<Error/>", RequestRefused, Outcome.REFUSED),
        (401, b"<Error/>", LinkRefused, Outcome.REFUSED),
        (403, b"<Error><Code>AuthenticationFailed</Code></Error>", LinkRefused, Outcome.REFUSED),
        (403, HTML, FrontLayerBlocked, Outcome.BLOCKED),
        (403, b'{"title":"x","security":{"incidentId":"i"}}', FrontLayerBlocked, Outcome.BLOCKED),
        (404, b"", LinkRefused, Outcome.REFUSED),
        (409, b"", PartNotStored, Outcome.UNKNOWN),
        (429, b"", RateLimited, Outcome.TRY_AGAIN),
        (500, b"", ServerFailed, Outcome.UNKNOWN),
        (503, HTML, ServerFailed, Outcome.UNKNOWN),
    ],
)
async def test_only_201_stores_a_part(
    server: RawServer, http: httpx.AsyncClient, status: int, body: bytes, kind: type[KsefError], outcome: Outcome
) -> None:
    server.reply = reply(status, body)
    with pytest.raises(KsefError) as caught:
        await StorageClient(http).upload_part(upload_to(server.url + "/p?sig=secret"), chunks(b"abc"), 3)
    assert type(caught.value) is kind
    assert caught.value.outcome is outcome
    assert "secret" not in str(caught.value.as_dict())


async def test_an_answer_that_comes_before_the_body_was_sent_is_heard(
    server: RawServer, http: httpx.AsyncClient
) -> None:
    server.reply, server.reply_before_body = reply(403), True
    with pytest.raises((LinkRefused, TransportFailed)):
        await StorageClient(http).upload_part(upload_to(server.url + "/p"), chunks(bytes(50_000)), 50_000)


@pytest.mark.parametrize("declared", [2, 4, 100])
async def test_a_part_that_is_not_as_long_as_declared_is_our_own_fault(
    server: RawServer, http: httpx.AsyncClient, declared: int
) -> None:
    with pytest.raises(PartBodyWrong) as caught:
        await StorageClient(http).upload_part(upload_to(server.url + "/p"), chunks(b"abc", 2), declared)
    assert caught.value.outcome is Outcome.TRY_AGAIN


async def test_a_connection_that_breaks_leaves_the_part_unknown(server: RawServer, http: httpx.AsyncClient) -> None:
    server.reply = b""
    with pytest.raises(TransportFailed) as caught:
        await StorageClient(http).upload_part(upload_to(server.url + "/p"), chunks(b"abc"), 3)
    assert caught.value.outcome is Outcome.UNKNOWN


async def test_a_refused_connection_means_not_done(http: httpx.AsyncClient) -> None:
    async with raw_server() as gone:
        url = gone.url
    with pytest.raises(TransportFailed) as caught:
        await StorageClient(http).upload_part(upload_to(url + "/p"), chunks(b"abc"), 3)
    assert caught.value.outcome is Outcome.TRY_AGAIN


@pytest.mark.parametrize(
    "url", ["ftp://h/x", "https://user:pw@h/x", "https:///x", "nonsense", "http://h/a b", "http://h/\u017c", "http://h"]
)
async def test_a_link_that_cannot_be_sent_as_it_is_is_refused_without_quoting_it(
    http: httpx.AsyncClient, url: str
) -> None:
    with pytest.raises(LinkRefused) as caught:
        await StorageClient(http).upload_part(upload_to(url), chunks(b"abc"), 3)
    assert url not in str(caught.value)


async def test_a_link_to_another_host_is_used_but_told(server: RawServer, http: httpx.AsyncClient) -> None:
    told: list[str] = []
    storage = StorageClient(http, expected_hosts=frozenset({"ksef.example"}), on_unexpected_host=told.append)
    await storage.upload_part(upload_to(server.url + "/p"), chunks(b"abc"), 3)
    assert told == ["127.0.0.1"]


def test_the_end_of_a_link_is_read_and_its_secret_hidden() -> None:
    upload = upload_to("https://h/x?se=2026-11-22T10%3A00%3A00Z&sig=secret")
    assert upload.expires_at == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert "secret" not in repr(upload)
    assert upload_to("https://h/x").expires_at is None
    assert upload_to("https://h/x?se=soon").expires_at is None


UPO = b'<?xml version="1.0"?><Potwierdzenie>' + b"x" * 200_000 + b"</Potwierdzenie>"


async def download(
    server: RawServer, http: httpx.AsyncClient, target: str = "/upo?sig=a%2Bb"
) -> tuple[DownloadedUpo, bytes]:
    got = bytearray()

    async def sink(chunk: bytes) -> None:
        got.extend(chunk)

    done = await StorageClient(http).download_upo(SecretStr(server.url + target), sink)
    return done, bytes(got)


def upo_reply(body: bytes, named_hash: str | None, length: int | None = None) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {length or len(body)}\r\n"
    head += f"x-ms-meta-hash: {named_hash}\r\n" if named_hash else ""
    return head.encode() + b"Connection: close\r\n\r\n" + body


UPO_HASH = base64.b64encode(hashlib.sha256(UPO).digest()).decode()


@pytest.mark.parametrize(("named", "verified"), [(UPO_HASH, True), (None, False)])
async def test_a_receipt_arrives_whole_and_checked(
    server: RawServer, http: httpx.AsyncClient, named: str | None, verified: bool
) -> None:
    server.reply = upo_reply(UPO, named)
    done, got = await download(server, http)
    assert got == UPO
    assert done == DownloadedUpo(len(UPO), hashlib.sha256(UPO).digest(), verified)
    assert server.head()[0] == b"GET /upo?sig=a%2Bb HTTP/1.1"
    assert server.header("authorization") == []


async def test_a_receipt_with_another_hash_is_not_taken(server: RawServer, http: httpx.AsyncClient) -> None:
    server.reply = upo_reply(UPO[:-1], UPO_HASH)
    with pytest.raises(Unreadable, match="SHA-256"):
        await download(server, http)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (reply(200, HTML), Unreadable),
        (reply(200, b"  <!DOCTYPE html>", "text/html"), Unreadable),
        (reply(200, b""), Unreadable),
        (upo_reply(UPO[:500], UPO_HASH, len(UPO)), TransportFailed),
        (reply(403, b"<Error/>"), LinkRefused),
        (reply(403, HTML), FrontLayerBlocked),
        (reply(404), LinkRefused),
        (reply(502, HTML), ServerFailed),
        (reply(302), Unreadable),
        (reply(409), Unreadable),
    ],
)
async def test_anything_but_a_whole_receipt_is_an_error(
    server: RawServer, http: httpx.AsyncClient, answer: bytes, kind: type[KsefError]
) -> None:
    server.reply = answer
    with pytest.raises(KsefError) as caught:
        await download(server, http)
    assert type(caught.value) is kind


async def test_nothing_of_a_web_page_reaches_the_sink(server: RawServer, http: httpx.AsyncClient) -> None:
    server.reply = reply(200, HTML)
    got: list[bytes] = []

    async def sink(chunk: bytes) -> None:
        got.append(chunk)

    with pytest.raises(Unreadable):
        await StorageClient(http).download_upo(SecretStr(server.url + "/upo"), sink)
    assert got == []
