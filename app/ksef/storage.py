"""Client of KSeF's storage: uploads parts and downloads receipts by pre-signed links, without a token.

A link is used byte for byte: its signature covers its text, and httpx would normalise it. Only 201 proves that a part is
stored; any other status, also 200, may come from a firewall that did not pass the body on.
Source: ksef-docs, sesja-wsadowa.md, section on sending parts; KSeF API 2.9, PartUploadRequest, UpoPageResponse.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from app.ksef.answers import Answer, looks_like_html, read_error_body
from app.ksef.batch import PartUpload
from app.ksef.error_classification import DEFAULT_RETRY_AFTER_SECONDS, make_error, unreadable
from app.ksef.errors import (
    FrontLayerBlocked,
    KsefError,
    LinkRefused,
    PartBodyWrong,
    PartNotStored,
    RateLimited,
    RequestRefused,
    ServerFailed,
    Unreadable,
)
from app.ksef.transport import (
    MAX_ERROR_BYTES,
    BeforeCall,
    Call,
    LimitGroup,
    RequestRecord,
    exchange,
    lower_case,
    read_answer,
)

Sink = Callable[[bytes], Awaitable[None]]
"""Function that receives the bytes of a download as they arrive."""

SLOWEST_BYTES_PER_SECOND = 200_000
"""The slowest rate of an upload. A slower one is aborted, because the link would end before the part is sent."""
UPLOAD_BASE_SECONDS = 60.0
DOWNLOAD_SECONDS = 180.0
MAX_UPO_BYTES = 256_000_000
"""The largest receipt read, so that a broken answer cannot fill the disk. 10,000 invoices are about 7 MB."""

_UPLOAD = Call(LimitGroup.STORAGE, "PUT", "(storage)/batch-parts", frozenset({201}))
_DOWNLOAD = Call(LimitGroup.STORAGE, "GET", "(storage)/upo", frozenset({200}))
_VISIBLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class DownloadedUpo:
    """A completely downloaded receipt. `hash_verified` is false only when the storage named no hash to compare."""

    size: int
    sha256: bytes
    hash_verified: bool


class StorageClient:
    """Uploads parts and downloads receipts. Shared by all tenants; `http` must be a client of its own."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        on_request: Callable[[RequestRecord], None] | None = None,
        before_call: BeforeCall | None = None,
        expected_hosts: frozenset[str] | None = None,
        on_unexpected_host: Callable[[str], None] | None = None,
    ) -> None:
        """Create the client. `on_unexpected_host` gets hosts outside `expected_hosts`; their links are still used."""
        self._http = http
        self._on_request = on_request
        self._before_call = before_call
        self._expected_hosts = expected_hosts
        self._on_unexpected_host = on_unexpected_host

    def guarded(self, before_call: BeforeCall) -> "StorageClient":
        """Return a client with the same connections that calls a function before each request."""
        other = copy(self)
        other._before_call = before_call
        return other

    async def upload_part(self, upload: PartUpload, body: AsyncIterable[bytes], size: int) -> None:
        """Store one part; returns after a 201. `body` yields exactly `size` encrypted bytes.

        After no answer the part may be stored; sending the same bytes to the same link again is harmless while the link is
        valid. Raises PartNotStored or ServerFailed (send again), LinkRefused (expired or altered: compare
        `upload.expires_at`), FrontLayerBlocked (pause), PartBodyWrong (our copy has another size than declared).
        """
        headers = {name: value for name, value in upload.headers.items() if name.lower() != "content-length"}
        headers["Content-Length"] = str(size)
        call = Call(_UPLOAD.group, upload.method, _UPLOAD.path_template, _UPLOAD.expect)
        request = self._request(upload.method, upload.url, headers, _exactly(body, size))
        async with self._exchange(request, call, part_seconds(size)) as response:
            answer = await read_answer(call.operation, response, MAX_ERROR_BYTES)
            if answer.status not in call.expect or answer.is_html:
                raise classify_storage(answer, uploading=True)

    async def download_upo(self, url: SecretStr, sink: Sink) -> DownloadedUpo:
        """Write a receipt into `sink` and check it against the hash that the storage names. Counted against no limit.

        It may be repeated. Raises Unreadable for a web page, a wrong hash or a cut-off body: discard the sink's content,
        then try again or use the API. LinkRefused: poll the session's status for new links.
        """
        request = self._request("GET", url, {"Accept": "application/xml, */*;q=0.5"}, None)
        async with self._exchange(request, _DOWNLOAD, DOWNLOAD_SECONDS) as response:
            if response.status_code not in _DOWNLOAD.expect:
                answer = await read_answer(_DOWNLOAD.operation, response, MAX_ERROR_BYTES)
                raise classify_storage(answer, uploading=False)
            return await save_upo(_DOWNLOAD.operation, response, sink)

    def _request(
        self, method: str, url: SecretStr, headers: dict[str, str], body: AsyncIterable[bytes] | None
    ) -> httpx.Request:
        text = url.get_secret_value()
        split = urlsplit(text)
        if split.scheme not in {"http", "https"} or not split.hostname or "@" in split.netloc:
            raise _bad_link(method)
        if self._expected_hosts is not None and split.hostname not in self._expected_hosts:
            self._report_host(split.hostname)
        target = text[len(split.scheme) + 3 + len(split.netloc) :].partition("#")[0]
        if _VISIBLE.fullmatch(target) is None or not target.startswith("/"):
            raise _bad_link(method)
        # httpx takes only the host from the URL; the request line has `target`, which is not normalised.
        return self._http.build_request(
            method,
            f"{split.scheme}://{split.netloc}/",
            headers=headers,
            content=body,
            extensions={"target": target.encode("ascii")},
        )

    def _report_host(self, host: str) -> None:
        if self._on_unexpected_host is not None:
            self._on_unexpected_host(host)

    @asynccontextmanager
    async def _exchange(
        self, request: httpx.Request, call: Call, deadline_seconds: float
    ) -> AsyncIterator[httpx.Response]:
        async with exchange(
            self._http,
            request,
            call,
            deadline_seconds=deadline_seconds,
            before_call=self._before_call,
            on_request=self._on_request,
        ) as response:
            yield response


def part_seconds(size: int) -> float:
    """Return the time that sending a part of so many bytes may take."""
    return UPLOAD_BASE_SECONDS + size / SLOWEST_BYTES_PER_SECOND


def classify_storage(answer: Answer, *, uploading: bool) -> KsefError:
    """Classify an answer of the storage that is not a success. Total, like `app.ksef.error_classification.classify`."""
    what = "a web page" if answer.is_html else f"HTTP {answer.status}"
    kind = _storage_error_class(answer, uploading=uploading)
    retry_after = answer.retry_after_seconds
    return make_error(
        kind,
        f"{answer.operation} was answered with {what}",
        answer,
        body=read_error_body(answer.body),
        retry_after_seconds=(retry_after or DEFAULT_RETRY_AFTER_SECONDS) if kind is RateLimited else retry_after,
    )


def _storage_error_class(  # noqa: PLR0911 - a table of cases, read from the top
    answer: Answer, *, uploading: bool
) -> type[KsefError]:
    status = answer.status
    if status == 429:
        return RateLimited
    if status >= 500:
        return ServerFailed
    if status == 403 and (answer.is_html or read_error_body(answer.body).incident_id):
        return FrontLayerBlocked
    if answer.is_html or status < 400:
        return PartNotStored if uploading else Unreadable
    if status in {401, 403, 404, 410}:
        return LinkRefused
    if status in {408, 409, 412, 425}:
        return PartNotStored if uploading else Unreadable
    return RequestRefused


async def save_upo(operation: str, response: httpx.Response, sink: Sink) -> DownloadedUpo:
    """Write a response's body into `sink` and compare its SHA-256 with `x-ms-meta-hash`.

    A web page is not written to the sink. Raises Unreadable; the sink's content must then be discarded.
    """
    head = Answer(operation, response.status_code, lower_case(response.headers), b"")
    digest, size = hashlib.sha256(), 0
    async for chunk in response.aiter_bytes(65_536):
        if size == 0 and looks_like_html(head.media_type, chunk):
            raise unreadable(head, "it is a web page")
        size += len(chunk)
        if size > MAX_UPO_BYTES:
            raise unreadable(head, f"it is longer than {MAX_UPO_BYTES} bytes")
        digest.update(chunk)
        await sink(chunk)
    if size == 0:
        raise unreadable(head, "it is empty")
    named = head.headers.get("x-ms-meta-hash", "").strip()
    if named and not hmac.compare_digest(named.encode(), base64.b64encode(digest.digest())):
        raise unreadable(head, "its SHA-256 is not the one named in x-ms-meta-hash")
    return DownloadedUpo(size, digest.digest(), hash_verified=bool(named))


async def _exactly(body: AsyncIterable[bytes], size: int) -> AsyncIterator[bytes]:
    sent = 0
    async for chunk in body:
        sent += len(chunk)
        if sent > size:
            break
        yield chunk
    if sent != size:
        raise PartBodyWrong(
            f"a stored part does not have the {size} bytes that were declared", operation=_UPLOAD.operation
        )


def _bad_link(method: str) -> LinkRefused:
    return LinkRefused("KSeF gave a link that cannot be used", operation=f"{method} (storage)")
