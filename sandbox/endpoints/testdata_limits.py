"""Endpoints of `/testdata/limits/*` and `/testdata/rate-limits`: set limits of a context, or reset them to the defaults.

Source: KSeF API 2.9, SetSessionLimitsRequest, SetSubjectLimitsRequest, SetRateLimitsRequest; ksef-docs, limity.md.
"""

from typing import Any, Literal, cast

from pydantic import Field
from starlette.responses import Response

from sandbox.errors import bad
from sandbox.guard import Body, Call, Endpoint, read_json, read_optional_json
from sandbox.options import ApiVersion
from sandbox.processing.context_limits import limits_of
from sandbox.state.ratelimits import make_limiter
from sandbox.state.records.limits import ContextLimits, SessionLimits

_INT32 = 2**31 - 1


class _Session(Body):
    max_invoice_size_in_mb: int = Field(alias="maxInvoiceSizeInMB", ge=0, le=5)
    max_invoice_with_attachment_size_in_mb: int = Field(alias="maxInvoiceWithAttachmentSizeInMB", ge=0, le=10)
    max_invoices: int = Field(ge=0, le=100_000)

    def limits(self) -> SessionLimits:
        """Convert the limits to the record of the state."""
        return SessionLimits(
            self.max_invoices, self.max_invoice_size_in_mb, self.max_invoice_with_attachment_size_in_mb
        )


class _Collective(Body):
    max_invoices: int = Field(ge=2, le=5000)


class _SessionLimits(Body):
    online_session: _Session
    batch_session: _Session
    collective_identifier: _Collective | None = None


class _Enrollments(Body):
    max_enrollments: int | None = Field(None, ge=0, le=_INT32)


class _Certificates(Body):
    max_certificates: int | None = Field(None, ge=0, le=_INT32)


class _SubjectLimits(Body):
    # The contract allows a missing member, but not null.
    subject_identifier_type: Literal["Nip", "Pesel", "Fingerprint"] = Field(default=cast(Any, None))
    enrollment: _Enrollments | None = None
    certificate: _Certificates | None = None


class _Rate(Body):
    per_second: int = Field(ge=-_INT32 - 1, le=_INT32)
    per_minute: int = Field(ge=-_INT32 - 1, le=_INT32)
    per_hour: int = Field(ge=-_INT32 - 1, le=_INT32)


class _Rates(Body):
    online_session: _Rate
    batch_session: _Rate
    invoice_send: _Rate
    invoice_status: _Rate
    session_list: _Rate
    session_invoice_list: _Rate
    session_misc: _Rate
    invoice_metadata: _Rate
    invoice_export: _Rate
    invoice_export_status: _Rate
    invoice_download: _Rate
    collective_identifier: _Rate
    other: _Rate


class _RateLimits(Body):
    rate_limits: _Rates


def _done() -> Response:
    return Response(status_code=200)


async def set_session_limits(call: Call) -> Response:
    """POST /testdata/limits/context/session. The limits also apply to open sessions."""
    wanted = await read_json(call.request, _SessionLimits)
    context = call.principal.login.context
    collective = wanted.collective_identifier
    if collective is None and call.sandbox.options.api is not ApiVersion.V2_7:
        raise bad(21405, "'collectiveIdentifier' jest wymagany.")
    call.sandbox.state.context_limits[context] = ContextLimits(
        wanted.online_session.limits(),
        wanted.batch_session.limits(),
        collective.max_invoices if collective else limits_of(call.sandbox, context).collective,
    )
    return _done()


async def reset_session_limits(call: Call) -> Response:
    """DELETE /testdata/limits/context/session."""
    call.sandbox.state.context_limits.pop(call.principal.login.context, None)
    return _done()


async def set_subject_limits(call: Call) -> Response:
    """POST /testdata/limits/subject/certificate: set limits of a subject; a missing member means the default.

    KSeF's answer to a `subjectIdentifierType` other than the caller's is not documented; the sandbox answers 21405.
    """
    wanted = await read_optional_json(call.request, _SubjectLimits)
    subject = call.principal.login.subject
    if wanted.subject_identifier_type not in {None, subject.type}:
        raise bad(21405, f"'subjectIdentifierType' nie jest typem bieżącego podmiotu: {subject.type}.")
    call.sandbox.state.subject_limits[subject] = (
        wanted.enrollment.max_enrollments if wanted.enrollment else None,
        wanted.certificate.max_certificates if wanted.certificate else None,
    )
    return _done()


async def reset_subject_limits(call: Call) -> Response:
    """DELETE /testdata/limits/subject/certificate."""
    call.sandbox.state.subject_limits.pop(call.principal.login.subject, None)
    return _done()


async def set_rate_limits(call: Call) -> Response:
    """POST /testdata/rate-limits: set limits that are enforced in this context even if the sandbox enforces no others."""
    wanted = await read_json(call.request, _RateLimits)
    groups = wanted.rate_limits.model_dump(by_alias=True)
    call.sandbox.limiter.override(
        call.principal.rate_key,
        {group: (rate["perSecond"], rate["perMinute"], rate["perHour"]) for group, rate in groups.items()},
    )
    return _done()


async def reset_rate_limits(call: Call) -> Response:
    """DELETE /testdata/rate-limits."""
    call.sandbox.limiter.restore_default(call.principal.rate_key)
    return _done()


async def production_rate_limits(call: Call) -> Response:
    """POST /testdata/rate-limits/production: enforce production's limits in this context."""
    production = make_limiter(call.sandbox.options.api, enforced=True).limits
    call.sandbox.limiter.override(call.principal.rate_key, dict(production))
    return _done()


ENDPOINTS = (
    Endpoint("POST", "/testdata/limits/context/session", set_session_limits, "other"),
    Endpoint("DELETE", "/testdata/limits/context/session", reset_session_limits, "other"),
    Endpoint("POST", "/testdata/limits/subject/certificate", set_subject_limits, "other"),
    Endpoint("DELETE", "/testdata/limits/subject/certificate", reset_subject_limits, "other"),
    Endpoint("POST", "/testdata/rate-limits", set_rate_limits, "other"),
    Endpoint("DELETE", "/testdata/rate-limits", reset_rate_limits, "other"),
    Endpoint("POST", "/testdata/rate-limits/production", production_rate_limits, "other"),
)
