"""What a sender asks before it sends: public keys, limits, attachments."""

import base64

from starlette.responses import JSONResponse, Response

from sandbox.clock import stamp
from sandbox.gate import Call, Endpoint

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
            for key in (keys.token_encryption, keys.symmetric_encryption)
        ]
    )


async def context_limits(call: Call) -> Response:
    """GET /limits/context."""
    session = {
        "maxInvoiceSizeInMB": 1,
        "maxInvoiceWithAttachmentSizeInMB": 3,
        "maxInvoices": call.sandbox.options.max_invoices,
    }
    return JSONResponse(
        {"onlineSession": session, "batchSession": session, "collectiveIdentifier": {"maxInvoices": 500}}
    )


async def subject_limits(_call: Call) -> Response:
    """GET /limits/subject: the defaults of a subject identified by NIP."""
    return JSONResponse({"enrollment": {"maxEnrollments": 300}, "certificate": {"maxCertificates": 100}})


async def rate_limits(call: Call) -> Response:
    """GET /rate-limits: what is enforced now, -1 for no limit."""
    limits = call.sandbox.limiter.limits
    return JSONResponse({group: dict(zip(_WINDOW_NAMES, values, strict=True)) for group, values in limits.items()})


async def attachments(call: Call) -> Response:
    """GET /permissions/attachments/status."""
    nip = call.principal.login.context.nip
    allowed = call.sandbox.state.attachments
    body: dict[str, object] = {"isAttachmentAllowed": nip in allowed}
    return JSONResponse(body)


ENDPOINTS = (
    Endpoint("GET", "/security/public-key-certificates", public_keys, "anonymous", ()),
    Endpoint("GET", "/limits/context", context_limits, "other"),
    Endpoint("GET", "/limits/subject", subject_limits, "other"),
    Endpoint("GET", "/rate-limits", rate_limits, "other"),
    Endpoint(
        "GET",
        "/permissions/attachments/status",
        attachments,
        "other",
        any_of=frozenset({"CredentialsManage", "CredentialsRead"}),
    ),
)
