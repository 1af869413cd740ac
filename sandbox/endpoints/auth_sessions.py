"""Endpoints of a started login: status, access and refresh tokens, lists and revocation."""

import secrets
from datetime import datetime, timedelta
from typing import Any

from starlette.responses import JSONResponse, Response

from sandbox.auth.jwt import encode_token
from sandbox.clock import stamp
from sandbox.endpoints.paging import page_of, page_size
from sandbox.errors import BadRequest, Gone, bad
from sandbox.guard import Call, Endpoint
from sandbox.ids import new_reference
from sandbox.service import Sandbox
from sandbox.state.records.common import Identifier, Status
from sandbox.state.records.logins import AuthOperation

AUTHENTICATION_TOKEN_LIFE = timedelta(minutes=45)
REFRESH_TOKEN_LIFE = timedelta(days=7)
_RETENTION = timedelta(days=7)

_IN_PROGRESS = Status(100, "Uwierzytelnianie w toku")
_REVOKED = Status(
    425,
    "Uwierzytelnienie unieważnione",
    ("Uwierzytelnienie i powiązane refresh tokeny zostały unieważnione przez użytkownika",),
)
_METHODS = {
    "Token": ("Token", "token.ksef", "Token KSeF"),
    "InternalCertificate": ("XadesSignature", "xades.ksef-certificate", "Certyfikat KSeF"),
    "QualifiedSeal": ("XadesSignature", "xades.qualified-seal", "Pieczęć kwalifikowana"),
    "QualifiedSignature": ("XadesSignature", "xades.qualified-signature", "Podpis kwalifikowany"),
}


def start_login(
    sandbox: Sandbox,
    context: Identifier,
    subject: Identifier,
    *,
    method: str,
    outcome: Status,
    permissions: frozenset[str],
    allowed_ips: tuple[str, ...],
) -> AuthOperation:
    """Record a login. Its outcome is already known, but shown only after the configured delay."""
    now = sandbox.clock.now()
    login = AuthOperation(
        reference_number=new_reference("AU", now.date()),
        context=context,
        subject=subject,
        method=method,
        started=now,
        ready=now + timedelta(seconds=sandbox.options.auth_delay_seconds),
        outcome=outcome,
        permissions=permissions,
        allowed_ips=allowed_ips,
    )
    sandbox.state.logins[login.reference_number] = login
    return login


def login_accepted(sandbox: Sandbox, login: AuthOperation) -> Response:
    """Build the 202 with the reference number to poll and the token for it."""
    token = _token(sandbox, login, "AuthenticationToken", login.started + AUTHENTICATION_TOKEN_LIFE)
    body = {"referenceNumber": login.reference_number, "authenticationToken": token}
    return JSONResponse(body, status_code=202)


def _token(
    sandbox: Sandbox, login: AuthOperation, kind: str, until: datetime, permissions: frozenset[str] | None = None
) -> dict[str, str]:
    now = sandbox.clock.now()
    claims: dict[str, Any] = {
        "typ": kind,
        "jti": secrets.token_hex(8),
        "arn": login.reference_number,
        "cit": login.context.type,
        "civ": login.context.value,
        "aum": login.method,
        "iat": int(now.timestamp()),
        "exp": int(until.timestamp()),
        "iss": "ksef-sandbox",
    }
    if permissions is not None:
        claims["per"] = sorted(permissions)
    return {"token": encode_token(claims, sandbox.keys.token_secret), "validUntil": stamp(until)}


def _status(sandbox: Sandbox, login: AuthOperation) -> Status:
    if login.revoked:
        return _REVOKED
    return login.outcome if sandbox.clock.now() >= login.ready else _IN_PROGRESS


def _login_body(sandbox: Sandbox, login: AuthOperation) -> dict[str, Any]:
    category, code, name = _METHODS[login.method]
    body: dict[str, Any] = {
        "startDate": stamp(login.started),
        "authenticationMethod": login.method,
        "authenticationMethodInfo": {"category": category, "code": code, "displayName": name},
        "status": _status(sandbox, login).body(),
        "isTokenRedeemed": login.redeemed,
    }
    if login.last_refresh is not None:
        body["lastTokenRefreshDate"] = stamp(login.last_refresh)
    if login.refresh_until is not None:
        body["refreshTokenValidUntil"] = stamp(login.refresh_until)
    return body


async def login_status(call: Call) -> Response:
    """GET /auth/{referenceNumber}: return the login's status, for seven days.

    A token for one login gets no status of another login; but for an old login of the same subject in the same context the
    answer is 410, since the token of that login ended long before.
    """
    mine, reference = call.principal.login, call.path("reference")
    login = call.sandbox.state.logins.get(reference)
    if login is None or login.context != mine.context or login.subject != mine.subject:
        raise _no_such_login(reference)
    if call.sandbox.clock.now() - login.started > _RETENTION:
        raise Gone("Status operacji uwierzytelniania jest dostępny przez 7 dni.")
    if login is not mine:
        raise _no_such_login(reference)
    return JSONResponse(_login_body(call.sandbox, login))


def _no_such_login(reference: str) -> BadRequest:
    return bad(21304, f"Operacja uwierzytelniania o numerze referencyjnym {reference} nie została znaleziona.")


async def redeem(call: Call) -> Response:
    """POST /auth/token/redeem: return the tokens of a login, once."""
    sandbox, login = call.sandbox, call.principal.login
    _check_still_good(sandbox, login)
    status = _status(sandbox, login)
    if status.code != 200:
        raise bad(21301, f"Status uwierzytelniania ({status.code}) nie pozwala na pobranie tokenów.")
    if login.redeemed:
        detail = f"Tokeny dla operacji uwierzytelniania {login.reference_number} zostały już pobrane."
        raise bad(21301, detail)
    login.redeemed = True
    login.refresh_until = sandbox.clock.now() + REFRESH_TOKEN_LIFE
    return JSONResponse(
        {
            "accessToken": _access_token(sandbox, login),
            "refreshToken": _token(sandbox, login, "RefreshToken", login.refresh_until),
        }
    )


async def refresh(call: Call) -> Response:
    """POST /auth/token/refresh: return a new access token with the current permissions; repeatable."""
    sandbox, login = call.sandbox, call.principal.login
    _check_still_good(sandbox, login)
    status = _status(sandbox, login)
    if status.code != 200:
        raise bad(21301, f"Status uwierzytelniania ({status.code}) nie pozwala na odświeżenie tokenu dostępowego.")
    login.last_refresh = sandbox.clock.now()
    return JSONResponse({"accessToken": _access_token(sandbox, login)})


def _access_token(sandbox: Sandbox, login: AuthOperation) -> dict[str, str]:
    if login.method != "Token":
        login.permissions = sandbox.state.permissions_of(login.subject, login.context)
    until = sandbox.clock.now() + timedelta(seconds=sandbox.options.access_token_seconds)
    return _token(sandbox, login, "ContextToken", until, login.permissions)


def _check_still_good(sandbox: Sandbox, login: AuthOperation) -> None:
    if login.subject in sandbox.state.deceased:
        raise bad(21308)
    token = sandbox.state.tokens.get(login.token_reference or "")
    if token is not None and token.revoked:
        raise bad(21301, "Token KSeF został unieważniony.")


# Sessions of login


async def list_logins(call: Call) -> Response:
    """GET /auth/sessions: list the logins with a valid refresh token, newest first."""
    sandbox, mine = call.sandbox, call.principal.login
    now = sandbox.clock.now()
    active = [
        login
        for login in sandbox.state.logins.values()
        if login.context == mine.context
        and login.subject == mine.subject
        and not login.revoked
        and login.refresh_until is not None
        and login.refresh_until > now
    ]
    active.sort(key=lambda login: login.started, reverse=True)
    page, token = page_of(call, active, page_size(call, maximum=100), "logins")
    items = [
        {
            **_login_body(sandbox, login),
            "referenceNumber": login.reference_number,
            "isCurrent": login is mine,
        }
        for login in page
    ]
    return JSONResponse({"continuationToken": token, "items": items} if token else {"items": items})


async def revoke_current(call: Call) -> Response:
    """DELETE /auth/sessions/current: revoke the refresh token; access tokens stay valid."""
    call.principal.login.revoked = True
    return Response(status_code=204)


async def revoke_login(call: Call) -> Response:
    """DELETE /auth/sessions/{referenceNumber}."""
    mine = call.principal.login
    login = call.sandbox.state.logins.get(call.path("reference"))
    if login is None or login.context != mine.context or login.subject != mine.subject:
        raise _unknown_login(call)
    login.revoked = True
    return Response(status_code=204)


def _unknown_login(call: Call) -> BadRequest:
    return bad(21405, f"Sesja uwierzytelnienia {call.path('reference')} nie istnieje.")


ENDPOINTS = (
    Endpoint("POST", "/auth/token/redeem", redeem, "anonymous", ("AuthenticationToken",)),
    Endpoint("POST", "/auth/token/refresh", refresh, "anonymous", ("RefreshToken",)),
    Endpoint("GET", "/auth/sessions", list_logins, "other"),
    Endpoint("DELETE", "/auth/sessions/current", revoke_current, "other", ("ContextToken", "RefreshToken")),
    Endpoint("DELETE", "/auth/sessions/{reference}", revoke_login, "other", ("ContextToken", "RefreshToken")),
    Endpoint("GET", "/auth/{reference}", login_status, "anonymous", ("AuthenticationToken",)),
)
