"""`/v1/uploads`: bodies with many invoices, their progress, and the verdict on each invoice."""

import csv
import io
import json
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Final

import anyio.lowlevel
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from app.api.dependencies import REPLAYED, CurrentState, CurrentStore, CurrentTenant, IdempotencyKey, Now
from app.api.http.answer_coding import choose_coding, compressed
from app.api.http.content_coding import content_coding
from app.api.http.errors import (
    BadCursor,
    BodyTooSlow,
    Busy,
    EmptyBody,
    NotAcceptable,
    QueueFull,
    SpoolFull,
    TenantLimitReached,
    UnsupportedContentCoding,
)
from app.api.http.negotiation import choose
from app.api.http.paging import Cursor, Limit, one_page, read_cursor
from app.api.http.problems import declare, gives
from app.api.http.streaming import one_line, stream_answer
from app.api.intake.admission import LIMITS_OF_UPLOADS
from app.api.responses import schemas
from app.api.responses.schemas import InvoicePage, UploadPage
from app.domain.ids import parse_public_id, time_ordered_id
from app.domain.states import InvoiceState
from app.errors import (
    BodyTooLarge,
    DigestMismatch,
    IdempotencyKeyReused,
    NotFound,
    RequestError,
    Unauthorized,
    UnsupportedContentType,
)
from app.observability.metrics import STAGE_SECONDS, UPLOAD_BYTES
from app.reading.kinds import BodyKind, body_kind, boundary_of, takes_gzip
from app.store.blob_errors import BlobStoreUnavailable
from app.store.disk import DiskLow
from app.store.uploads.invoices import FIRST, InvoiceFilter
from app.store.uploads.resumable import UploadNotFinished
from app.store.uploads.uploads import NewUpload, Upload, upload_json

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

Text = Annotated[str, Query(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
Offline = Annotated[bool, Query(description="Send the invoices as offline invoices.")]
Flush = Annotated[bool, Query(description="Seal the invoices at once instead of waiting for more.")]
Atomic = Annotated[bool, Query(description="All or nothing: send no invoice of a body that cannot be read to its end.")]
Reference = Annotated[Text | None, Query(description="A name of yours for the upload, shown with it.")]
States = Annotated[list[InvoiceState] | None, Query(description="Only invoices in these states; may be repeated.")]

NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"

CSV_COLUMNS: Final = (
    "id", "state", "name", "number", "seller_nip", "kind", "issue_date", "sha256", "size", "session", "ksef_number",
    "acquired_at", "invoicing_mode", "duplicate_of", "rules", "message",
)  # fmt: skip
"""`rules` lists the rules of all findings; `message` is the first one in English."""

_FORMULA_STARTS: Final = frozenset("=+-@＝＋－＠")
_BLANKS: Final = " \t\r\n\u00a0"
_CONTROLS: Final = frozenset("\t\r\n")
_INNER_FORMULA: Final = re.compile(r'([;,|\t\r\n][\s"]*)(?=[=+\-@＝＋－＠])')

# Writing a thousand invoices at once would block the event loop for more than five milliseconds.
_ROWS_AT_A_TIME: Final = 100

_BODIES: Final = {
    BodyKind.ZIP: "A ZIP archive of XML files.",
    BodyKind.TARGZ: "A tar archive of XML files, compressed with gzip.",
    BodyKind.TAR: "A tar archive of XML files.",
    BodyKind.NDJSON: 'One invoice a line: `{"name": "1.xml", "xml": "<Faktura..."}`, or `xml_base64` instead of `xml`.',
    BodyKind.XML: "One invoice.",
}
# The form comes first: generated clients that know no other body of this operation can send it.
_FORM: Final[dict[str, Any]] = {
    "schema": {
        "type": "object",
        "properties": {
            "file": {
                "type": "array",
                "items": {"type": "string", "format": "binary"},
                "description": "XML files and archives, each a part with a file name. Parts of any other name are read, too.",
            }
        },
    },
    "encoding": {"file": {"contentType": ", ".join(kind.content_type for kind in _BODIES)}},
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            BodyKind.MULTIPART.content_type: _FORM,
            **{
                kind.content_type: {"schema": {"type": "string", "format": "binary", "description": text}}
                for kind, text in _BODIES.items()
            },
        },
    }
}


@router.post(
    "",
    status_code=202,
    response_model=schemas.Upload,
    openapi_extra=_BODY,
    responses=declare(
        RequestError, DigestMismatch, EmptyBody, Unauthorized, BodyTooSlow, BodyTooLarge, UnsupportedContentType,
        UnsupportedContentCoding, IdempotencyKeyReused, TenantLimitReached, Busy, SpoolFull, QueueFull, DiskLow, BlobStoreUnavailable,
    ),
)  # fmt: skip
async def create_upload(
    request: Request,
    state: CurrentState,
    tenant: CurrentTenant,
    now: Now,
    offline: Offline = False,
    flush: Flush = False,
    atomic: Atomic = False,
    reference: Reference = None,
    idempotency_key: IdempotencyKey = None,
    content_digest: Annotated[
        str | None, Header(description="sha-256=:<Base64>: of the body as it is sent (RFC 9530).")
    ] = None,
    content_encoding: Annotated[
        str | None, Header(description="`gzip`, unless the body is compressed already.")
    ] = None,
) -> Response:
    """Accept a body with many invoices. 202 means that it is durable; it is read later.

    A repeated body with the same `Idempotency-Key` gets the first answer again. Without a key it is a new upload, and its
    `repeat_of` names the first.
    """
    started = time.perf_counter()
    content_type = request.headers.get("content-type", "")
    kind = body_kind(content_type)
    coding = content_coding(request, takes_gzip=takes_gzip(kind))
    async with state.receiver.receive(request, tenant.id) as body:
        new = NewUpload(
            id=time_ordered_id(int(now.timestamp() * 1000), os.urandom(10)),
            tenant_id=tenant.id,
            kind=kind.value,
            boundary=boundary_of(content_type) if kind is BodyKind.MULTIPART else None,
            blob_key=body.blob_key,
            size=body.size,
            sha256=body.sha256,
            reference=reference,
            idempotency_key=idempotency_key,
            offline_mode=offline,
            flush=flush,
            atomic=atomic,
            content_encoding=coding,
        )
        upload, is_new = await state.store.uploads.add(new, now=now)
        if not is_new:
            await state.receiver.discard(body)
    if is_new:
        UPLOAD_BYTES.inc(body.size)
        STAGE_SECONDS.labels(stage="receive").observe(time.perf_counter() - started)
    shape = with_links(upload)
    headers = {"Location": shape["links"]["self"]} | state.admission.rate_limits(tenant.id, *LIMITS_OF_UPLOADS)
    return JSONResponse(shape, status_code=202, headers=headers | ({} if is_new else REPLAYED))


@router.get("", response_model=UploadPage, responses=declare(BadCursor, Unauthorized))
async def list_uploads(
    store: CurrentStore, tenant: CurrentTenant, limit: Limit = 100, cursor: Cursor = None
) -> dict[str, Any]:
    """List uploads, newest first. Single posts are not uploads."""
    rows = await store.uploads.page(tenant.id, before=read_cursor(cursor), limit=limit + 1)
    kept, following = one_page(rows, limit, lambda upload: upload.id)
    return {"items": [with_links(upload) for upload in kept], "next": following}


@router.get("/{upload_id}", response_model=schemas.Upload, responses=declare(Unauthorized, NotFound, UploadNotFinished))
async def get_upload(upload_id: str, store: CurrentStore, tenant: CurrentTenant) -> dict[str, Any]:
    """Show the progress of one upload, and its invoices by state."""
    wanted = parse_public_id("upl", upload_id)
    try:
        return with_links(await store.uploads.get(tenant.id, wanted))
    except NotFound:
        await store.resumable.refuse_unfinished(tenant.id, wanted)
        raise


@router.get("/{upload_id}/invoices", response_model=InvoicePage, responses=declare(BadCursor, Unauthorized, NotFound))
async def list_upload_invoices(
    upload_id: str,
    store: CurrentStore,
    tenant: CurrentTenant,
    state: States = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """List the invoices of an upload in the order of its body."""
    upload = await store.uploads.get(tenant.id, parse_public_id("upl", upload_id))
    wanted = InvoiceFilter(upload_id=upload.id, states=[item.value for item in state] if state else None)
    rows = await store.invoices.page(tenant.id, wanted, after=read_cursor(cursor) or FIRST, limit=limit + 1)
    kept, following = one_page(rows, limit, lambda row: row[0])
    return JSONResponse({"items": [invoice for _, invoice in kept], "next": following})


@router.get(
    "/{upload_id}/results",
    response_class=StreamingResponse,
    responses=gives("One line for each invoice, in the order of the upload.", NDJSON, CSV)
    | declare(Unauthorized, NotFound, NotAcceptable),
)
async def get_upload_results(
    upload_id: str,
    request: Request,
    store: CurrentStore,
    tenant: CurrentTenant,
    state: States = None,
) -> Response:
    """Stream every invoice of an upload as NDJSON or, with `Accept: text/csv`, as CSV.

    A connection that closes before the last chunk of the answer means that the answer is incomplete. `Accept-Encoding` chooses
    zstd or gzip.
    """
    form = choose(request.headers.get("accept"), (NDJSON, CSV))
    upload = await store.uploads.get(tenant.id, parse_public_id("upl", upload_id))
    wanted = InvoiceFilter(upload_id=upload.id, states=[item.value for item in state] if state else None)
    pages = store.invoices.stream(tenant.id, wanted)
    lines = _csv_lines(pages) if form == CSV else _json_lines(pages)
    suffix = "csv" if form == CSV else "ndjson"
    headers = {
        "Content-Disposition": f'attachment; filename="{upload.public_id}.{suffix}"',
        "Vary": "Accept, Accept-Encoding",
    }
    coding = choose_coding(request.headers.get("accept-encoding"))
    if coding is not None:
        lines, headers["Content-Encoding"] = compressed(lines, coding), coding
    media_type = f"{CSV}; charset=utf-8; header=present" if form == CSV else NDJSON
    return await stream_answer(lines, media_type=media_type, headers=headers)


def with_links(upload: Upload) -> dict[str, Any]:
    """Return an upload as the API shows it, with the addresses of its invoices and results."""
    address = f"/v1/uploads/{upload.public_id}"
    links = {"self": address, "invoices": f"{address}/invoices", "results": f"{address}/results"}
    return upload_json(upload) | {"links": links}


async def _json_lines(pages: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[bytes]:
    async for rows in _slices(pages):
        lines = (json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") for row in rows)
        yield b"".join(one_line(line) + b"\n" for line in lines)


async def _csv_lines(pages: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[bytes]:
    # RFC 4180: CRLF ends, quotes around each cell, columns named in the first line.
    head = [CSV_COLUMNS]
    async for rows in _slices(pages):
        yield _csv([*head, *(_csv_row(row) for row in rows)])
        head = []
    if head:
        yield _csv(head)


async def _slices(pages: AsyncIterator[list[dict[str, Any]]]) -> AsyncIterator[list[dict[str, Any]]]:
    async for page in pages:
        for start in range(0, len(page), _ROWS_AT_A_TIME):
            yield page[start : start + _ROWS_AT_A_TIME]
            await anyio.lowlevel.checkpoint()


def _csv_row(invoice: Mapping[str, Any]) -> list[Any]:
    findings = invoice["findings"]
    extra = {
        "rules": " ".join(finding.get("rule", "") for finding in findings),
        "message": findings[0].get("message", "") if findings else "",
    }
    return [_cell(extra[name] if name in extra else invoice[name]) for name in CSV_COLUMNS]


def _cell(value: Any) -> Any:
    """Return a text with an apostrophe before each place where a spreadsheet would begin a formula (OWASP, CSV Injection).

    Such a place is also behind a separator inside the text: a spreadsheet may divide lines at another one than ours, as Excel
    with Polish settings does at semicolons. Senders choose names and invoice numbers freely. NDJSON has them unchanged.
    """
    if not isinstance(value, str):
        return value
    begin = len(value) - len(value.lstrip(_BLANKS))
    inside = _INNER_FORMULA.sub(r"\1'", value[begin:])
    guard = "'" if value[:1] in _CONTROLS or value[begin : begin + 1] in _FORMULA_STARTS else ""
    return f"{guard}{value[:begin]}{inside}" if value else value


def _csv(rows: list[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue().encode("utf-8", "replace")
