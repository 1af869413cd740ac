"""The outermost layer: counts what is answered, and breaks what a fault rule says should break."""

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.gate import Endpoint
from sandbox.recorder import FAULT_KEY
from sandbox.service import Sandbox

CUT = 0
"""The status under which the ledger counts a connection that was cut."""
_PARAMETER = re.compile(r"\{[^}]*\}")


class FaultyWire:
    """ASGI middleware. The control API is never counted and never faulty."""

    def __init__(self, app: ASGIApp, sandbox: Sandbox, prefix: str, endpoints: Iterable[Endpoint]) -> None:
        self._app = app
        self._sandbox = sandbox
        self._prefix = prefix
        self._groups = [(item.method, re.compile(_PARAMETER.sub("[^/]+", item.path)), item.group) for item in endpoints]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or not."""
        if scope["type"] != "http" or scope["path"].startswith("/_sandbox/"):
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(self._prefix)
        group = self._group(scope["method"], path)
        rule = self._sandbox.faults.choose(scope["method"], path)
        if rule is None:
            await self._app(scope, receive, self._counting(send, group))
            return
        scope[FAULT_KEY] = True
        if rule.delay:
            await asyncio.sleep(rule.delay)
        if rule.cut == "before":
            self._cut(receive, group)
        elif rule.status is not None:
            response = _answer(rule.status, rule.body, rule.content_type, rule.headers)
            await response(scope, receive, self._counting(send, group))
        elif rule.cut == "after":
            await self._app(scope, receive, _swallow)
            self._cut(receive, group)
        elif rule.answer_status is not None:
            await self._app(scope, receive, _swallow)
            response = _answer(rule.answer_status, rule.body, rule.content_type, rule.headers)
            await response(scope, receive, self._counting(send, group))
        else:
            await self._app(scope, receive, self._counting(send, group))

    def _group(self, method: str, path: str) -> str:
        if path.startswith("/storage/"):
            return "storage" if method == "PUT" else "upoDownload"
        for known, pattern, group in self._groups:
            if known == method and pattern.fullmatch(path):
                return group
        return "unknown"

    def _counting(self, send: Send, group: str) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._sandbox.state.count_request(group, message["status"])
            await send(message)

        return counted

    def _cut(self, receive: Receive, group: str) -> None:
        """Drop the TCP connection without a byte of answer; only the server's own cycle can reach it."""
        self._sandbox.state.count_request(group, CUT)
        cycle: Any = getattr(receive, "__self__", None)
        transport = getattr(cycle, "transport", None)
        if transport is None:
            raise ConnectionAbortedError("cut by a fault rule")
        transport.abort()


async def _swallow(_message: Message) -> None:
    """Take an answer that nobody shall see."""


def _answer(status: int, body: str, content_type: str, headers: dict[str, str]) -> Response:
    return Response(body, status_code=status, media_type=content_type if body else None, headers=headers)
