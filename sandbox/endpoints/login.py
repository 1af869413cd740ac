"""Endpoints of a login: the challenge, and its two answers, a signed request or a KSeF token."""

import asyncio
import base64
import binascii
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID
from pydantic import Field
from starlette.responses import JSONResponse, Response

from sandbox.auth.certificate_issuing import enrollment_names
from sandbox.auth.login_document import (
    CONTEXT_PATTERNS,
    AuthTokenRequest,
    certificate_fingerprint,
    certificate_subject,
    check_address,
    is_seal,
    read_auth_request,
)
from sandbox.auth.signature import SignedRequest, verify_signed_request
from sandbox.clock import stamp
from sandbox.endpoints.auth_sessions import login_accepted, start_login
from sandbox.endpoints.certificates import issued_here, login_fault
from sandbox.errors import bad
from sandbox.guard import Body, Call, Endpoint, read_body, read_json
from sandbox.ids import new_reference, nip_checksum_is_right
from sandbox.keys import PublishedKey
from sandbox.service import Sandbox
from sandbox.state.records.certificates import KsefCertificate
from sandbox.state.records.common import Identifier, Status
from sandbox.state.records.logins import Challenge, KsefToken

CHALLENGE_LIFE = timedelta(minutes=10)

_SUCCESS = Status(200, "Uwierzytelnianie zakończone sukcesem")
_FAILURE = "Uwierzytelnianie zakończone niepowodzeniem"
_NO_PERMISSIONS = Status(415, _FAILURE, ("Brak przypisanych uprawnień",))
_DECEASED = Status(470, _FAILURE, ("Próba wykorzystania metod autoryzacyjnych osoby zmarłej",))
_BLOCKED = Status(
    480,
    "Uwierzytelnienie zablokowane",
    ("Podejrzenie incydentu bezpieczeństwa. Skontaktuj się z Ministerstwem Finansów przez formularz zgłoszeniowy.",),
)


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
    certificate = signed.certificate
    issued = issued_here(sandbox, certificate)
    subject, method = _subject(certificate, wanted.subject_type, issued)
    _check_context(sandbox, wanted.context, certificate)
    _use_challenge(sandbox, wanted.challenge)
    permissions = sandbox.state.permissions_of(subject, wanted.context)
    outcome = _barred(sandbox, subject, wanted.context)
    if outcome is None:
        outcome = _certificate_fault(sandbox, certificate, issued, verify_chain == "true")
    if outcome is None:
        outcome = _SUCCESS if permissions else _NO_PERMISSIONS
    if issued is not None and outcome is _SUCCESS:
        issued.last_use = sandbox.clock.now()
    login = start_login(
        sandbox,
        wanted.context,
        subject,
        method=method,
        outcome=outcome,
        permissions=permissions,
        allowed_ips=wanted.allowed_ips,
    )
    login.document_hash = signed.document_hash
    login.names = enrollment_names(certificate, subject)
    return login_accepted(sandbox, login)


def _verify(body: bytes, now: datetime) -> tuple[SignedRequest, AuthTokenRequest]:
    signed = verify_signed_request(body, now)
    return signed, read_auth_request(signed.document)


def _subject(
    certificate: x509.Certificate, subject_type: str, issued: KsefCertificate | None
) -> tuple[Identifier, str]:
    """Return the login's subject and method. A KSeF certificate's subject is its owner, for each type of identifier."""
    if issued is not None:
        return issued.owner, "InternalCertificate"
    if subject_type == "certificateFingerprint":
        if is_seal(certificate):
            raise bad(21406, "Pieczęć wskazuje podmiot atrybutem organizationIdentifier, nie odciskiem palca.")
        return certificate_fingerprint(certificate), "QualifiedSignature"
    return certificate_subject(certificate)


def _check_context(sandbox: Sandbox, context: Identifier, certificate: x509.Certificate) -> None:
    """Raise 21117 for a context that is not valid for its type.

    KSeF's rules beyond the schema's patterns are not documented. The sandbox checks the NIP's checksum (if enforced) and the
    name of a Peppol provider.
    """
    nip = context.nip
    if nip is not None and sandbox.options.enforce_identifiers and not nip_checksum_is_right(nip):
        raise bad(21117, f"Nieprawidłowa suma kontrolna NIP {nip}.")
    names = [item.value for item in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if context.type == "PeppolId" and context.value not in names:
        raise bad(21117, "Certyfikat nie należy do wskazanego dostawcy usług Peppol.")


def _barred(sandbox: Sandbox, subject: Identifier, context: Identifier) -> Status | None:
    """Return the status of a login that must fail: forced by the control API, blocked context, deceased person."""
    forced = sandbox.state.take_forced_outcome("login")
    if forced is not None:
        return forced
    if context in sandbox.state.blocked_contexts:
        return _BLOCKED
    return _DECEASED if subject in sandbox.state.deceased else None


def _certificate_fault(
    sandbox: Sandbox, certificate: x509.Certificate, issued: KsefCertificate | None, verify_chain: bool
) -> Status | None:
    """Return the status of a login with a faulty certificate; KSeF finds it during processing, so it is not an error."""
    now = sandbox.clock.now()
    detail = ""
    if issued is not None:
        detail = login_fault(issued, now)
    elif not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        detail = "Nieważny certyfikat"
    elif certificate.issuer == sandbox.keys.authority.certificate.subject:
        detail = "Błąd weryfikacji łańcucha certyfikatów"
    elif verify_chain:
        # The sandbox trusts only its own authority, so the verification of every other chain fails.
        detail = "Niezaufany łańcuch certyfikatów"
    if not detail:
        return None
    return Status(460, "Uwierzytelnianie zakończone niepowodzeniem z powodu błędu certyfikatu", (detail,))


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
    key = sandbox.keys.find("KsefTokenEncryption", wanted.public_key_id)
    if key is None:
        raise bad(21470, f"Klucz o identyfikatorze {wanted.public_key_id} nie jest wspierany.")
    item = _use_challenge(sandbox, wanted.challenge)
    secret, detail = await asyncio.to_thread(_open_envelope, key, wanted.encrypted_token, item)
    now = sandbox.clock.now()
    token = next((known for known in sandbox.state.tokens.peek() if known.secret == secret), None)
    if not detail:
        detail = _token_fault(token, context, now) if token else "Nieprawidłowy token"
    barred = _barred(sandbox, token.author if token else context, context)
    if token is None or detail or barred:
        description = "Uwierzytelnianie zakończone niepowodzeniem z powodu błędnego tokenu"
        login = start_login(
            sandbox,
            context,
            context,
            method="Token",
            outcome=barred or Status(450, description, (detail,)),
            permissions=frozenset(),
            allowed_ips=allowed,
        )
        return login_accepted(sandbox, login)
    token.last_use = now
    login = start_login(
        sandbox,
        context,
        token.author,
        method="Token",
        outcome=_SUCCESS,
        permissions=token.permissions,
        allowed_ips=allowed,
    )
    login.token_reference = token.reference_number
    return login_accepted(sandbox, login)


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


def _open_envelope(key: PublishedKey, encrypted: str, item: Challenge) -> tuple[str, str]:
    """Decrypt a token and return its text and the fault of the envelope, "" without one."""
    try:
        ciphertext = base64.b64decode(encrypted, validate=True)
    except (binascii.Error, ValueError):
        return "", "Nieprawidłowe kodowanie tokena"
    try:
        plain = key.decrypt(ciphertext)
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


ENDPOINTS = (
    Endpoint("POST", "/auth/challenge", challenge, "anonymous", ()),
    Endpoint("POST", "/auth/xades-signature", xades_signature, "anonymous", ()),
    Endpoint("POST", "/auth/ksef-token", ksef_token, "anonymous", ()),
)
