"""Answers of /sessions: batch and online, their invoices and receipts."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from sandbox.answers.shapes import Answer, Count, KsefNumber, Reference, Sha256, Status


class PartUpload(Answer):
    """The link for the upload of one part."""

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
    """The verdict on an invoice; the extensions of a duplicate name its original."""

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
