"""The methods of each address: HEAD for every GET, OPTIONS everywhere, and a complete `Allow`.

The router itself answers a method that an address does not take with the methods of one of its routes only.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class RouteTable:
    """All routes of the application, by address and method."""

    def __init__(self, routes: Iterable[APIRoute]) -> None:
        self._routes: Final = tuple(routes)

    def at(self, path: str) -> Mapping[str, APIRoute]:
        """Return the routes of an address by method; none for an address that does not exist."""
        found: dict[str, APIRoute] = {}
        for route in self._routes:
            if route.path_regex.match(path):
                for method in route.methods or ():
                    found.setdefault(method, route)
        return found

    def allow(self, path: str) -> str:
        """Return the value of `Allow` for an address, empty for one that does not exist."""
        methods = set(self.at(path))
        if not methods:
            return ""
        return ", ".join(sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))


class _HeadAnswered(Exception):
    """The head of an answer to HEAD was sent, and its content is not needed."""


class Methods:
    """Middleware that answers HEAD as GET without content, answers OPTIONS, and completes `Allow`."""

    def __init__(self, app: ASGIApp, routes: RouteTable) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]

        async def send_with_allow(message: Message) -> None:
            if message["type"] == "http.response.start" and (message["status"] == 405 or method == "OPTIONS"):
                allow = self._routes.allow(scope["path"])
                if allow:
                    MutableHeaders(raw=message["headers"])["allow"] = allow
            await send(message)

        if method == "HEAD" and "HEAD" not in (routes := self._routes.at(scope["path"])) and "GET" in routes:
            await self._head(scope, receive, send_with_allow)
        elif method == "OPTIONS" and (routes := self._routes.at(scope["path"])) and "OPTIONS" not in routes:
            await Response(status_code=204)(scope, receive, send_with_allow)
        else:
            await self._app(scope, receive, send_with_allow)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The server leaves out the content, since its own scope still has the method HEAD.
        is_ended = False

        async def send_head(message: Message) -> None:
            nonlocal is_ended
            if message["type"] != "http.response.body":
                await send(message)
                return
            if not is_ended:
                is_ended = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            if message.get("more_body", False):
                # A long answer is not made for nothing.
                raise _HeadAnswered

        try:
            await self._app({**scope, "method": "GET"}, receive, send_head)
        except _HeadAnswered:
            return
