"""Logging in: challenge, signed document or KSeF token, status, access and refresh tokens, sessions of login."""

import asyncio
import base64
import binascii
import secrets
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from pydantic import Field
from starlette.responses import JSONResponse, Response

from sandbox.auth_request import (
    CONTEXT_PATTERNS,
    AuthTokenRequest,
    certificate_fingerprint,
    certificate_subject,
    check_address,
    read_auth_request,
)
from sandbox.clock import stamp
from sandbox.gate import Body, Call, Endpoint, read_body, read_json
from sandbox.ids import new_reference
from sandbox.jwt import encode_token
from sandbox.paging import page_of, page_size
from sandbox.refusals import BadRequest, bad
from sandbox.service import Sandbox
from sandbox.signature import SignedRequest, verify_signed_request
from sandbox.state import AuthOperation, Challenge, Identifier, KsefToken, Status

CHALLENGE_LIFE = timedelta(minutes=10)
AUTHENTICATION_TOKEN_LIFE = timedelta(minutes=45)
REFRESH_TOKEN_LIFE = timedelta(days=7)

_IN_PROGRESS = Status(100, "Uwierzytelnianie w toku")
_SUCCESS = Status(200, "Uwierzytelnianie zakończone sukcesem")
_NO_PERMISSIONS = Status(415, "Uwierzytelnianie zakończone niepowodzeniem", ("Brak przypisanych uprawnień",))
_REVOKED = Status(
    425,
    "Uwierzytelnienie unieważnione",
    ("Uwierzytelnienie i powiązane refresh tokeny zostały unieważnione przez użytkownika",),
)
_METHODS = {
    "Token": ("Token", "token.ksef", "Token KSeF"),
    "QualifiedSeal": ("XadesSignature", "xades.qualified-seal", "Pieczęć kwalifikowana"),
    "QualifiedSignature": ("XadesSignature", "xades.qualified-signature", "Podpis kwalifikowany"),
}


# Challenge


async def challenge(call: Call) -> Response:
    """POST /auth/challenge."""
    now = call.sandbox.clock.now()
    item = Challenge(new_reference("CR", now.date()), now)
    call.sandbox.state.challenges[item.value] = item
    return JSONResponse(
        {
            "challenge": item.value,
            "timestamp": stamp(now),
            "timestampMs": _milliseconds(now),
            "clientIp": call.address,
        }
    )


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _use_challenge(sandbox: Sandbox, value: str) -> Challenge:
    item = sandbox.state.challenges.get(value)
    if item is None or item.used or sandbox.clock.now() - item.made > CHALLENGE_LIFE:
        raise bad(21111)
    item.used = True
    return item


# Signed document


async def xades_signature(call: Call) -> Response:
    """POST /auth/xades-signature."""
    sandbox = call.sandbox
    body = await read_body(call.request, "application/xml")
    verify_chain = call.request.query_params.get("verifyCertificateChain", "false").lower()
    if verify_chain not in {"true", "false"}:
        raise bad(21405, "'verifyCertificateChain' musi być wartością logiczną.")
    signed, wanted = await asyncio.to_thread(_verify, body, sandbox.clock.now())
    _use_challenge(sandbox, wanted.challenge)
    subject, method = _subject(signed.certificate, wanted.subject_type)
    permissions = sandbox.state.permissions_of(subject, wanted.context)
    outcome = _certificate_fault(signed.certificate, sandbox.clock.now(), verify_chain == "true")
    if outcome is None:
        outcome = _SUCCESS if permissions else _NO_PERMISSIONS
    login = _start(
        sandbox,
        wanted.context,
        subject,
        method=method,
        outcome=outcome,
        permissions=permissions,
        allowed_ips=wanted.allowed_ips,
    )
    login.document_hash = signed.document_hash
    return _accepted(sandbox, login)


def _verify(body: bytes, now: datetime) -> tuple[SignedRequest, AuthTokenRequest]:
    signed = verify_signed_request(body, now)
    return signed, read_auth_request(signed.document)


def _subject(certificate: x509.Certificate, subject_type: str) -> tuple[Identifier, str]:
    if subject_type == "certificateFingerprint":
        return certificate_fingerprint(certificate), "QualifiedSignature"
    return certificate_subject(certificate)


def _certificate_fault(certificate: x509.Certificate, now: datetime, verify_chain: bool) -> Status | None:
    """Found while a login is processed, hence a status and not a refusal."""
    description = "Uwierzytelnianie zakończone niepowodzeniem z powodu błędu certyfikatu"
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        return Status(460, description, ("Nieważny certyfikat",))
    if verify_chain:
        # The sandbox trusts no authority, so every chain that must be verified fails.
        return Status(460, description, ("Niezaufany łańcuch certyfikatów",))
    return None


# KSeF token


class _Context(Body):
    type: str
    value: str


class _AllowedIps(Body):
    ip4_addresses: list[str] | None = Field(None, alias="ip4Addresses", max_length=10)
    ip4_ranges: list[str] | None = Field(None, alias="ip4Ranges", max_length=10)
    ip4_masks: list[str] | None = Field(None, alias="ip4Masks", max_length=10)


class _Policy(Body):
    allowed_ips: _AllowedIps | None = None


class _TokenLogin(Body):
    challenge: str = Field(min_length=36, max_length=36)
    context_identifier: _Context
    encrypted_token: str
    public_key_id: str | None = Field(None, min_length=44, max_length=44)
    authorization_policy: _Policy | None = None


async def ksef_token(call: Call) -> Response:
    """POST /auth/ksef-token."""
    sandbox = call.sandbox
    wanted = await read_json(call.request, _TokenLogin)
    context = _context(wanted.context_identifier)
    allowed = _addresses(wanted.authorization_policy)
    key = sandbox.keys.token_encryption
    if wanted.public_key_id is not None and wanted.public_key_id != key.public_key_id:
        raise bad(21470, f"Klucz o identyfikatorze {wanted.public_key_id} nie jest wspierany.")
    item = _use_challenge(sandbox, wanted.challenge)
    secret, detail = await asyncio.to_thread(_open_envelope, sandbox, wanted.encrypted_token, item)
    now = sandbox.clock.now()
    token = next((known for known in sandbox.state.tokens.values() if known.secret == secret), None)
    if not detail:
        detail = _token_fault(token, context, now) if token else "Nieprawidłowy token"
    if token is None or detail:
        description = "Uwierzytelnianie zakończone niepowodzeniem z powodu błędnego tokenu"
        login = _start(
            sandbox,
            context,
            context,
            method="Token",
            outcome=Status(450, description, (detail,)),
            permissions=frozenset(),
            allowed_ips=allowed,
        )
        return _accepted(sandbox, login)
    token.last_use = now
    login = _start(
        sandbox,
        context,
        token.author,
        method="Token",
        outcome=_SUCCESS,
        permissions=token.permissions,
        allowed_ips=allowed,
    )
    login.token_reference = token.reference_number
    return _accepted(sandbox, login)


def _context(wanted: _Context) -> Identifier:
    pattern = CONTEXT_PATTERNS.get(wanted.type)
    if pattern is None:
        raise bad(21405, f"'contextIdentifier.type' ma niedozwoloną wartość '{wanted.type}'.")
    if pattern.fullmatch(wanted.value) is None:
        raise bad(21405, "'contextIdentifier.value' ma nieprawidłowy format.")
    return Identifier(wanted.type, wanted.value)


def _addresses(policy: _Policy | None) -> tuple[str, ...]:
    if policy is None or policy.allowed_ips is None:
        return ()
    allowed = policy.allowed_ips
    found: list[str] = []
    for kind, values in (
        ("Ip4Address", allowed.ip4_addresses),
        ("Ip4Range", allowed.ip4_ranges),
        ("Ip4Mask", allowed.ip4_masks),
    ):
        for value in values or ():
            try:
                check_address(kind, value)
            except ValueError as error:
                raise bad(21405, f"'authorizationPolicy': nieprawidłowy adres {value}.") from error
            found.append(value)
    return tuple(found)


def _open_envelope(sandbox: Sandbox, encrypted: str, item: Challenge) -> tuple[str, str]:
    """The token's text, and what is wrong with the envelope ("" for nothing)."""
    try:
        ciphertext = base64.b64decode(encrypted, validate=True)
    except (binascii.Error, ValueError):
        return "", "Nieprawidłowe kodowanie tokena"
    try:
        plain = sandbox.keys.token_encryption.decrypt(ciphertext)
    except ValueError:
        return "", "Nieprawidłowe szyfrowanie tokena"
    try:
        secret, _, moment = plain.decode("utf-8").rpartition("|")
    except UnicodeDecodeError:
        return "", "Nieprawidłowe kodowanie tokena"
    if not moment.isascii() or not moment.isdigit() or int(moment) != _milliseconds(item.made):
        return "", "Nieprawidłowy czas tokena"
    return secret, ""


def _token_fault(token: KsefToken, context: Identifier, now: datetime) -> str:
    if token.status(now) == "Revoked":
        return "Token unieważniony"
    if token.status(now) != "Active":
        return "Token nieaktywny"
    if token.context != context:
        return f"Token nie może być użyty w kontekście {context.type}: {context.value}"
    return ""


# Status and tokens


def _start(
    sandbox: Sandbox,
    context: Identifier,
    subject: Identifier,
    *,
    method: str,
    outcome: Status,
    permissions: frozenset[str],
    allowed_ips: tuple[str, ...],
) -> AuthOperation:
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


def _accepted(sandbox: Sandbox, login: AuthOperation) -> Response:
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
    """GET /auth/{referenceNumber}."""
    login = call.principal.login
    if call.path("reference") != login.reference_number:
        detail = f"Operacja uwierzytelniania o numerze referencyjnym {call.path('reference')} nie została znaleziona."
        raise bad(21304, detail)
    return JSONResponse(_login_body(call.sandbox, login))


async def redeem(call: Call) -> Response:
    """POST /auth/token/redeem: once."""
    sandbox, login = call.sandbox, call.principal.login
    _check_token_not_revoked(sandbox, login)
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
    """POST /auth/token/refresh: as often as wanted, with the permissions of now."""
    sandbox, login = call.sandbox, call.principal.login
    _check_token_not_revoked(sandbox, login)
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


def _check_token_not_revoked(sandbox: Sandbox, login: AuthOperation) -> None:
    token = sandbox.state.tokens.get(login.token_reference or "")
    if token is not None and token.revoked:
        raise bad(21301, "Token KSeF został unieważniony.")


# Sessions of login


async def list_logins(call: Call) -> Response:
    """GET /auth/sessions: those whose refresh token still works, newest first."""
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
    """DELETE /auth/sessions/current: the refresh token dies, access tokens live on."""
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
    Endpoint("POST", "/auth/challenge", challenge, "anonymous", ()),
    Endpoint("POST", "/auth/xades-signature", xades_signature, "anonymous", ()),
    Endpoint("POST", "/auth/ksef-token", ksef_token, "anonymous", ()),
    Endpoint("POST", "/auth/token/redeem", redeem, "anonymous", ("AuthenticationToken",)),
    Endpoint("POST", "/auth/token/refresh", refresh, "anonymous", ("RefreshToken",)),
    Endpoint("GET", "/auth/sessions", list_logins, "other"),
    Endpoint("DELETE", "/auth/sessions/current", revoke_current, "other", ("ContextToken", "RefreshToken")),
    Endpoint("DELETE", "/auth/sessions/{reference}", revoke_login, "other", ("ContextToken", "RefreshToken")),
    Endpoint("GET", "/auth/{reference}", login_status, "anonymous", ("AuthenticationToken",)),
)
