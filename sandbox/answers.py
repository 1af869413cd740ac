"""The answers of every operation as models: what leaves the sandbox is held against them first.

Members, forms and bounds as in KSeF API 2.9; a member too many is as wrong as one too few. The models are also what
the sandbox's own OpenAPI document says (`sandbox.openapi`).
"""

import base64
import binascii
import logging
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from starlette.responses import JSONResponse, Response

from sandbox.ids import KSEF_NUMBER
from sandbox.options import ApiVersion

logger = logging.getLogger("sandbox")


def _base64(value: str) -> str:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not Base64") from error
    return value


def _ksef_number(value: str) -> str:
    if KSEF_NUMBER.fullmatch(value) is None:
        raise ValueError("not a KSeF number")
    return value


Base64 = Annotated[str, AfterValidator(_base64), WithJsonSchema({"type": "string", "format": "byte"})]
Sha256 = Annotated[
    str,
    Field(min_length=44, max_length=44),
    AfterValidator(_base64),
    WithJsonSchema({"type": "string", "minLength": 44, "maxLength": 44}),
]
Reference = Annotated[str, Field(min_length=36, max_length=36)]
Count = Annotated[int, Field(ge=0, lt=2**31)]
KsefNumber = Annotated[
    str,
    AfterValidator(_ksef_number),
    WithJsonSchema({"type": "string", "minLength": 35, "maxLength": 36, "pattern": f"^{KSEF_NUMBER.pattern}$"}),
]
Serial = Annotated[str, Field(pattern="^[0-9A-F]{16}$")]
Description = Annotated[str, Field(min_length=5, max_length=256)]


class Answer(BaseModel):
    """A JSON answer; members have the contract's names."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", validate_by_alias=True, validate_by_name=False)


class Status(Answer):
    """A code with its sentence."""

    code: int
    description: Annotated[str, Field(min_length=1)]
    details: list[str] | None = None


# --- login


class Challenge(Answer):
    """POST /auth/challenge."""

    challenge: Reference
    timestamp: AwareDatetime
    timestamp_ms: int
    client_ip: str


class Token(Answer):
    """A token and until when it is good."""

    token: str
    valid_until: AwareDatetime


class LoginStarted(Answer):
    """POST /auth/xades-signature and /auth/ksef-token."""

    reference_number: Reference
    authentication_token: Token


class MethodInfo(Answer):
    """How somebody logged in."""

    category: Literal["XadesSignature", "NationalNode", "Token", "Other"]
    code: str
    display_name: str


class LoginStatus(Answer):
    """GET /auth/{referenceNumber}."""

    start_date: AwareDatetime
    authentication_method: Literal[
        "Token", "TrustedProfile", "InternalCertificate", "QualifiedSignature", "QualifiedSeal", "PersonalSignature",
        "PeppolSignature",
    ]  # fmt: skip
    authentication_method_info: MethodInfo
    status: Status
    is_token_redeemed: bool | None = None
    last_token_refresh_date: AwareDatetime | None = None
    refresh_token_valid_until: AwareDatetime | None = None


class ListedLogin(LoginStatus):
    """One entry of GET /auth/sessions."""

    reference_number: Reference
    is_current: bool = False


class Logins(Answer):
    """GET /auth/sessions."""

    continuation_token: str | None = None
    items: list[ListedLogin]


class TokenPair(Answer):
    """POST /auth/token/redeem."""

    access_token: Token
    refresh_token: Token


class NewAccessToken(Answer):
    """POST /auth/token/refresh."""

    access_token: Token


# --- reference data


class PublicKey(Answer):
    """One entry of GET /security/public-key-certificates."""

    certificate: Base64
    certificate_id: Base64
    public_key_id: Sha256
    valid_from: AwareDatetime
    valid_to: AwareDatetime
    usage: list[Literal["KsefTokenEncryption", "SymmetricKeyEncryption"]]


class SessionLimits(Answer):
    """What one kind of session may hold."""

    max_invoice_size_in_mb: Annotated[Count, Field(alias="maxInvoiceSizeInMB")]
    max_invoice_with_attachment_size_in_mb: Annotated[Count, Field(alias="maxInvoiceWithAttachmentSizeInMB")]
    max_invoices: Count


class CollectiveIdentifierLimits(Answer):
    """How many invoices one collective identifier may join."""

    max_invoices: Annotated[int, Field(ge=2)]


class ContextLimits27(Answer):
    """GET /limits/context as of API 2.7."""

    online_session: SessionLimits
    batch_session: SessionLimits


class ContextLimits(ContextLimits27):
    """GET /limits/context."""

    collective_identifier: CollectiveIdentifierLimits


class EnrollmentLimits(Answer):
    """How many certificates may be asked for."""

    max_enrollments: int = 0


class CertificateCount(Answer):
    """How many certificates may be valid."""

    max_certificates: int = 0


class SubjectLimits(Answer):
    """GET /limits/subject."""

    enrollment: EnrollmentLimits | None = None
    certificate: CertificateCount | None = None


class Rates(Answer):
    """The limits of one group; -1 is none."""

    per_second: int
    per_minute: int
    per_hour: int


class RateLimits27(Answer):
    """GET /rate-limits as of API 2.7: closing shares a group with opening."""

    online_session: Rates
    batch_session: Rates
    invoice_send: Rates
    invoice_status: Rates
    session_list: Rates
    session_invoice_list: Rates
    session_misc: Rates
    invoice_metadata: Rates
    invoice_export: Rates
    invoice_export_status: Rates
    invoice_download: Rates
    collective_identifier: Rates
    other: Rates


class RateLimits(RateLimits27):
    """GET /rate-limits."""

    online_session_close: Rates
    batch_session_close: Rates
    anonymous: Rates
    global_: Annotated[Rates, Field(alias="global")]


class AttachmentConsent(Answer):
    """GET /permissions/attachments/status."""

    is_attachment_allowed: bool = False
    revoked_date: AwareDatetime | None = None


# --- sessions


class PartUpload(Answer):
    """Where one part goes."""

    ordinal_number: Annotated[int, Field(ge=1)]
    method: str
    url: str
    headers: dict[str, str | None]


class BatchOpened(Answer):
    """POST /sessions/batch."""

    reference_number: Reference
    part_upload_requests: list[PartUpload]


class OnlineOpened(Answer):
    """POST /sessions/online."""

    reference_number: Reference
    valid_until: AwareDatetime


class InvoiceTaken(Answer):
    """POST /sessions/online/{referenceNumber}/invoices."""

    reference_number: Reference


class UpoPage(Answer):
    """One page of a session's receipt."""

    reference_number: Reference
    download_url: str
    download_url_expiration_date: AwareDatetime


class Upo(Answer):
    """A session's receipt."""

    pages: list[UpoPage]


class SessionStatus(Answer):
    """GET /sessions/{referenceNumber}."""

    status: Status
    date_created: AwareDatetime
    date_updated: AwareDatetime
    valid_until: AwareDatetime | None = None
    upo: Upo | None = None
    invoice_count: Count | None = None
    successful_invoice_count: Count | None = None
    failed_invoice_count: Count | None = None


class ListedSession(Answer):
    """One entry of GET /sessions."""

    reference_number: Reference
    status: Status
    date_created: AwareDatetime
    date_updated: AwareDatetime
    valid_until: AwareDatetime | None = None
    total_invoice_count: Count
    successful_invoice_count: Count
    failed_invoice_count: Count


class Sessions(Answer):
    """GET /sessions."""

    continuation_token: str | None = None
    sessions: list[ListedSession]


class InvoiceStatus(Status):
    """A verdict; a duplicate names its original in the extensions."""

    extensions: dict[str, str | None] | None = None


class Invoice(Answer):
    """GET /sessions/{referenceNumber}/invoices/{invoiceReferenceNumber}, and one entry of the lists."""

    ordinal_number: Annotated[int, Field(ge=1)]
    invoice_number: Annotated[str, Field(max_length=256)] | None = None
    ksef_number: KsefNumber | None = None
    reference_number: Reference
    invoice_hash: Sha256
    invoice_file_name: Annotated[str, Field(max_length=128)] | None = None
    acquisition_date: AwareDatetime | None = None
    invoicing_date: AwareDatetime
    permanent_storage_date: AwareDatetime | None = None
    upo_download_url: str | None = None
    upo_download_url_expiration_date: AwareDatetime | None = None
    invoicing_mode: Literal["Online", "Offline"] | None = None
    status: InvoiceStatus


class Invoices(Answer):
    """GET /sessions/{referenceNumber}/invoices and .../invoices/failed."""

    continuation_token: str | None = None
    invoices: list[Invoice]


# --- KSeF tokens


class TokenMade(Answer):
    """POST /tokens; the only time the token is shown."""

    reference_number: Reference
    token: Annotated[str, Field(max_length=160)]


class TokenAuthor(Answer):
    """Who made a token."""

    type: Literal["Nip", "Pesel", "Fingerprint"]
    value: str


class TokenContext(Answer):
    """Where a token is good."""

    type: Literal["Nip", "InternalId", "NipVatUe", "PeppolId"]
    value: str


class TokenStatus(Answer):
    """GET /tokens/{referenceNumber}, and one entry of the list."""

    reference_number: Reference
    author_identifier: TokenAuthor
    context_identifier: TokenContext
    description: Description
    requested_permissions: list[
        Literal[
            "InvoiceRead", "InvoiceWrite", "CredentialsRead", "CredentialsManage", "SubunitManage",
            "EnforcementOperations", "Introspection", "CollectiveIdentifierManage",
        ]
    ]  # fmt: skip
    date_created: AwareDatetime
    last_use_date: AwareDatetime | None = None
    status: Literal["Pending", "Active", "Revoking", "Revoked", "Failed"]
    status_details: list[str] | None = None


class Tokens(Answer):
    """GET /tokens."""

    continuation_token: str | None = None
    tokens: list[TokenStatus]


# --- certificates


class Remaining(Answer):
    """What is left of a limit."""

    remaining: int
    limit: int


class CertificateLimits(Answer):
    """GET /certificates/limits."""

    can_request: bool
    enrollment: Remaining
    certificate: Remaining


class EnrollmentData(Answer):
    """GET /certificates/enrollments/data: the subject that a request must carry, word by word."""

    common_name: str
    country_name: str
    given_name: str | None = None
    surname: str | None = None
    serial_number: str | None = None
    unique_identifier: str | None = None
    organization_name: str | None = None
    organization_identifier: str | None = None


class EnrollmentTaken(Answer):
    """POST /certificates/enrollments."""

    reference_number: Reference
    timestamp: AwareDatetime


class EnrollmentStatus(Answer):
    """GET /certificates/enrollments/{referenceNumber}."""

    request_date: AwareDatetime
    status: Status
    certificate_serial_number: Serial | None = None


CertificateKind = Literal["Authentication", "Offline"]


class RetrievedCertificate(Answer):
    """One certificate, in DER and Base64."""

    certificate: Base64
    certificate_name: str
    certificate_serial_number: Serial
    certificate_type: CertificateKind


class RetrievedCertificates(Answer):
    """POST /certificates/retrieve."""

    certificates: list[RetrievedCertificate]


class CertificateOwner(Answer):
    """Whose a certificate is."""

    type: Literal["Nip", "Pesel", "Fingerprint"]
    value: Annotated[str, Field(min_length=10, max_length=64)]


class ListedCertificate(Answer):
    """One entry of POST /certificates/query."""

    certificate_serial_number: Serial
    name: Annotated[str, Field(max_length=100)]
    type: CertificateKind
    common_name: str
    status: Literal["Active", "Blocked", "Revoked", "Expired"]
    subject_identifier: CertificateOwner
    valid_from: AwareDatetime
    valid_to: AwareDatetime
    last_use_date: AwareDatetime | None = None
    request_date: AwareDatetime


class Certificates(Answer):
    """POST /certificates/query."""

    certificates: list[ListedCertificate]
    has_more: bool


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
"""Operation, its path's parameters made anonymous -> status of success and shape of the body. `/testdata/` answers
200 without a body."""
_OLDER: dict[tuple[str, str], Any] = {
    ("GET", "/limits/context"): ContextLimits27,
    ("GET", "/rate-limits"): RateLimits27,
}


@dataclass(frozen=True, slots=True)
class Described:
    """What an operation answers when it succeeds."""

    status: int
    shape: Any
    """A model, a list of one, "xml", or None for no body."""
    adapter: TypeAdapter[Any] | None


def answer_of(method: str, path: str, api: ApiVersion) -> Described:
    """What an operation answers. Raises LookupError for an operation without a row."""
    key = method, re.sub(r"\{[^}]*\}", "{}", path)
    if path.startswith("/testdata/"):
        return Described(200, None, None)
    status, shape = ANSWERS[key]
    shape = _OLDER.get(key, shape) if api is ApiVersion.V2_7 else shape
    return Described(status, shape, None if shape in {None, "xml"} else TypeAdapter(shape))


def leaving(response: Response, described: Described) -> Response:
    """The answer itself, or 500 where it breaks the contract: then the sandbox is wrong, and nobody shall build on it."""
    if response.status_code >= 400:
        return response
    fault = _fault(response, described)
    if fault is None:
        return response
    logger.error("an answer of the sandbox breaks the contract: %s", fault)
    return JSONResponse({"sandboxFault": fault}, status_code=500)


def _fault(response: Response, described: Described) -> str | None:
    if response.status_code != described.status:
        return f"status {response.status_code} instead of {described.status}"
    if described.shape == "xml":
        return None if response.media_type == "application/xml" else f"media type {response.media_type}"
    if described.adapter is None:
        return "a body where none belongs" if response.body else None
    try:
        described.adapter.validate_json(bytes(response.body))
    except ValidationError as error:
        # The faulty value may be a secret: only its place is told.
        return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['type']}" for item in error.errors())
    return None
