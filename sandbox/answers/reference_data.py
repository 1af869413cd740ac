"""Answers of /security, /limits, /rate-limits and /permissions."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from sandbox.answers.shapes import Answer, Base64, Count, Sha256


class PublicKey(Answer):
    """One entry of GET /security/public-key-certificates."""

    certificate: Base64
    certificate_id: Base64
    public_key_id: Sha256
    valid_from: AwareDatetime
    valid_to: AwareDatetime
    usage: list[Literal["KsefTokenEncryption", "SymmetricKeyEncryption"]]


class SessionLimits(Answer):
    """Limits of the content of one kind of session."""

    max_invoice_size_in_mb: Annotated[Count, Field(alias="maxInvoiceSizeInMB")]
    max_invoice_with_attachment_size_in_mb: Annotated[Count, Field(alias="maxInvoiceWithAttachmentSizeInMB")]
    max_invoices: Count


class CollectiveIdentifierLimits(Answer):
    """The most invoices in one collective identifier."""

    max_invoices: Annotated[int, Field(ge=2)]


class ContextLimits27(Answer):
    """GET /limits/context as of API 2.7."""

    online_session: SessionLimits
    batch_session: SessionLimits


class ContextLimits(ContextLimits27):
    """GET /limits/context."""

    collective_identifier: CollectiveIdentifierLimits


class EnrollmentLimits(Answer):
    """The most certificate requests."""

    max_enrollments: int = 0


class CertificateCount(Answer):
    """The most valid certificates."""

    max_certificates: int = 0


class SubjectLimits(Answer):
    """GET /limits/subject."""

    enrollment: EnrollmentLimits | None = None
    certificate: CertificateCount | None = None


class Rates(Answer):
    """The limits of one group; -1 is no limit."""

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
