"""Endpoints for requests of KSeF certificates: limits, data for a request, the request, its outcome.

Source: KSeF API 2.9, /certificates/limits and /certificates/enrollments; ksef-docs, certyfikaty-KSeF.md, limity.md.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from cryptography import x509
from pydantic import Field
from starlette.responses import JSONResponse, Response

from sandbox.auth.certificate_issuing import CertificateRequest, issue, new_serial_number, read_request
from sandbox.clock import stamp
from sandbox.endpoints.batch import decode_base64
from sandbox.errors import Forbidden, Gone, bad
from sandbox.guard import Body, Call, Endpoint, Moment, read_json
from sandbox.ids import new_reference
from sandbox.service import Sandbox
from sandbox.state.records.certificates import Enrollment, KsefCertificate
from sandbox.state.records.common import Identifier, Status

LIFE = timedelta(days=730)
"""An observed value, which is not documented."""
_RETENTION = timedelta(days=30)
_LATEST_START = datetime(2200, 1, 1, tzinfo=UTC)
_DEFAULT_LIMITS = {"Nip": (300, 100), "Pesel": (12, 6), "Fingerprint": (12, 6)}

_TAKEN = Status(100, "Wniosek przyjęty do realizacji")
_ISSUED = Status(200, "Wniosek obsłużony (certyfikat wygenerowany)")
_FOREIGN_KEY = Status(400, "Wniosek odrzucony", ("Klucz publiczny został już certyfikowany przez inny podmiot.",))


class _Enroll(Body):
    certificate_name: str = Field(min_length=5, max_length=100, pattern=r"^[a-zA-Z0-9_\-\ ąćęłńóśźżĄĆĘŁŃÓŚŹŻ]+$")
    certificate_type: Literal["Authentication", "Offline"]
    csr: str
    valid_from: Moment | None = None


# Limits


def subject_limits(sandbox: Sandbox, subject: Identifier) -> tuple[int, int]:
    """Return the most requests and the most active certificates of a subject."""
    own = sandbox.state.subject_limits.get(subject, (None, None))
    default = _DEFAULT_LIMITS[subject.type]
    return (default[0] if own[0] is None else own[0], default[1] if own[1] is None else own[1])


def _remaining(sandbox: Sandbox, subject: Identifier) -> tuple[int, int]:
    requests, certificates = subject_limits(sandbox, subject)
    now = sandbox.clock.now()
    made = sum(item.owner == subject for item in sandbox.state.enrollments.peek())
    active = sum(item.owner == subject and item.status(now) == "Active" for item in sandbox.state.certificates.peek())
    return max(0, requests - made), max(0, certificates - active)


async def limits(call: Call) -> Response:
    """GET /certificates/limits."""
    subject = call.principal.login.subject
    requests, certificates = subject_limits(call.sandbox, subject)
    more_requests, more_certificates = _remaining(call.sandbox, subject)
    return JSONResponse(
        {
            "canRequest": more_requests > 0 and more_certificates > 0,
            "enrollment": {"remaining": more_requests, "limit": requests},
            "certificate": {"remaining": more_certificates, "limit": certificates},
        }
    )


# Enrolment


async def enrollment_data(call: Call) -> Response:
    """GET /certificates/enrollments/data: return the subject for a request; only after a login with a signature."""
    login = call.principal.login
    if not login.names:
        raise bad(25001)
    return JSONResponse(login.names)


async def enroll(call: Call) -> Response:
    """POST /certificates/enrollments. An invalid request and a full limit are errors; other faults are in the status."""
    sandbox, login = call.sandbox, call.principal.login
    wanted = await read_json(call.request, _Enroll)
    if not login.names:
        raise bad(25002)
    if wanted.valid_from is not None and wanted.valid_from > _LATEST_START:
        raise bad(21405, "'validFrom' jest zbyt odległą datą.")
    der = decode_base64(wanted.csr)
    if not der:
        raise bad(21405, "'csr' nie jest w Base64.")
    request = await asyncio.to_thread(read_request, der, login.names)
    more_requests, more_certificates = _remaining(sandbox, login.subject)
    if not more_requests:
        raise bad(25006)
    if not more_certificates:
        raise bad(25007)
    now = sandbox.clock.now()
    enrollment = Enrollment(
        reference_number=new_reference("CE", now.date()),
        owner=login.subject,
        requested=now,
        ready=now + timedelta(seconds=sandbox.options.processing_delay_seconds),
        outcome=_ISSUED,
    )
    sandbox.state.enrollments[enrollment.reference_number] = enrollment
    forced = sandbox.state.take_forced_outcome("enrollment")
    if forced is not None:
        enrollment.outcome = forced
    elif _is_certified_for_another(sandbox, request, login.subject):
        enrollment.outcome = _FOREIGN_KEY
    else:
        certificate = await _certify(sandbox, enrollment, wanted, request)
        enrollment.serial_number = certificate.serial_number
    body = {"referenceNumber": enrollment.reference_number, "timestamp": stamp(now)}
    return JSONResponse(body, status_code=202)


def _is_certified_for_another(sandbox: Sandbox, request: CertificateRequest, subject: Identifier) -> bool:
    return any(
        item.public_key_hash == request.public_key_hash and item.owner != subject
        for item in sandbox.state.certificates.peek()
    )


async def _certify(
    sandbox: Sandbox, enrollment: Enrollment, wanted: _Enroll, request: CertificateRequest
) -> KsefCertificate:
    # A start in the near past counts as now, because "from now on" is in the past when the request arrives.
    start = enrollment.ready.replace(microsecond=0)
    if wanted.valid_from is not None:
        start = max(start, wanted.valid_from.replace(microsecond=0))
    certificate = KsefCertificate(
        serial_number=new_serial_number(),
        name=wanted.certificate_name,
        type=wanted.certificate_type,
        owner=enrollment.owner,
        common_name=str(request.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value),
        der=b"",
        public_key_hash=request.public_key_hash,
        requested=enrollment.requested,
        available=enrollment.ready,
        valid_from=start,
        valid_to=start + LIFE,
    )
    # The certificate is stored before the next await, so that two concurrent requests cannot both pass the limit.
    sandbox.state.certificates[certificate.serial_number] = certificate
    certificate.der = await asyncio.to_thread(
        issue,
        sandbox.keys.authority,
        request,
        serial_number=certificate.serial_number,
        kind=certificate.type,
        valid_from=certificate.valid_from,
        valid_to=certificate.valid_to,
    )
    return certificate


async def enrollment_status(call: Call) -> Response:
    """GET /certificates/enrollments/{referenceNumber}: return the request's status, for 30 days."""
    enrollment = call.sandbox.state.enrollments.get(call.reference("reference"))
    if enrollment is None:
        raise bad(25005)
    if enrollment.owner != call.principal.login.subject:
        raise Forbidden("insufficient-resource-access", "Brak dostępu do wskazanego zasobu.")
    now = call.sandbox.clock.now()
    if now - enrollment.requested > _RETENTION:
        raise Gone("Status wniosku certyfikacyjnego jest dostępny przez 30 dni.")
    ready = now >= enrollment.ready
    body: dict[str, Any] = {
        "requestDate": stamp(enrollment.requested),
        "status": (enrollment.outcome if ready else _TAKEN).body(),
    }
    if ready and enrollment.serial_number is not None:
        body["certificateSerialNumber"] = enrollment.serial_number
    return JSONResponse(body)


ENDPOINTS = (
    Endpoint("GET", "/certificates/limits", limits, "other"),
    Endpoint("GET", "/certificates/enrollments/data", enrollment_data, "other"),
    Endpoint("POST", "/certificates/enrollments", enroll, "other"),
    Endpoint("GET", "/certificates/enrollments/{reference}", enrollment_status, "other"),
)
