"""Middleware of every request: its id, its log line, the answer to an unexpected error, and the limit on small bodies."""

import re
import time
from typing import Any, Final
from uuid import uuid4

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.http.problems import answer_unexpected
from app.observability.logs import get_logger

MAX_SMALL_BODY_BYTES: Final = 65_536
"""Limit on bodies that are read whole. A webhook with all its fields has a few hundred bytes."""

_REQUEST_ID: Final = re.compile(rb"^[A-Za-z0-9._:/+=-]{1,100}$")
# Probes request these every few seconds; only failures are logged.
_QUIET: Final = ("/livez", "/readyz", "/metrics")

log = get_logger(__name__)


class RequestContext:
    """Gives each request an id (the caller's `X-Request-Id` when it is well formed), echoes it and logs one line."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        known: dict[str, Any] = scope.setdefault("ksefd", {})
        known["request_id"] = request_id = _request_id(scope)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-request-id", request_id.encode("ascii")))
                message["headers"].append((b"x-content-type-options", b"nosniff"))
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
                        tenant=known.get("tenant"),
                        code=known.get("code"),
                    )


class SmallBodies:
    """Refuses bodies above the limit for bodies that are read whole; endpoints that stream have limits of their own."""

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

        async def counted() -> Message:
            nonlocal size
            message = await receive()
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
