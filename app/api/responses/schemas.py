"""The shapes of the answers, as OpenAPI describes them. The store makes most documents; these say what is in them."""

from typing import Any

from pydantic import BaseModel, Field

from app.domain.outage import KsefState
from app.domain.states import InvoiceState, SessionState, UploadState


class FindingDocument(BaseModel):
    """One fault (or oddity) of one invoice."""

    rule: str
    severity: str
    message: str
    message_pl: str
    line: int | None = None
    path: str | None = None
    raw: str | None = None


class HistoryEntry(BaseModel):
    """One thing that happened."""

    at: str | None
    action: str
    outcome: str
    detail: dict[str, Any] = {}


class UploadDocument(BaseModel):
    """One request body and what became of its invoices."""

    id: str
    state: UploadState
    bytes: int
    sha256: str | None = Field(
        description="Of the body as it came. Null only while an upload that came in pieces waits to be hashed."
    )
    repeat_of: str | None = Field(
        None, description="The first upload of the same body within seven days; null when there was none."
    )
    reference: str | None
    counts: dict[str, int] = Field(description="Invoices by state; states without invoices are left out.")
    errors: list[dict[str, Any]]
    created_at: str
    completed_at: str | None
    links: dict[str, str]


class UploadPage(BaseModel):
    """A page of uploads, newest first."""

    items: list[UploadDocument]
    next: str | None


class UnfinishedDocument(BaseModel):
    """An upload that arrives in pieces."""

    id: str = Field(description="Of the upload, too, once it is complete.")
    complete: bool
    offset: int = Field(description="How many bytes are durable.")
    bytes: int | None = Field(description="Of the whole body; null while its sender has not told.")
    content_type: str
    sha256: str | None = Field(description="As declared; compared before anything of the body is taken.")
    filename: str | None
    reference: str | None
    offline: bool
    flush: bool
    atomic: bool
    created_at: str
    expires_at: str | None = Field(description="When it is dropped unless more bytes come before.")
    links: dict[str, str]


class UnfinishedPage(BaseModel):
    """A page of uploads that have not arrived whole, newest first."""

    items: list[UnfinishedDocument]
    next: str | None


class SingleReceipt(BaseModel):
    """An acknowledged single invoice: durable and committed, not checked yet unless that was asked for."""

    id: str
    sha256: str
    links: dict[str, str]


class InvoiceDocument(BaseModel):
    """One invoice and all that is known of it."""

    id: str
    state: InvoiceState
    name: str
    number: str | None
    seller_nip: str | None
    kind: str | None
    issue_date: str | None
    sha256: str
    size: int
    upload: str
    session: str | None
    ksef_number: str | None
    acquired_at: str | None
    invoicing_mode: str | None
    findings: list[dict[str, Any]]
    duplicate_of: str | None


class InvoiceDetail(InvoiceDocument):
    """One invoice with its history and the addresses of what belongs to it."""

    history: list[HistoryEntry]
    links: dict[str, str]


class InvoicePage(BaseModel):
    """A page of invoices, oldest first."""

    items: list[InvoiceDocument]
    next: str | None


class CheckDocument(BaseModel):
    """The outcome of a dry run."""

    valid: bool
    findings: list[FindingDocument]


class SessionDocument(BaseModel):
    """One batch session with KSeF."""

    id: str
    state: SessionState
    reference_number: str | None
    form_code: str
    offline_mode: bool
    compression: str
    invoices: int
    parts: int
    bytes: int | None
    ksef_status: int | None
    sealed_at: str
    opened_at: str | None
    closed_at: str | None
    completed_at: str | None
    counts: dict[str, int]
    upo: list[dict[str, Any]]


class SessionDetail(SessionDocument):
    """One session with its history."""

    upload_by: str | None = Field(description="When the links of its parts end; null before opening and after the end.")
    close_by: str | None = Field(description="When KSeF cancels it unless it was closed; null as above.")
    age_seconds: int | None = Field(description="Since its opening, until now or its end; null before opening.")
    history: list[HistoryEntry]
    links: dict[str, str]


class SessionPage(BaseModel):
    """A page of sessions, newest first."""

    items: list[SessionDocument]
    next: str | None


class UpoPages(BaseModel):
    """The pages of a UPO that has more than one."""

    items: list[dict[str, Any]]


class FlushDocument(BaseModel):
    """What a flush concerns: lanes of the tenant, and how many invoices wait in them."""

    lanes: int
    queued: int


class ReleaseDocument(BaseModel):
    """How many held invoices were released, and how many are held still."""

    released: int
    held_invoices: int


class TenantDocument(BaseModel):
    """The tenant whose API key was used."""

    id: str
    nip: str
    name: str
    credential: str = Field(description="How the service logs in to KSeF for this tenant.")
    compression: str
    late_invoices: str = Field(
        description="What becomes of invoices that miss the day of their P_1: `send` or `hold` for a decision."
    )
    created_at: str


class LimitsDocument(BaseModel):
    """What this installation takes."""

    max_upload_bytes: int
    max_invoice_bytes: int
    session_max_invoices: int
    part_bytes: int
    linger_seconds: float
    midnight_margin_seconds: float
    retention_days: int


class LatarniaDocument(BaseModel):
    """What the ministry's status service said last: a second opinion that decides nothing."""

    status: str
    announcements: list[dict[str, Any]]
    at: str


class KsefDocument(BaseModel):
    """Whether KSeF is there. While it is away sending pauses and invoices are taken as ever."""

    state: KsefState
    since: str | None = Field(description="Since when; null when it was never away.")
    reason: str | None
    ordered: bool = Field(description="True when an operator ordered it; false when KSeF's own answers say so.")
    latarnia: LatarniaDocument | None = None


class AttachmentsDocument(BaseModel):
    """Whether the tenant may send invoices with attachments, as KSeF said when it was asked last."""

    allowed: bool | None = Field(
        description="null: not known, or not known for certain any more. Such invoices are then sent, and KSeF decides."
    )
    ends_at: str | None = Field(description="When the consent ends, or when it ended; null: no end is known.")
    reason: str | None = Field(description="Why KSeF does not tell; null when it does, or was not asked yet.")
    checked_at: str | None


class UseDocument(BaseModel):
    """How much of a limit is used."""

    used: int
    most: int


class MeDocument(BaseModel):
    """Who asks, and what they may do."""

    tenant: TenantDocument
    environment: str
    ksef_url: str
    limits: LimitsDocument
    held_invoices: int = Field(description="Invoices that wait for a decision: release or withdraw them.")
    ksef: KsefDocument
    attachments: AttachmentsDocument
    accepts_uploads: bool = Field(description="False while uploads get 429 or 503: too much waits, or the disk is low.")
    waiting: dict[str, UseDocument] = Field(
        description="What of this tenant waits, and the most that may: `concurrent_uploads` that arrive, `unread_uploads`, "
        "`spooled_bytes` of these, and `waiting_invoices` that KSeF has no session for. At the most, uploads get 429; at the "
        "most of the last one single posts do, too."
    )
    quota: dict[str, Any] = Field(
        description="Requests left by KSeF's limit group in any second, minute and hour (null: no limit); `blocked_until` "
        "while KSeF or its front layer keeps the group, or all of them, out."
    )


class Liveness(BaseModel):
    """The process answers."""

    status: str
    version: str
    warnings: list[dict[str, str]] = Field(
        default_factory=list, description="What keeps part of the work from being done, by `part` and `message`."
    )
