"""Table of each operation's answer, and the check of every answer before it is sent."""

import logging
import re
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.responses import JSONResponse, Response

from sandbox.answers.certificates import (
    CertificateLimits,
    Certificates,
    EnrollmentData,
    EnrollmentStatus,
    EnrollmentTaken,
    RetrievedCertificates,
)
from sandbox.answers.ksef_tokens import TokenMade, Tokens, TokenStatus
from sandbox.answers.login import Challenge, Logins, LoginStarted, LoginStatus, NewAccessToken, TokenPair
from sandbox.answers.metadata import MetadataFound
from sandbox.answers.reference_data import (
    AttachmentConsent,
    ContextLimits,
    ContextLimits27,
    PublicKey,
    RateLimits,
    RateLimits27,
    SubjectLimits,
)
from sandbox.answers.sessions import BatchOpened, Invoice, Invoices, InvoiceTaken, OnlineOpened, Sessions, SessionStatus
from sandbox.options import ApiVersion

logger = logging.getLogger("sandbox")

ANSWERS: dict[tuple[str, str], tuple[int, Any]] = {
    ("POST", "/auth/challenge"): (200, Challenge),
    ("POST", "/auth/xades-signature"): (202, LoginStarted),
    ("POST", "/auth/ksef-token"): (202, LoginStarted),
    ("GET", "/auth/{}"): (200, LoginStatus),
    ("POST", "/auth/token/redeem"): (200, TokenPair),
    ("POST", "/auth/token/refresh"): (200, NewAccessToken),
    ("GET", "/auth/sessions"): (200, Logins),
    ("DELETE", "/auth/sessions/current"): (204, None),
    ("DELETE", "/auth/sessions/{}"): (204, None),
    ("GET", "/security/public-key-certificates"): (200, list[PublicKey]),
    ("GET", "/limits/context"): (200, ContextLimits),
    ("GET", "/limits/subject"): (200, SubjectLimits),
    ("GET", "/rate-limits"): (200, RateLimits),
    ("GET", "/permissions/attachments/status"): (200, AttachmentConsent),
    ("POST", "/sessions/batch"): (201, BatchOpened),
    ("POST", "/sessions/batch/{}/close"): (204, None),
    ("POST", "/sessions/online"): (201, OnlineOpened),
    ("POST", "/sessions/online/{}/invoices"): (202, InvoiceTaken),
    ("POST", "/sessions/online/{}/close"): (204, None),
    ("GET", "/sessions"): (200, Sessions),
    ("GET", "/sessions/{}"): (200, SessionStatus),
    ("GET", "/sessions/{}/invoices"): (200, Invoices),
    ("GET", "/sessions/{}/invoices/failed"): (200, Invoices),
    ("GET", "/sessions/{}/invoices/{}"): (200, Invoice),
    ("GET", "/sessions/{}/upo/{}"): (200, "xml"),
    ("GET", "/sessions/{}/invoices/{}/upo"): (200, "xml"),
    ("GET", "/sessions/{}/invoices/ksef/{}/upo"): (200, "xml"),
    ("GET", "/invoices/ksef/{}"): (200, "xml"),
    ("POST", "/invoices/query/metadata"): (200, MetadataFound),
    ("POST", "/tokens"): (202, TokenMade),
    ("GET", "/tokens"): (200, Tokens),
    ("GET", "/tokens/{}"): (200, TokenStatus),
    ("DELETE", "/tokens/{}"): (204, None),
    ("GET", "/certificates/limits"): (200, CertificateLimits),
    ("GET", "/certificates/enrollments/data"): (200, EnrollmentData),
    ("POST", "/certificates/enrollments"): (202, EnrollmentTaken),
    ("GET", "/certificates/enrollments/{}"): (200, EnrollmentStatus),
    ("POST", "/certificates/retrieve"): (200, RetrievedCertificates),
    ("POST", "/certificates/query"): (200, Certificates),
    ("POST", "/certificates/{}/revoke"): (204, None),
}
"""Operation, with `{}` for each parameter of its path -> status of success and form of the body. Operations of
`/testdata/` answer 200 without a body."""
_OLDER: dict[tuple[str, str], Any] = {
    ("GET", "/limits/context"): ContextLimits27,
    ("GET", "/rate-limits"): RateLimits27,
}


@dataclass(frozen=True, slots=True)
class ExpectedAnswer:
    """An operation's answer in the case of success."""

    status: int
    shape: Any
    """A model, a list of one, "xml", or None for no body."""
    adapter: TypeAdapter[Any] | None


def expected_answer(method: str, path: str, api: ApiVersion) -> ExpectedAnswer:
    """Return an operation's answer. Raises LookupError for an operation without a row."""
    key = method, re.sub(r"\{[^}]*\}", "{}", path)
    if path.startswith("/testdata/"):
        return ExpectedAnswer(200, None, None)
    status, shape = ANSWERS[key]
    shape = _OLDER.get(key, shape) if api is ApiVersion.V2_7 else shape
    return ExpectedAnswer(status, shape, None if shape in {None, "xml"} else TypeAdapter(shape))


def checked_answer(response: Response, expected: ExpectedAnswer) -> Response:
    """Return the answer unchanged, or a 500 if it breaks the contract, so that no client relies on a wrong answer."""
    if response.status_code >= 400:
        return response
    fault = _fault(response, expected)
    if fault is None:
        return response
    logger.error("an answer of the sandbox breaks the contract: %s", fault)
    return JSONResponse({"sandboxFault": fault}, status_code=500)


def _fault(response: Response, expected: ExpectedAnswer) -> str | None:
    if response.status_code != expected.status:
        return f"status {response.status_code} instead of {expected.status}"
    if expected.shape == "xml":
        return None if response.media_type == "application/xml" else f"media type {response.media_type}"
    if expected.adapter is None:
        return "a body where none is allowed" if response.body else None
    try:
        expected.adapter.validate_json(bytes(response.body))
    except ValidationError as error:
        # The message has only the place of the faulty value, because the value may be a secret.
        return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['type']}" for item in error.errors())
    return None
