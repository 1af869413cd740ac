"""Endpoints for KSeF tokens: create, list, show, revoke."""

import secrets
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field
from starlette.responses import JSONResponse, Response

from sandbox.clock import stamp
from sandbox.endpoints.paging import page_of, page_size
from sandbox.errors import Forbidden, bad
from sandbox.guard import Body, Call, Endpoint, read_json
from sandbox.ids import new_reference
from sandbox.service import Sandbox
from sandbox.state.records.common import Identifier
from sandbox.state.records.logins import KsefToken

ACTIVATION = timedelta(milliseconds=500)
"""How long a new token stays Pending; a client must poll its status before it uses the token."""
_STATUSES = frozenset({"Pending", "Active", "Revoking", "Revoked", "Failed"})

_AUTHOR_TYPES = frozenset({"Nip", "Pesel", "Fingerprint"})

Permission = Literal[
    "InvoiceRead",
    "InvoiceWrite",
    "CredentialsRead",
    "CredentialsManage",
    "SubunitManage",
    "EnforcementOperations",
    "Introspection",
    "CollectiveIdentifierManage",
]


class _NewToken(Body):
    permissions: list[Permission] = Field(min_length=1)
    description: str = Field(min_length=5, max_length=256)


def make_token(
    sandbox: Sandbox,
    context: Identifier,
    author: Identifier,
    *,
    permissions: frozenset[str],
    description: str,
    activation: timedelta = ACTIVATION,
) -> KsefToken:
    """Create a token. Its text contains `|` like KSeF's tokens, so that a client must not split it at the first one."""
    now = sandbox.clock.now()
    reference = new_reference("EC", now.date())
    token = KsefToken(
        reference_number=reference,
        secret=f"{reference}|{context.type.lower()}-{context.value}|{secrets.token_hex(32)}",
        context=context,
        author=author,
        description=description,
        permissions=permissions,
        created=now,
        active_from=now + activation,
    )
    sandbox.state.tokens[reference] = token
    return token


async def create(call: Call) -> Response:
    """POST /tokens: create a token; only after a login with a signature, only with permissions of the caller."""
    wanted = await read_json(call.request, _NewToken)
    login = call.principal.login
    if login.method == "Token":
        raise Forbidden(
            "auth-method-not-allowed",
            "Operacja nie jest dostępna dla użytej metody uwierzytelnienia.",
            {"authenticationMethodCategory": "Token"},
        )
    if login.context.type not in {"Nip", "InternalId"}:
        raise bad(26002, f"Typ kontekstu {login.context.type}; dozwolone: Nip, InternalId.")
    missing = set(wanted.permissions) - call.principal.permissions
    if missing:
        raise bad(26001, f"Brakujące uprawnienia: {', '.join(sorted(missing))}.")
    token = make_token(
        call.sandbox,
        login.context,
        login.subject,
        permissions=frozenset(wanted.permissions),
        description=wanted.description,
    )
    body = {"referenceNumber": token.reference_number, "token": token.secret}
    return JSONResponse(body, status_code=202)


async def list_tokens(call: Call) -> Response:
    """GET /tokens: list the context's tokens, newest first."""
    statuses = set(call.request.query_params.getlist("status"))
    if not statuses <= _STATUSES:
        raise bad(21405, "'status' ma niedozwoloną wartość.")
    text = call.request.query_params.get("description", "")
    if text and len(text) < 3:
        raise bad(21405, "'description' musi mieć co najmniej 3 znaki.")
    author = call.request.query_params.get("authorIdentifier", "")
    if author and len(author) < 3:
        raise bad(21405, "'authorIdentifier' musi mieć co najmniej 3 znaki.")
    author_type = call.request.query_params.get("authorIdentifierType")
    if author_type is not None and author_type not in _AUTHOR_TYPES:
        raise bad(21405, "'authorIdentifierType' ma niedozwoloną wartość.")
    now = call.sandbox.clock.now()
    tokens = [
        token
        for token in call.sandbox.state.tokens.values()
        if _may_see(call, token)
        and (not statuses or token.status(now) in statuses)
        and text.lower() in token.description.lower()
        and author in token.author.value
        and author_type in {None, token.author.type}
    ]
    tokens.sort(key=lambda token: token.created, reverse=True)
    page, more = page_of(call, tokens, page_size(call, maximum=100), "tokens")
    items = [_body(call, token) for token in page]
    return JSONResponse({"continuationToken": more, "tokens": items} if more else {"tokens": items})


async def show(call: Call) -> Response:
    """GET /tokens/{referenceNumber}."""
    return JSONResponse(_body(call, _find(call)))


async def revoke(call: Call) -> Response:
    """DELETE /tokens/{referenceNumber}."""
    _find(call).revoked = True
    return Response(status_code=204)


def _find(call: Call) -> KsefToken:
    token = call.sandbox.state.tokens.get(call.path("reference"))
    if token is None:
        raise bad(21405, f"Token o numerze referencyjnym {call.path('reference')} nie istnieje.")
    if not _may_see(call, token):
        raise Forbidden("insufficient-resource-access", "Brak dostępu do wskazanego zasobu.")
    return token


def _may_see(call: Call, token: KsefToken) -> bool:
    """Return whether the caller may see a token.

    With a permission on credentials these are all tokens of the context, after a login with a token only that token, in
    other cases only the caller's own tokens.
    """
    caller = call.principal
    if token.context != caller.login.context:
        return False
    needed = {"CredentialsManage"} if call.request.method == "DELETE" else {"CredentialsManage", "CredentialsRead"}
    if caller.permissions & needed:
        return True
    if caller.login.method == "Token":
        return token.reference_number == caller.login.token_reference
    return token.author == caller.login.subject


def _body(call: Call, token: KsefToken) -> dict[str, Any]:
    body: dict[str, Any] = {
        "referenceNumber": token.reference_number,
        "authorIdentifier": {"type": token.author.type, "value": token.author.value},
        "contextIdentifier": {"type": token.context.type, "value": token.context.value},
        "description": token.description,
        "requestedPermissions": sorted(token.permissions),
        "dateCreated": stamp(token.created),
        "status": token.status(call.sandbox.clock.now()),
    }
    if token.last_use is not None:
        body["lastUseDate"] = stamp(token.last_use)
    return body


ENDPOINTS = (
    Endpoint("POST", "/tokens", create, "other"),
    Endpoint("GET", "/tokens", list_tokens, "other"),
    Endpoint("GET", "/tokens/{reference}", show, "other"),
    Endpoint("DELETE", "/tokens/{reference}", revoke, "other"),
)
