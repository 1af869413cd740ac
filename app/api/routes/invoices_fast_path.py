"""The short way of a plain `POST /v1/invoices`: no parameters, only a key and a document.

An ERP that posts invoices one by one does it hundreds of times a second, and reading parameters that are not there is a good part of what
FastAPI does for each. Such a post goes to the same endpoint directly; any other, and all else, goes on to FastAPI, which also describes
the endpoint.
"""

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.dependencies import api_state, tenant_of_key
from app.api.http.problems import answer_error
from app.api.routes.invoices import create_invoice
from app.errors import DispatchError

PATH: Final = "/v1/invoices"
_BEARER: Final = "Bearer "
_PARAMETERS: Final = frozenset((b"prefer", b"idempotency-key"))


class InvoicesFastPath:
    """Answers plain posts, and hands everything else on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if not _is_plain(scope):
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            key = request.headers["authorization"][len(_BEARER) :]
            answer = await create_invoice(request, api_state(request), await tenant_of_key(request, key))
        except DispatchError as error:
            answer = answer_error(request, error)
        await answer(scope, receive, send)


def _is_plain(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST" or scope["query_string"]:
        return False
    headers = scope["headers"]
    keys = [value for name, value in headers if name == b"authorization"]
    if len(keys) != 1 or not keys[0].startswith(_BEARER.encode()) or b" " in keys[0][len(_BEARER) :]:
        return False
    return all(name not in _PARAMETERS for name, _ in headers)
