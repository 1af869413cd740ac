"""Transport of all requests to the KSeF API: limit group, deadline, headers, bounded body, classification of answers.

Every call belongs to a named group of KSeF's limits, so that a caller can reserve quota for it; `on_request` gets a record of
each call that was sent, for metrics. Calls are not repeated, redirected or cached here.
Source: KSeF API 2.9, x-rate-limits of each operation; ksef-docs, limity-api.md.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from copy import copy
from dataclasses import dataclass
from enum import StrEnum
from http.cookiejar import CookieJar, DefaultCookiePolicy
from time import perf_counter
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import anyio
import httpx

from app.ksef.answers import Answer, SystemWarning
from app.ksef.error_classification import classify, classify_transport, unreadable
from app.ksef.errors import TransportFailed

DEADLINE_SECONDS = 45.0
"""The deadline of one call. KSeF has been slow for minutes at a time; no longer wait has ever been of use."""
CONNECT_SECONDS = 10.0
MAX_JSON_BYTES = 16_000_000
"""The largest JSON body read. A page of 1,000 invoices with long validator messages is far smaller."""
MAX_ERROR_BYTES = 256_000
_CHUNK = 65_536


class LimitGroup(StrEnum):
    """The groups in which KSeF counts requests, named as in GET /rate-limits; STORAGE is not counted."""

    BATCH_SESSION = "batchSession"
    BATCH_SESSION_CLOSE = "batchSessionClose"
    INVOICE_STATUS = "invoiceStatus"
    SESSION_LIST = "sessionList"
    SESSION_INVOICE_LIST = "sessionInvoiceList"
    SESSION_MISC = "sessionMisc"
    INVOICE_METADATA = "invoiceMetadata"
    INVOICE_DOWNLOAD = "invoiceDownload"
    OTHER = "other"
    ANONYMOUS = "anonymous"
    STORAGE = "storage"


class Gate(Protocol):
    """Guard that every request passes right before it is sent, such as the request quota."""

    def passing(self, group: LimitGroup) -> AbstractAsyncContextManager[None]:
        """Admit one request of this group, which is sent inside the block; the block also gets the request's error.

        Raises QuotaExhausted when the request must wait; it is then not sent.
        """


BeforeCall = Callable[[float], Awaitable[None]]
"""Function that is called right before a request is sent, with the seconds that it may take. When it raises, nothing is sent."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """Record of one attempted request, for metrics. `status` is "none" when no answer came."""

    group: LimitGroup
    method: str
    path_template: str
    status: str
    seconds: float
    attempt: int = 1
    """2 for the one repetition after a 401."""


@dataclass(frozen=True, slots=True)
class Call:
    """One operation of the API: method, path, limit group, and the statuses of its success."""

    group: LimitGroup
    method: str
    path_template: str
    expect: frozenset[int]

    @property
    def operation(self) -> str:
        """Method and path template, the operation's name in messages and metrics."""
        return f"{self.method} {self.path_template}"


def make_http_client(*, max_connections: int = 64, verify: Any = True) -> httpx.AsyncClient:
    """Create an HTTP client for KSeF or for its storage (one each): HTTP/1.1, pooled, no redirects, no cookies.

    It uses the proxy variables of the environment, since enterprises need them. Cookies of the firewall are not kept: they
    would link tenants to each other and are not needed. `verify` is as for httpx (an SSL context).
    """
    _keep_links_out_of_logs()
    return httpx.AsyncClient(
        http2=False,
        follow_redirects=False,
        trust_env=True,
        verify=verify,
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        limits=httpx.Limits(
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            # This is shorter than the idle time of common load balancers, so that a request is rarely written to a closed
            # connection: such a request has an unknown outcome and costs a status call.
            keepalive_expiry=20.0,
        ),
        timeout=httpx.Timeout(DEADLINE_SECONDS, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
        headers={"User-Agent": "ksef-dispatch"},
    )


def _keep_links_out_of_logs() -> None:
    """Raise the log level of httpx and httpcore, which log whole URLs below WARNING; a pre-signed URL is a credential."""
    for name in ("httpx", "httpcore"):
        logger = logging.getLogger(name)
        logger.setLevel(max(logging.WARNING, logger.level))


class KsefTransport:
    """Sender of calls to one KSeF environment. It has no token; all tenants share its connections."""

    def __init__(
        self,
        base_url: str,
        http: httpx.AsyncClient,
        *,
        gate: Gate | None = None,
        watch: Gate | None = None,
        before_call: BeforeCall | None = None,
        on_request: Callable[[RequestRecord], None] | None = None,
        on_warning: Callable[[str, SystemWarning], None] | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        """Create the sender. `base_url` ends in `/v2`. `on_warning` gets an operation and each `X-System-Warning`.

        Without a `gate` requests are not counted. Requests pass `watch` after the gate, so it gets only those really sent.
        """
        self.base_url = base_url.rstrip("/")
        self._http = http
        self._gate = gate
        self._watch = watch
        self._before_call = before_call
        self._on_request = on_request
        self._on_warning = on_warning
        self._deadline_seconds = deadline_seconds

    def behind(self, gate: Gate) -> "KsefTransport":
        """Return a transport with the same connections whose requests pass a gate."""
        other = copy(self)
        other._gate = gate
        return other

    def guarded(self, before_call: BeforeCall) -> "KsefTransport":
        """Return a transport with the same connections and gates that calls a function before each request."""
        other = copy(self)
        other._before_call = before_call
        return other

    async def send(
        self,
        call: Call,
        *,
        path: Mapping[str, str] | None = None,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str | None = None,
        token: str | None = None,
        attempt: int = 1,
    ) -> Answer:
        """Send one call and return its successful answer with the whole body.

        Raises the KsefError that `classify` returns, or TransportFailed. The meaning of no answer depends on the call and is
        in the docstring of its function.
        """
        async with self.stream(
            call,
            path=path,
            query=query,
            headers=headers,
            body=body,
            content_type=content_type,
            token=token,
            attempt=attempt,
        ) as response:
            answer = await read_answer(call.operation, response, MAX_JSON_BYTES)
            if answer.truncated:
                raise unreadable(answer, f"the body is longer than {MAX_JSON_BYTES} bytes")
            if answer.is_html:
                raise classify(answer)
            return answer

    @asynccontextmanager
    async def stream(
        self,
        call: Call,
        *,
        path: Mapping[str, str] | None = None,
        query: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        content_type: str | None = None,
        token: str | None = None,
        attempt: int = 1,
        deadline_seconds: float | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """Send one call like `send`, for a body that is read in pieces; the deadline covers the reading."""
        sent_headers = {"Accept": "application/json", "X-Error-Format": "problem-details", **(headers or {})}
        if content_type is not None:
            sent_headers["Content-Type"] = content_type
        if token is not None:
            sent_headers["Authorization"] = f"Bearer {token}"
        request = self._http.build_request(
            call.method, self._url(call, path or {}, query), headers=sent_headers, content=body
        )
        if call.method in {"POST", "PUT"} and not body:
            request.headers["Content-Length"] = "0"
        async with (
            self._gate.passing(call.group) if self._gate is not None else nullcontext(),
            self._watch.passing(call.group) if self._watch is not None else nullcontext(),
            exchange(
                self._http,
                request,
                call,
                deadline_seconds=deadline_seconds or self._deadline_seconds,
                before_call=self._before_call,
                on_request=self._on_request,
                attempt=attempt,
            ) as response,
        ):
            head = Answer(call.operation, response.status_code, lower_case(response.headers), b"")
            if self._on_warning is not None:
                for warning in head.warnings:
                    self._on_warning(call.operation, warning)
            if response.status_code not in call.expect:
                raise classify(await read_answer(call.operation, response, MAX_ERROR_BYTES))
            yield response

    def _url(self, call: Call, path: Mapping[str, str], query: Sequence[tuple[str, str]]) -> str:
        filled = call.path_template.format_map({name: quote(value, safe="") for name, value in path.items()})
        return f"{self.base_url}{filled}" + (f"?{urlencode(query)}" if query else "")


@asynccontextmanager
async def exchange(
    http: httpx.AsyncClient,
    request: httpx.Request,
    call: Call,
    *,
    deadline_seconds: float,
    before_call: BeforeCall | None = None,
    on_request: Callable[[RequestRecord], None] | None,
    attempt: int = 1,
) -> AsyncIterator[httpx.Response]:
    """Send a request, provide the response while it is open, and convert httpx's errors, which only happens here.

    The record is made at the end of the exchange, which includes reading the body.
    """
    if before_call is not None:
        await before_call(deadline_seconds)
    started = perf_counter()
    status = "none"
    try:
        with anyio.fail_after(deadline_seconds):
            response = await http.send(request, stream=True, auth=None, follow_redirects=False)
            status = str(response.status_code)
            try:
                yield response
            finally:
                with anyio.CancelScope(shield=True), anyio.move_on_after(2):
                    await response.aclose()
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise classify_transport(error, call.operation) from error
    except TimeoutError as error:
        raise TransportFailed(
            f"{call.operation} was not answered within {deadline_seconds:.0f} s", operation=call.operation
        ) from error
    finally:
        if on_request is not None:
            seconds = perf_counter() - started
            on_request(RequestRecord(call.group, call.method, call.path_template, status, seconds, attempt))


async def read_answer(operation: str, response: httpx.Response, limit: int) -> Answer:
    """Read an answer with at most `limit` bytes of its body."""
    body = bytearray()
    async for chunk in response.aiter_bytes(_CHUNK):
        body += chunk
        if len(body) > limit:
            break
    return Answer(
        operation,
        response.status_code,
        lower_case(response.headers),
        bytes(body[:limit]),
        truncated=len(body) > limit,
    )


def lower_case(headers: httpx.Headers) -> dict[str, str]:
    """Return headers as a dict with names in lower case; repeated ones are joined with " | ", as KSeF joins them."""
    joined: dict[str, str] = {}
    for name, value in headers.multi_items():
        key = name.lower()
        joined[key] = f"{joined[key]} | {value}" if key == "x-system-warning" and key in joined else value
    return joined
