"""Endpoints that a client calls before it sends invoices: public keys, limits, attachments."""

import base64
from datetime import datetime

from starlette.responses import JSONResponse, Response

from sandbox.clock import WARSAW, stamp, warsaw_day
from sandbox.endpoints.certificates_enrollment import subject_limits
from sandbox.guard import Call, Endpoint
from sandbox.options import ApiVersion
from sandbox.processing.context_limits import limits_of
from sandbox.state.records.limits import SessionLimits

_WINDOW_NAMES = ("perSecond", "perMinute", "perHour")


async def public_keys(call: Call) -> Response:
    """GET /security/public-key-certificates."""
    keys = call.sandbox.keys
    return JSONResponse(
        [
            {
                "certificate": base64.b64encode(key.certificate_der).decode("ascii"),
                "certificateId": key.certificate_id,
                "publicKeyId": key.public_key_id,
                "validFrom": stamp(key.certificate.not_valid_before_utc),
                "validTo": stamp(key.certificate.not_valid_after_utc),
                "usage": [key.usage],
            }
            for key in keys.published
        ]
    )


async def context_limits(call: Call) -> Response:
    """GET /limits/context."""
    limits = limits_of(call.sandbox, call.principal.login.context)
    body: dict[str, object] = {"onlineSession": _session(limits.online), "batchSession": _session(limits.batch)}
    if call.sandbox.options.api is not ApiVersion.V2_7:
        body["collectiveIdentifier"] = {"maxInvoices": limits.collective}
    return JSONResponse(body)


def _session(limits: SessionLimits) -> dict[str, int]:
    return {
        "maxInvoiceSizeInMB": limits.max_invoice_mb,
        "maxInvoiceWithAttachmentSizeInMB": limits.max_invoice_with_attachment_mb,
        "maxInvoices": limits.max_invoices,
    }


async def certificate_limits(call: Call) -> Response:
    """GET /limits/subject."""
    requests, certificates = subject_limits(call.sandbox, call.principal.login.subject)
    return JSONResponse({"enrollment": {"maxEnrollments": requests}, "certificate": {"maxCertificates": certificates}})


async def rate_limits(call: Call) -> Response:
    """GET /rate-limits: return the limits enforced in this context now, -1 for no limit."""
    limits = call.sandbox.limiter.limits_of(call.principal.rate_key)
    return JSONResponse({group: dict(zip(_WINDOW_NAMES, values, strict=True)) for group, values in limits.items()})


async def attachments(call: Call) -> Response:
    """GET /permissions/attachments/status."""
    nip = call.principal.login.context.nip or ""
    state = call.sandbox.state
    body: dict[str, object] = {"isAttachmentAllowed": nip in state.may_attach(warsaw_day(call.sandbox.clock.now()))}
    end = state.attachment_ends.get(nip)
    if end is not None:
        body["revokedDate"] = stamp(datetime(end.year, end.month, end.day, tzinfo=WARSAW))
    return JSONResponse(body)


ENDPOINTS = (
    Endpoint("GET", "/security/public-key-certificates", public_keys, "anonymous", ()),
    Endpoint("GET", "/limits/context", context_limits, "other"),
    Endpoint("GET", "/limits/subject", certificate_limits, "other"),
    Endpoint("GET", "/rate-limits", rate_limits, "other"),
    Endpoint(
        "GET",
        "/permissions/attachments/status",
        attachments,
        "other",
        any_of=frozenset({"CredentialsManage", "CredentialsRead"}),
    ),
)
