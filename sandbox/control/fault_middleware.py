"""Outermost ASGI middleware: counts answers, saves the state before each answer, and applies fault rules."""

import asyncio
import json
import re
import secrets
from collections.abc import Iterable
from email.utils import format_datetime
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.endpoints.storage import storage_refusal
from sandbox.errors import TooManyRequests, bad, rejection_response
from sandbox.guard import Endpoint
from sandbox.recorder import FAULT_KEY
from sandbox.service import Sandbox
from sandbox.state.faults import FaultRule
from sandbox.state.tables import taking_notes

CUT = 0
"""The status under which the ledger counts a connection that was cut."""
_PARAMETER = re.compile(r"\{[^}]*\}")
_SLOW_STEPS = 20
_WAF_PAGE = (
    "<html><head><title>Sandbox firewall</title></head><body>"
    '<iframe src="/_Incapsula_Resource?incident_id={incident}"></iframe></body></html>'
)


class FaultMiddleware:
    """ASGI middleware for faults. Requests to the control API are not counted and get no faults."""

    def __init__(self, app: ASGIApp, sandbox: Sandbox, prefix: str, endpoints: Iterable[Endpoint]) -> None:
        self._app = app
        self._sandbox = sandbox
        self._prefix = prefix
        self._groups = [(item.method, re.compile(_PARAMETER.sub("[^/]+", item.path)), item.group) for item in endpoints]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle the request, or apply a fault rule to it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with taking_notes():
            if scope["path"].startswith("/_sandbox/"):
                await self._app(scope, receive, self._saving(send))
            else:
                try:
                    await self._serve(scope, receive, send)
                except ClientDisconnect:
                    # The client disconnected before the end of its request, so no answer of ours is counted.
                    self._sandbox.state.count_request(self._group(scope["method"], self._path(scope)), CUT)

    def _path(self, scope: Scope) -> str:
        path: str = scope["path"]
        return path.removeprefix(self._prefix)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = self._path(scope)
        group = self._group(scope["method"], path)
        rule = self._sandbox.faults.choose(scope["method"], path)
        counted = self._counting(send, group)
        if rule is None:
            await self._app(scope, receive, counted)
            return
        scope[FAULT_KEY] = True
        if rule.delay:
            await asyncio.sleep(rule.delay)
        instead = self._replacement(rule, scope)
        if rule.cut == "before":
            await self._cut(receive, group)
        elif instead is not None:
            await instead(scope, receive, counted)
        elif rule.cut == "after":
            await self._app(scope, receive, _discard)
            await self._cut(receive, group)
        elif rule.answer_status is not None:
            await self._app(scope, receive, _discard)
            await _answer(rule, rule.answer_status)(scope, receive, counted)
        elif rule.cut == "within" or rule.spoil is not None:
            await self._spoil(rule, scope, receive, counted)
        else:
            await self._app(scope, receive, counted)

    def _replacement(self, rule: FaultRule, scope: Scope) -> Response | None:
        """Return the answer of a rule that stops the request; None for other rules."""
        request, now = Request(scope), self._sandbox.clock.now()
        address = request.client.host if request.client else ""
        match rule.page:
            case "waf":
                return HTMLResponse(_WAF_PAGE.format(incident=secrets.token_hex(8)), rule.status or 200)
            case "blocked":
                return _blocked(address)
            case "too-many-requests":
                return rejection_response(TooManyRequests(0, "minutę", rule.retry_after), request, now)
            case "expired-link":
                return storage_refusal(403, "AuthenticationFailed", "Signature not valid in the specified time frame.")
        if rule.error is not None:
            return rejection_response(bad(rule.error, *rule.details), request, now)
        return _answer(rule, rule.status) if rule.status is not None else None

    async def _spoil(self, rule: FaultRule, scope: Scope, receive: Receive, send: Send) -> None:
        """Process the request, then damage its answer as the rule demands."""
        start: Message = {}
        body = bytearray()

        async def keep(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
            else:
                body.extend(message.get("body", b""))

        await self._app(scope, receive, keep)
        half = bytes(body[: len(body) // 2])
        if rule.spoil == "json":
            await send({**start, "headers": _with_length(start["headers"], len(half))})
            await send({"type": "http.response.body", "body": half})
            return
        await send(start)
        if rule.cut == "within":
            await send({"type": "http.response.body", "body": half, "more_body": True})
            # The pause lets the bytes written so far be sent before the connection is cut.
            await asyncio.sleep(0.05)
            _abort(receive)
            return
        step = max(1, -(-len(body) // _SLOW_STEPS))
        for position in range(0, len(body), step):
            await asyncio.sleep(rule.slow_seconds * step / len(body))
            await send(
                {"type": "http.response.body", "body": bytes(body[position : position + step]), "more_body": True}
            )
        await send({"type": "http.response.body", "body": b""})

    def _group(self, method: str, path: str) -> str:
        if path.startswith("/storage/"):
            return "storage" if method == "PUT" else "upoDownload"
        for known, pattern, group in self._groups:
            if known == method and pattern.fullmatch(path):
                return group
        return "unknown"

    def _counting(self, send: Send, group: str) -> Send:
        saving = self._saving(send)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._sandbox.state.count_request(group, message["status"])
            await saving(message)

        return counted

    def _saving(self, send: Send) -> Send:
        """Wrap `send` so that the state is saved before the first byte of an answer is sent."""

        async def saved(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._sandbox.save()
                date = format_datetime(self._sandbox.clock.now(), usegmt=True).encode("ascii")
                message = {**message, "headers": [*message.get("headers", ()), (b"date", date)]}
            await send(message)

        return saved

    async def _cut(self, receive: Receive, group: str) -> None:
        """Close the TCP connection without an answer."""
        self._sandbox.state.count_request(group, CUT)
        await self._sandbox.save()
        _abort(receive)


def _abort(receive: Receive) -> None:
    """Close the connection through the server's request cycle, which is the only access to it."""
    cycle: Any = getattr(receive, "__self__", None)
    transport = getattr(cycle, "transport", None)
    if transport is None:
        raise ConnectionAbortedError("cut by a fault rule")
    transport.abort()


async def _discard(_message: Message) -> None:
    """Discard a message of an answer that must not be sent."""


def _answer(rule: FaultRule, status: int) -> Response:
    media_type = rule.content_type if rule.body else None
    return Response(rule.body, status_code=status, media_type=media_type, headers=rule.headers)


def _blocked(address: str) -> Response:
    """Build the firewall's answer to a blocked address, which has no reason code (ksef-api, issue 617)."""
    body = {
        "title": "Request blocked",
        "status": 403,
        "detail": "The request was blocked by the security service.",
        "security": {"incidentId": f"{secrets.randbelow(10**18)}-{secrets.randbelow(10**18)}", "clientIp": address},
    }
    return Response(json.dumps(body), status_code=403, media_type="application/problem+json")


def _with_length(headers: Iterable[tuple[bytes, bytes]], length: int) -> list[tuple[bytes, bytes]]:
    return [(name, str(length).encode("ascii") if name == b"content-length" else value) for name, value in headers]
