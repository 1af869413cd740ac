"""Endpoints for issued KSeF certificates: retrieval, search, revocation; and their check at a login.

A certificate belongs to the subject of the login, in all contexts. Source: KSeF API 2.9, /certificates/*;
ksef-docs, certyfikaty-KSeF.md.
"""

import base64
import re
from datetime import datetime
from typing import Annotated, Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from pydantic import Field
from starlette.responses import JSONResponse, Response

from sandbox.clock import stamp
from sandbox.endpoints.paging import page_number, page_size
from sandbox.errors import Forbidden, bad
from sandbox.guard import Body, Call, Endpoint, Moment, read_json, read_optional_json
from sandbox.service import Sandbox
from sandbox.state.records.certificates import KsefCertificate

_SERIAL = re.compile(r"[0-9A-F]{16}")

Serial = Annotated[str, Field(pattern=r"^[0-9A-F]{16}$")]
Kind = Literal["Authentication", "Offline"]


class _Retrieve(Body):
    certificate_serial_numbers: list[Serial] = Field(min_length=1, max_length=10)


class _Query(Body):
    certificate_serial_number: Serial | None = None
    name: str | None = None
    type: Kind | None = None
    status: Literal["Active", "Blocked", "Revoked", "Expired"] | None = None
    expires_after: Moment | None = None


class _Revoke(Body):
    revocation_reason: Literal["Unspecified", "Superseded", "KeyCompromise"] | None = None


# Certificates


def _visible(call: Call) -> list[KsefCertificate]:
    """Return the caller's own certificates, newest request first."""
    subject, now = call.principal.login.subject, call.sandbox.clock.now()
    own = [
        item
        for item in call.sandbox.state.certificates.peek()
        if item.owner == subject and item.der and item.available <= now
    ]
    return sorted(own, key=lambda item: item.requested, reverse=True)


async def retrieve(call: Call) -> Response:
    """POST /certificates/retrieve. Unknown and other subjects' certificates are left out: no code is documented for them."""
    wanted = await read_json(call.request, _Retrieve)
    own = {item.serial_number: item for item in _visible(call)}
    found = [own[number] for number in dict.fromkeys(wanted.certificate_serial_numbers) if number in own]
    return JSONResponse(
        {
            "certificates": [
                {
                    "certificate": base64.b64encode(item.der).decode("ascii"),
                    "certificateName": item.name,
                    "certificateSerialNumber": item.serial_number,
                    "certificateType": item.type,
                }
                for item in found
            ]
        }
    )


async def query(call: Call) -> Response:
    """POST /certificates/query: return a page of the caller's certificates."""
    wanted = await read_optional_json(call.request, _Query)
    size, number = page_size(call, maximum=50), page_number(call)
    now = call.sandbox.clock.now()
    found = [item for item in _visible(call) if _matches(item, wanted, now)]
    page = found[number * size : (number + 1) * size]
    return JSONResponse(
        {"certificates": [_listed(item, now) for item in page], "hasMore": (number + 1) * size < len(found)}
    )


def _matches(item: KsefCertificate, wanted: _Query, now: datetime) -> bool:
    return (
        wanted.certificate_serial_number in {None, item.serial_number}
        and (wanted.name is None or wanted.name in item.name)
        and wanted.type in {None, item.type}
        and wanted.status in {None, item.status(now)}
        and (wanted.expires_after is None or item.valid_to > wanted.expires_after)
    )


def _listed(item: KsefCertificate, now: datetime) -> dict[str, Any]:
    body: dict[str, Any] = {
        "certificateSerialNumber": item.serial_number,
        "name": item.name,
        "type": item.type,
        "commonName": item.common_name,
        "status": item.status(now),
        "subjectIdentifier": {"type": item.owner.type, "value": item.owner.value},
        "validFrom": stamp(item.valid_from),
        "validTo": stamp(item.valid_to),
        "requestDate": stamp(item.requested),
    }
    if item.last_use is not None:
        body["lastUseDate"] = stamp(item.last_use)
    return body


async def revoke(call: Call) -> Response:
    """POST /certificates/{certificateSerialNumber}/revoke: revoke; not allowed after a login with a token."""
    sandbox, login = call.sandbox, call.principal.login
    number = serial_number(call, "serial")
    await read_optional_json(call.request, _Revoke)
    if login.method == "Token":
        raise Forbidden(
            "auth-method-not-allowed",
            "Operacja nie jest dostępna dla użytej metody uwierzytelnienia.",
            {"authenticationMethodCategory": "Token"},
        )
    certificate = find_own(call, number)
    if certificate.status(sandbox.clock.now()) != "Active":
        raise bad(25009)
    certificate.revoked = True
    return Response(status_code=204)


def serial_number(call: Call, name: str) -> str:
    """Return the certificate number in the path; raises BadRequest 21405 for another form."""
    number = call.path(name)
    if _SERIAL.fullmatch(number) is None:
        raise bad(21405, f"Numer seryjny '{number}' ma nieprawidłowy format.")
    return number


def find_own(call: Call, number: str) -> KsefCertificate:
    """Return a certificate of the caller, or of the same person's other identifier; raises BadRequest 25008."""
    certificate = call.sandbox.state.certificates.get(number)
    subject = call.principal.login.subject
    if (
        certificate is None
        or certificate.available > call.sandbox.clock.now()
        or not call.sandbox.state.is_same_person(certificate.owner, subject)
    ):
        raise bad(25008)
    return certificate


# Check at a login


def issued_here(sandbox: Sandbox, certificate: x509.Certificate) -> KsefCertificate | None:
    """Return the record of a certificate that the sandbox issued; None for other issuers, even with the same name."""
    number = f"{certificate.serial_number:016X}"
    known = sandbox.state.certificates.get(number)
    if known is None or known.der != certificate.public_bytes(serialization.Encoding.DER):
        return None
    return known


def login_fault(certificate: KsefCertificate, now: datetime) -> str:
    """Return the reason why a login with this certificate fails, or "". KSeF's text for an Offline one is undocumented."""
    if certificate.type != "Authentication":
        return "Niepoprawny certyfikat"
    if certificate.revoked:
        return "Certyfikat odwołany"
    if not certificate.valid_from <= now < certificate.valid_to:
        return "Nieważny certyfikat"
    return ""


ENDPOINTS = (
    Endpoint("POST", "/certificates/retrieve", retrieve, "other"),
    Endpoint("POST", "/certificates/query", query, "other"),
    Endpoint("POST", "/certificates/{serial}/revoke", revoke, "other"),
)
