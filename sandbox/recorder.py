"""`--record FILE`: writes every request with its answer as a line of JSON, for a later check against the contract.

Secrets are masked before the line is written: each letter and digit of a token, an encrypted key, a signature or a link's
signature becomes an `x`, so that the masked value still has the length and form that the contract demands. Of XML only login
requests are kept, without the value of their signature; of invoices, parts and receipts only the size is.
"""

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

FAULT_KEY = "sandbox.fault"
"""Key in the scope of a request that a fault rule changed: its answer is not one of KSeF's."""
MAX_BODY = 4_000_000
"""The longest body that is recorded; of longer ones only the size is."""
_SECRET_MEMBERS = frozenset({"token", "encryptedToken", "encryptedSymmetricKey", "encryptedInvoiceContent"})
_LINK_MEMBERS = frozenset({"url", "downloadUrl", "upoDownloadUrl"})
_HEADERS = frozenset(
    {
        "accept", "authorization", "content-encoding", "content-length", "content-type", "retry-after",
        "transfer-encoding", "user-agent", "x-continuation-token", "x-error-format", "x-ksef-feature",
        "x-ms-blob-type", "x-ms-error-code", "x-ms-meta-hash", "x-system-warning", "x-test-system-warning",
    }
)  # fmt: skip
_MASKED = re.compile(r"[A-Za-z0-9]")
_SIGNATURE_IN_LINK = re.compile(r"(?<=[?&]sig=)[^&]*")
_SIGNATURE_VALUE = re.compile(r"(<(?:\w+:)?SignatureValue[^>]*>)[^<]*")
_LOGIN_PATH = "/v2/auth/xades-signature"


def record_path(wanted: str) -> Path:
    """Return the file to write: the named one, or a new one for this process in the named folder."""
    path = Path(wanted)
    return path / f"sandbox-{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{os.getpid()}.ndjson" if path.is_dir() else path


class Recorder:
    """ASGI middleware that records requests. Requests to `/_sandbox/` are not part of KSeF's API and are not recorded.

    One thread writes the lines in the order in which requests ended, each at once, so that a killed sandbox leaves at most
    one incomplete line.
    """

    def __init__(self, app: ASGIApp, path: Path) -> None:
        self._app = app
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="recorder")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request and record it."""
        if scope["type"] == "lifespan":
            try:
                await self._app(scope, receive, send)
            finally:
                self._writer.shutdown()
                self._file.close()
            return
        if scope["type"] != "http" or scope["path"].startswith("/_sandbox/"):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, keep=not scope["path"].startswith("/storage/"))
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            self._writer.submit(self._write, dict(scope), exchange)

    def _write(self, scope: Scope, exchange: "_Exchange") -> None:
        self._file.write(json.dumps(line_of(scope, exchange), ensure_ascii=False) + "\n")


class _Exchange:
    """One request and its answer while they pass. Bodies above the limit and those of storage are only counted."""

    def __init__(self, receive: Receive, send: Send, *, keep: bool) -> None:
        self._receive = receive
        self._send = send
        self._keep = keep
        self.sent = bytearray()
        self.sent_size = 0
        self.status: int | None = None
        self.answer_headers: list[tuple[bytes, bytes]] = []
        self.answer = bytearray()
        self.answer_size = 0

    @property
    def transport(self) -> Any:
        """The connection, which a fault rule may cut."""
        return getattr(getattr(self._receive, "__self__", None), "transport", None)

    async def receive(self) -> Message:
        """Receive a message of the client and record it."""
        message = await self._receive()
        self.sent_size += self._count(self.sent, message)
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the sandbox and record it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.answer_headers = list(message.get("headers", ()))
        else:
            self.answer_size += self._count(self.answer, message)
        await self._send(message)

    def _count(self, kept: bytearray, message: Message) -> int:
        body: bytes = message.get("body", b"")
        if self._keep and len(kept) <= MAX_BODY:
            kept += body
        return len(body)


def line_of(scope: Scope, exchange: _Exchange) -> dict[str, Any]:
    """Build the record of one request; `status` is null when the connection was cut before an answer."""
    headers = _headers(scope["headers"])
    answer_headers = _headers(exchange.answer_headers)
    query = scope["query_string"].decode("latin-1")
    return {
        "at": datetime.now(UTC).isoformat(),
        "method": scope["method"],
        "path": scope["path"],
        "query": _SIGNATURE_IN_LINK.sub("x", f"?{query}")[1:],
        "headers": headers,
        "size": exchange.sent_size,
        "body": _body(headers, exchange.sent, scope["path"]),
        "fault": bool(scope.get(FAULT_KEY)),
        "status": exchange.status,
        "answer_headers": answer_headers,
        "answer_size": exchange.answer_size,
        "answer": _body(answer_headers, exchange.answer, ""),
    }


def _headers(raw: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in raw:
        key = name.decode("latin-1").lower()
        if key in _HEADERS:
            text = value.decode("latin-1")
            found[key] = _mask(text, start=len("Bearer ")) if key == "authorization" else text
    return found


def _body(headers: dict[str, str], body: bytearray, path: str) -> Any:
    """Return a body as JSON or text; null when it is empty, not recorded or too long."""
    if not body or len(body) > MAX_BODY:
        return None
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if media.endswith("json"):
            return masked(json.loads(body))
        if path == _LOGIN_PATH:
            return _SIGNATURE_VALUE.sub(r"\1", body.decode("utf-8"))
    except ValueError:
        return None
    return None


def masked(value: Any) -> Any:
    """Return a JSON value with its secrets masked."""
    if isinstance(value, list):
        return [masked(item) for item in value]
    if not isinstance(value, dict):
        return value
    result: dict[str, Any] = {}
    for name, member in value.items():
        if isinstance(member, str) and name in _SECRET_MEMBERS:
            result[name] = _mask(member)
        elif isinstance(member, str) and name in _LINK_MEMBERS:
            result[name] = _SIGNATURE_IN_LINK.sub("x", member)
        else:
            result[name] = masked(member)
    return result


def _mask(text: str, start: int = 0) -> str:
    return text[:start] + _MASKED.sub("x", text[start:])
