"""The fast path of a plain `POST /v1/invoices`: an API key and an invoice, none of the endpoint's other parameters.

An ERP may post hundreds of single invoices a second, and FastAPI spends much of its time for each on parameters that are not
sent. A request without them calls the endpoint directly. Which headers count as parameters is read from the route at start, so a
parameter that is added to the endpoint needs no change here; requests that carry one go through FastAPI, like all others.
"""

from typing import Final

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.dependencies import api_state, tenant_of_key
from app.api.http.parameters import dependants
from app.api.http.problems import answer_error
from app.api.routes import invoices
from app.errors import DispatchError

_BEARER: Final = "Bearer "


class InvoicesFastPath:
    """Middleware that answers plain posts and forwards all other requests to FastAPI."""

    def __init__(self, app: ASGIApp, route: APIRoute) -> None:
        self._app = app
        self._path = route.path
        self._parameters = parameter_headers(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if not self.is_plain(scope):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            key = request.headers["authorization"][len(_BEARER) :]
            answer = await invoices.create_invoice(request, api_state(request), await tenant_of_key(request, key))
        except DispatchError as error:
            answer = answer_error(request, error)
        await answer(scope, receive, send)

    def is_plain(self, scope: Scope) -> bool:
        """Return whether a request is a post to the endpoint with one API key and without parameters."""
        if scope["type"] != "http" or scope["path"] != self._path or scope["method"] != "POST" or scope["query_string"]:
            return False
        headers = scope["headers"]
        keys = [value for name, value in headers if name == b"authorization"]
        if len(keys) != 1 or not keys[0].startswith(_BEARER.encode()) or b" " in keys[0][len(_BEARER) :]:
            return False
        return all(name not in self._parameters for name, _ in headers)


def invoices_route() -> APIRoute:
    """Return the route of `POST /v1/invoices`."""
    routes = (route for route in invoices.router.routes if isinstance(route, APIRoute))
    return next(route for route in routes if route.endpoint is invoices.create_invoice)


def parameter_headers(route: APIRoute) -> frozenset[bytes]:
    """Return the names of the headers from which FastAPI reads parameters of an endpoint and its dependencies."""
    found = set()
    for dependant in dependants(route.dependant):
        found |= {parameter.alias.lower().encode() for parameter in dependant.header_params}
        if dependant.cookie_params:
            found.add(b"cookie")
    return frozenset(found)
