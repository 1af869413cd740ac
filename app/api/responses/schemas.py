"""Models of the API's answers, from which OpenAPI describes them. `app.shapes` has those that events share."""

from typing import Any

from pydantic import BaseModel, Field

from app import shapes
from app.shapes import Count, Finding, HistoryEntry, KsefAvailability, Sha256, TenantId, Timestamp, UploadId


class Upload(shapes.Upload):
    """One request body and the states of its invoices."""

    links: dict[str, str]


class UploadPage(BaseModel):
    """A page of uploads, newest first."""

    items: list[Upload]
    next: str | None


class UnfinishedUpload(BaseModel):
    """An upload that is sent in pieces."""

    id: UploadId = Field(description="Also the id of the upload once it is complete.")
    complete: bool
    offset: Count = Field(description="How many bytes are durable.")
    bytes: int | None = Field(description="Of the whole body; null until the client sends Upload-Length.")
    content_type: str
    sha256: Sha256 | None = Field(description="As declared by the client; verified before the body is processed.")
    filename: str | None
    reference: str | None
    offline: bool
    flush: bool
    atomic: bool
    created_at: Timestamp
    expires_at: Timestamp | None = Field(description="When it is dropped unless more bytes arrive before.")
    links: dict[str, str]


class UnfinishedPage(BaseModel):
    """A page of uploads that are not complete, newest first."""

    items: list[UnfinishedUpload]
    next: str | None


class InvoiceReceipt(BaseModel):
    """An acknowledged single invoice: durable and committed; checked only if the request asked for that."""

    id: shapes.InvoiceId
    sha256: Sha256
    links: dict[str, str]


class InvoiceDetail(shapes.Invoice):
    """One invoice with its history and the addresses of its XML, UPO and QR code."""

    history: list[HistoryEntry]
    links: dict[str, str]


class InvoicePage(BaseModel):
    """A page of invoices, oldest first."""

    items: list[shapes.Invoice]
    next: str | None


class CheckResult(BaseModel):
    """The outcome of a dry run."""

    valid: bool
    findings: list[Finding]


class SessionDetail(shapes.Session):
    """One session with its history."""

    upload_by: Timestamp | None = Field(
        description="When the links of its parts end; null before opening and after the end."
    )
    close_by: Timestamp | None = Field(
        description="When KSeF cancels the session unless it is closed; null before opening and after the end."
    )
    age_seconds: int | None = Field(description="Since its opening, until now or its end; null before opening.")
    history: list[HistoryEntry]
    links: dict[str, str]


class SessionPage(BaseModel):
    """A page of sessions, newest first."""

    items: list[shapes.Session]
    next: str | None


class UpoPages(BaseModel):
    """The pages of a UPO that has more than one."""

    items: list[shapes.UpoPage]


class FlushResult(BaseModel):
    """The tenant's lanes that a flush seals, and the number of invoices queued in them."""

    lanes: Count
    queued: Count


class ReleaseResult(BaseModel):
    """The number of invoices that were released, and of those that still wait for a decision."""

    released: Count
    held_invoices: Count


class TenantInfo(BaseModel):
    """The tenant whose API key was used."""

    id: TenantId
    nip: str
    name: str
    credential: str = Field(
        description="How the service logs in to KSeF for this tenant: `self_signed`, `certificate` or `ksef_token`; expect others."
    )
    compression: str = Field(description="Of its packages: `zip` or `targz`; expect others.")
    late_invoices: str = Field(
        description="What happens to invoices that miss the day of their P_1: `send`, or `hold` for a decision; expect others."
    )
    created_at: Timestamp


class Limits(BaseModel):
    """Limits and periods of this installation, as they apply to the tenant."""

    max_upload_bytes: int
    max_invoice_bytes: int
    session_max_invoices: int
    part_bytes: int
    linger_seconds: float
    midnight_margin_seconds: float
    retention_days: int


class Latarnia(BaseModel):
    """The last answer of the ministry's status service: a second opinion that decides nothing."""

    status: str
    announcements: list[dict[str, Any]]
    at: Timestamp


class KsefStatus(KsefAvailability):
    """Whether KSeF answers, and what the ministry's status service says about it."""

    latarnia: Latarnia | None = None


class AttachmentPermission(BaseModel):
    """Whether the tenant may send invoices with attachments, as KSeF answered last."""

    allowed: bool | None = Field(
        description="null: not known, or not known for certain any more. Such invoices are then sent, and KSeF decides."
    )
    ends_at: Timestamp | None = Field(description="When the consent ends, or when it ended; null: no end is known.")
    reason: str | None = Field(description="Why KSeF gives no answer; null when it does, or was not asked yet.")
    checked_at: Timestamp | None


class Usage(BaseModel):
    """The used part of a limit."""

    used: int
    most: int


class Account(BaseModel):
    """The tenant of the API key, its limits and permissions, and the state of the service for it."""

    tenant: TenantInfo
    environment: str
    ksef_url: str
    limits: Limits
    held_invoices: Count = Field(description="Invoices that wait for a decision: release or withdraw them.")
    ksef: KsefStatus
    attachments: AttachmentPermission
    accepts_uploads: bool = Field(
        description="False while uploads get 429 or 503: too many invoices or bytes wait, or the disk is nearly full."
    )
    waiting: dict[str, Usage] = Field(
        description="The tenant's waiting work and its limits: `concurrent_uploads` being received, `unread_uploads`, "
        "`spooled_bytes` of these, and `waiting_invoices` that have no session yet. At a limit uploads get 429; at the limit of "
        "`waiting_invoices` single posts do, too."
    )
    quota: dict[str, Any] = Field(
        description="Requests left by KSeF's limit group in any second, minute and hour (null: no limit); `blocked_until` "
        "while KSeF or its front layer refuses requests of the group, or of all groups."
    )


class Liveness(BaseModel):
    """The process answers."""

    status: str
    version: str
    warnings: list[dict[str, str]] = Field(
        default_factory=list, description="Reasons why part of the work is not done, each with `part` and `message`."
    )
