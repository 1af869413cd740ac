"""Middleware of every request: its id, its log line, the answer to an unexpected error, and the limit on small bodies."""

import re
import time
from typing import Any, Final
from uuid import uuid4

import anyio
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.http.problems import answer_unexpected
from app.client_addresses import TrustedProxies, forwarded_scheme
from app.observability.logs import get_logger

MAX_SMALL_BODY_BYTES: Final = 65_536
"""Limit on bodies that are read whole. A webhook with all its fields has a few hundred bytes."""

SMALL_BODY_SECONDS: Final = 30.0
"""Time in which such a body must arrive, so that a client without a key cannot keep a request open."""

_REQUEST_ID: Final = re.compile(rb"^[A-Za-z0-9._:/+=-]{1,100}$")
# Probes request these every few seconds; only failures are logged.
_QUIET: Final = ("/livez", "/readyz", "/metrics")
# Answers with personal data, keys or states of this moment are not kept by caches, unless an endpoint says otherwise.
_PRIVATE: Final = ("/v1/", *_QUIET)

log = get_logger(__name__)


class RequestContext:
    """Gives each request an id (the caller's `X-Request-Id` when it is well formed), echoes it and logs one line."""

    def __init__(self, app: ASGIApp, trusted: TrustedProxies) -> None:
        """Wrap an application. `trusted` proxies name the client's address and scheme in headers."""
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        known: dict[str, Any] = scope.setdefault("ksefd", {})
        known["client"] = self._client(scope)
        known["request_id"] = request_id = _request_id(scope)
        status = 0
        is_private = scope["path"].startswith(_PRIVATE)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-request-id", request_id.encode("ascii")))
                message["headers"].append((b"x-content-type-options", b"nosniff"))
                if is_private and all(name != b"cache-control" for name, _ in message["headers"]):
                    message["headers"].append((b"cache-control", b"no-store"))
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except ClientDisconnect:
                known["code"] = "client-gone"
            except Exception as error:
                if status:
                    # A part of the answer was sent; only a broken connection can show the client that the rest is missing.
                    log.exception("answer_broken_off", path=scope["path"])
                    known["code"] = "broken-off"
                    raise
                await answer_unexpected(Request(scope), error)(scope, receive, send_with_id)
            finally:
                if status >= 400 or not status or scope["path"] not in _QUIET:
                    log.info(
                        "request_served",
                        method=scope["method"],
                        path=scope["path"],
                        status=status or None,
                        milliseconds=round((time.perf_counter() - started) * 1000, 1),
                        client=known["client"],
                        tenant=known.get("tenant"),
                        key=known.get("key"),
                        code=known.get("code"),
                    )

    def _client(self, scope: Scope) -> str | None:
        """Return the client's address, and set the scheme, by the headers of a trusted proxy if one sent the request."""
        peer: str | None = scope["client"][0] if scope.get("client") else None
        if peer is None or not self._trusted.trusts(peer):
            return peer
        scope["scheme"] = forwarded_scheme(scope["headers"]) or scope["scheme"]
        return self._trusted.forwarded_client(scope["headers"]) or peer


class SmallBodies:
    """Limits size and time of bodies that are read whole; endpoints that stream have limits of their own."""

    def __init__(self, app: ASGIApp, *, except_paths: frozenset[str], except_below: str) -> None:
        self._app = app
        self._except_paths = except_paths
        self._except_below = except_below

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope.get("path", "")
        if scope["type"] != "http" or path in self._except_paths or path.startswith(self._except_below):
            await self._app(scope, receive, send)
            return
        size = 0
        ended = False
        deadline: float | None = None

        async def counted() -> Message:
            nonlocal size, ended, deadline
            if ended:
                # The wait for the client's end, which has no limit.
                return await receive()
            deadline = deadline or anyio.current_time() + SMALL_BODY_SECONDS
            try:
                with anyio.fail_after(deadline - anyio.current_time()):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, f"the body did not arrive within {SMALL_BODY_SECONDS:.0f} seconds") from error
            ended = not message.get("more_body", False)
            size += len(message.get("body", b""))
            if size > MAX_SMALL_BODY_BYTES:
                # FastAPI passes this exception on while it reads a body; `problems` makes the answer.
                raise HTTPException(413, f"the body is larger than {MAX_SMALL_BODY_BYTES} bytes")
            return message

        await self._app(scope, counted, send)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.match(value):
            return str(value.decode("ascii"))
    return uuid4().hex
