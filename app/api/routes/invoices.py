"""`/v1/invoices` and `/v1/validate`: single invoices."""

import hashlib
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID

import anyio.to_thread
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from app.api.dependencies import (
    REPLAYED,
    CurrentSettings,
    CurrentState,
    CurrentStore,
    CurrentTenant,
    IdempotencyKey,
    Now,
)
from app.api.http.conditional import answer_unchanged, kept_by_client
from app.api.http.errors import (
    BadCursor,
    BodyTooSlow,
    Busy,
    ContentCodingDamaged,
    EmptyBody,
    InvalidRequest,
    NotAcceptable,
    QrNotAvailable,
    QueueFull,
    TenantLimitReached,
    UnsupportedContentCoding,
    UpoNotAvailable,
    XmlNotKept,
)
from app.api.http.negotiation import choose
from app.api.http.paging import Cursor, Limit, one_page, read_cursor
from app.api.http.problems import declare, gives
from app.api.intake.request_body import small_body
from app.api.responses.history import invoice_history
from app.api.responses.qr import QR_MEDIA_TYPES, qr_image, verification_link
from app.api.responses.schemas import CheckResult, InvoiceDetail, InvoicePage, InvoiceReceipt
from app.api.responses.upo import find_upo_page, receipt_answer
from app.api.state import ApiState
from app.domain.findings import Finding, has_errors
from app.domain.ids import parse_public_id, public_id
from app.domain.states import InvoiceState
from app.errors import (
    BodyTooLarge,
    DigestMismatch,
    DispatchError,
    IdempotencyKeyReused,
    InvalidInvoice,
    NotFound,
    RequestError,
    TryLater,
    Unauthorized,
    UnsupportedContentType,
)
from app.forms.fields import collapsed
from app.observability.metrics import STAGE_SECONDS, UPLOAD_BYTES, VALIDATION_FINDINGS
from app.package.entries import decompress
from app.package.errors import MalformedEntry
from app.reading.kinds import BodyKind, body_kind
from app.store.blob_errors import BlobMissing, BlobStoreUnavailable
from app.store.disk import DiskLow
from app.store.store import Store
from app.store.tenants.check_context import MAX_DOCUMENT_BYTES, check_context
from app.store.tenants.tenants import Tenant
from app.store.uploads.invoices import FIRST, InvoiceFilter
from app.store.uploads.late_invoices import NotAwaitingDecision

router = APIRouter(prefix="/v1", tags=["invoices"])

MAX_INVOICE_BYTES: Final = MAX_DOCUMENT_BYTES
"""Limit on a body of one invoice. A tenant with a higher limit sends larger invoices in an upload."""

# Above this size inflating and hashing run in a thread.
_INLINE_BYTES: Final = 200_000

Text = Annotated[str, Query(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
Number = Annotated[str, Query(max_length=256, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$")]
"""A text that may have tabs and line ends, which are blanks of a number."""

_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/xml": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_BODY_PROBLEMS: Final = (
    RequestError, DigestMismatch, EmptyBody, Unauthorized, BodyTooSlow, BodyTooLarge, UnsupportedContentType, UnsupportedContentCoding, ContentCodingDamaged, TryLater, Busy,
    TenantLimitReached,
)  # fmt: skip


@router.post(
    "/invoices",
    status_code=202,
    response_model=InvoiceReceipt,
    openapi_extra=_BODY,
    responses=declare(*_BODY_PROBLEMS, IdempotencyKeyReused, InvalidInvoice, BlobStoreUnavailable, QueueFull, DiskLow),
)
async def create_invoice(
    request: Request,
    state: CurrentState,
    tenant: CurrentTenant,
    offline: Annotated[bool, Query(description="Send it as an offline invoice.")] = False,
    name: Annotated[Text, Query(description="Name of the file, shown with the invoice.")] = "invoice.xml",
    prefer: Annotated[
        list[str] | None, Header(description="`handling=strict`: check at once, and refuse a faulty invoice with 422.")
    ] = None,
    idempotency_key: IdempotencyKey = None,
    content_digest: Annotated[
        str | None, Header(description="sha-256=:<Base64>: of the body as it is sent (RFC 9530).")
    ] = None,
    content_encoding: Annotated[str | None, Header(description="`gzip`; the invoice is the inflated body.")] = None,
) -> Response:
    """Accept one invoice. 202 means that it is durable; it is checked later, or before with `Prefer: handling=strict`."""
    started = time.perf_counter()
    _require_xml(request)
    strict = _wants_strict(prefer)
    await state.admission.admit_invoice(tenant.id)
    with state.singles.room_for(tenant, _expected_size(request)):
        xml = await small_body(request, MAX_INVOICE_BYTES)
        if strict:
            findings = await _check(state, tenant, xml)
            if has_errors(findings):
                for finding in findings:
                    VALIDATION_FINDINGS.labels(rule=finding.rule).inc()
                if any(finding.rule == "attachment-not-allowed" for finding in findings):
                    await state.store.permissions.record_refused_attachment(tenant.id, now=state.clock())
                raise InvalidInvoice(
                    "the invoice breaks at least one rule; it was not stored",
                    errors=[finding.as_dict() for finding in findings],
                )
        stored = await state.singles.add(
            tenant, xml, name=name or "invoice.xml", offline_mode=offline, idempotency_key=idempotency_key
        )
    UPLOAD_BYTES.inc(len(xml))
    STAGE_SECONDS.labels(stage="single").observe(time.perf_counter() - started)
    written = public_id("inv", stored.invoice)
    links = _links(written)
    headers = {"Location": links["self"]} | ({"Preference-Applied": "handling=strict"} if strict else {})
    headers |= state.admission.rate_limits(tenant.id, "waiting_invoices")
    if stored.is_replay:
        headers |= REPLAYED
    return JSONResponse(
        {"id": written, "sha256": stored.sha256.hex(), "links": links}, status_code=202, headers=headers
    )


@router.post(
    "/validate",
    response_model=CheckResult,
    openapi_extra=_BODY,
    responses=declare(*_BODY_PROBLEMS),
    tags=["validation"],
)
async def validate_invoice(request: Request, state: CurrentState, tenant: CurrentTenant) -> dict[str, Any]:
    """Check one invoice without storing it. Duplicates are not found: they are only detected when an invoice is queued."""
    _require_xml(request)
    with state.singles.room_for(tenant, _expected_size(request)):
        findings = await _check(state, tenant, await small_body(request, MAX_INVOICE_BYTES))
    return {"valid": not has_errors(findings), "findings": [finding.as_dict() for finding in findings]}


@router.get("/invoices", response_model=InvoicePage, responses=declare(InvalidRequest, BadCursor, Unauthorized))
async def list_invoices(
    store: CurrentStore,
    tenant: CurrentTenant,
    number: Annotated[
        Number | None,
        Query(description="The issuer's own number (P_2). Blanks count as in the XSD: a row of them is one."),
    ] = None,
    ksef_number: Annotated[Text | None, Query(description="The number that KSeF gave.")] = None,
    sha256: Annotated[str | None, Query(pattern="^[0-9a-fA-F]{64}$", description="Of the XML, in hex.")] = None,
    upload: Annotated[str | None, Query(pattern="^upl_[0-9a-f]{32}$", description="Id of an upload.")] = None,
    session: Annotated[str | None, Query(pattern="^ses_[0-9a-f]{32}$", description="Id of a session.")] = None,
    state: Annotated[list[InvoiceState] | None, Query(description="Only these states; may be repeated.")] = None,
    held: Annotated[bool, Query(description="Only invoices that wait for a decision.")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """List invoices that match all given filters, oldest first."""
    wanted = InvoiceFilter(
        # Numbers are stored with their blanks collapsed, as KSeF compares them.
        number=None if number is None else collapsed(number),
        ksef_number=ksef_number,
        sha256=bytes.fromhex(sha256) if sha256 else None,
        upload_id=parse_public_id("upl", upload) if upload else None,
        session_id=parse_public_id("ses", session) if session else None,
        states=[item.value for item in state] if state else None,
        held=held,
    )
    rows = await store.invoices.page(tenant.id, wanted, after=read_cursor(cursor) or FIRST, limit=limit + 1)
    kept, following = one_page(rows, limit, lambda row: row[0])
    return JSONResponse({"items": [invoice for _, invoice in kept], "next": following})


@router.get("/invoices/{invoice_id}", response_model=InvoiceDetail, responses=declare(Unauthorized, NotFound))
async def get_invoice(invoice_id: str, store: CurrentStore, tenant: CurrentTenant) -> Response:
    """Show one invoice with its findings and history."""
    return JSONResponse(await shown_invoice(store, tenant, invoice_id))


@router.post(
    "/invoices/{invoice_id}/release",
    status_code=202,
    response_model=InvoiceDetail,
    responses=declare(Unauthorized, NotFound, NotAwaitingDecision),
)
async def release_invoice(invoice_id: str, store: CurrentStore, tenant: CurrentTenant) -> Response:
    """Send an invoice that waits for a decision, as an offline invoice, since it missed its day."""
    await store.late_invoices.release(tenant.id, parse_public_id("inv", invoice_id))
    return JSONResponse(await shown_invoice(store, tenant, invoice_id), status_code=202)


@router.post(
    "/invoices/{invoice_id}/withdraw",
    response_model=InvoiceDetail,
    responses=declare(Unauthorized, NotFound, NotAwaitingDecision),
)
async def withdraw_invoice(invoice_id: str, store: CurrentStore, tenant: CurrentTenant, now: Now) -> Response:
    """End an invoice that waits for a decision: it becomes `failed` without being sent, and its number is free again."""
    await store.late_invoices.withdraw(tenant.id, parse_public_id("inv", invoice_id), now=now)
    return JSONResponse(await shown_invoice(store, tenant, invoice_id))


@router.get(
    "/invoices/{invoice_id}/xml",
    response_class=Response,
    responses=gives("The XML, byte for byte.", "application/xml")
    | declare(Unauthorized, NotFound, XmlNotKept, BlobStoreUnavailable, BlobMissing),
)
async def get_invoice_xml(
    request: Request, invoice_id: str, store: CurrentStore, settings: CurrentSettings, tenant: CurrentTenant, now: Now
) -> Response:
    """Return the invoice's XML, byte for byte as it was sent."""
    row = await store.invoices.get(tenant.id, parse_public_id("inv", invoice_id))
    if row["blob_bytes"] == 0:
        raise XmlNotKept("the bytes of this invoice were not kept, since it could not be sent")
    if (unchanged := answer_unchanged(request, bytes(row["sha256"]))) is not None:
        return unchanged
    try:
        stored = await store.blobs.read(row["blob_key"], start=row["blob_offset"], length=row["blob_bytes"])
    except BlobMissing as error:
        finished = row["finished_at"]
        if finished is not None and finished < now - timedelta(days=settings.retention_days):
            raise XmlNotKept(f"the bytes of finished invoices are kept for {settings.retention_days} days") from error
        raise
    if row["size"] > _INLINE_BYTES:
        xml = await anyio.to_thread.run_sync(_original, stored, row)
    else:
        xml = _original(stored, row)
    return Response(
        xml,
        media_type="application/xml",
        headers={
            "Content-Disposition": f'attachment; filename="{row["json"]["id"]}.xml"',
            **kept_by_client(bytes(row["sha256"])),
        },
    )


@router.get(
    "/invoices/{invoice_id}/upo",
    response_class=StreamingResponse,
    responses=gives("The UPO that has this invoice.", "application/xml")
    | declare(Unauthorized, NotFound, UpoNotAvailable, BlobStoreUnavailable, BlobMissing),
)
async def get_invoice_upo(request: Request, invoice_id: str, store: CurrentStore, tenant: CurrentTenant) -> Response:
    """Return the invoice's own UPO if it has one, else the page of the session's UPO that contains it, as KSeF signed it."""
    row = await store.invoices.get(tenant.id, parse_public_id("inv", invoice_id))
    own = await store.receipts.find(tenant.id, row["id"])
    if own is not None:
        return await receipt_answer(request, store, own, row["json"]["id"])
    if row["session_id"] is None or row["upo_page"] is None:
        raise UpoNotAvailable(f"the invoice is {row['state']}; a UPO exists once KSeF has accepted it")
    answer = await find_upo_page(request, store, tenant.id, row["session_id"], row["upo_page"])
    if answer is None:
        raise UpoNotAvailable("the page of the UPO with this invoice has not been fetched yet")
    return answer


@router.get(
    "/invoices/{invoice_id}/qr",
    response_class=Response,
    responses=gives("KOD I.", *QR_MEDIA_TYPES) | declare(Unauthorized, NotFound, QrNotAvailable, NotAcceptable),
)
async def get_invoice_qr(
    invoice_id: str, request: Request, store: CurrentStore, settings: CurrentSettings, tenant: CurrentTenant
) -> Response:
    """Return KOD I of an invoice as SVG, as PNG, or its link as JSON, by Accept. The `label` belongs below the code."""
    form = choose(request.headers.get("accept"), QR_MEDIA_TYPES)
    row = await store.invoices.get(tenant.id, parse_public_id("inv", invoice_id))
    if row["seller_nip"] is None or row["issue_date"] is None:
        raise QrNotAvailable(f"the invoice is {row['state']}; its seller and issue date are not known (yet)")
    link = verification_link(settings.ksef_env, row["seller_nip"], row["issue_date"], bytes(row["sha256"]))
    label = row["ksef_number"] or "OFFLINE"
    if form == "application/json":
        return JSONResponse({"link": link, "label": label}, headers={"Vary": "Accept"})
    image = await anyio.to_thread.run_sync(qr_image, link, form)
    return Response(image, media_type=form, headers={"Vary": "Accept", "X-QR-Label": label})


async def shown_invoice(store: Store, tenant: Tenant, invoice_id: str) -> dict[str, Any]:
    """Return one invoice with its history and links."""
    row = await store.invoices.get(tenant.id, parse_public_id("inv", invoice_id))
    steps = await store.sessions.history(tenant.id, row["session_id"]) if row["session_id"] is not None else []
    suspected = await store.duplicates.find(tenant.id, row["id"])
    return dict(row["json"]) | {
        "history": invoice_history(row, steps, suspected),
        "links": _links(row["json"]["id"]),
    }


async def _check(state: ApiState, tenant: Tenant, xml: bytes) -> list[Finding]:
    context = check_context(
        tenant,
        await state.store.permissions.of(tenant.id),
        (await state.store.limits.of(tenant.id)).context,
        now=state.clock(),
        check_nip_checksums=state.settings.checks_nip_checksums,
    )
    return await state.checking.check(xml, context)


def _original(stored: bytes, row: Mapping[str, Any]) -> bytes:
    if row["encoding"] == "plain":
        xml = stored
    else:
        try:
            xml = decompress(stored, row["size"])
        except MalformedEntry as error:
            raise DispatchError(f"the stored bytes of invoice {UUID(str(row['id'])).hex} are damaged") from error
    # The last check before the answer: only the bytes that were acknowledged may be returned.
    if hashlib.sha256(xml).digest() != bytes(row["sha256"]):
        raise DispatchError(
            f"the stored bytes of invoice {UUID(str(row['id'])).hex} are not those that were acknowledged"
        )
    return xml


def _require_xml(request: Request) -> None:
    content_type = request.headers.get("content-type", "")
    if body_kind(content_type) is not BodyKind.XML:
        raise UnsupportedContentType("one invoice is sent as application/xml; send archives to POST /v1/uploads")


def _expected_size(request: Request) -> int:
    if request.headers.get("content-encoding") is not None:
        return MAX_INVOICE_BYTES
    text = request.headers.get("content-length", "")
    return min(int(text[:20]), MAX_INVOICE_BYTES) if text.isascii() and text.isdigit() else MAX_INVOICE_BYTES


def _wants_strict(prefer: list[str] | None) -> bool:
    preferences = ",".join(prefer or []).lower().replace(" ", "").replace('"', "").split(",")
    return "handling=strict" in {item.partition(";")[0] for item in preferences}


def _links(invoice: str) -> dict[str, str]:
    address = f"/v1/invoices/{invoice}"
    return {"self": address, "xml": f"{address}/xml", "upo": f"{address}/upo", "qr": f"{address}/qr"}
