"""`/v1/uploads/resumable`: bodies that are sent in pieces, and continued after a broken connection (tus 1.0.0).

When the last byte is durable the resource becomes the upload of the same id at `/v1/uploads/{id}`.
"""

import os
from dataclasses import replace
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response

from app.api.dependencies import (
    REPLAYED,
    CurrentSettings,
    CurrentState,
    CurrentStore,
    CurrentTenant,
    IdempotencyKey,
    Now,
)
from app.api.http.errors import (
    BadCursor,
    BodyTooSlow,
    Busy,
    ChecksumMismatch,
    EmptyBody,
    InvalidRequest,
    MethodNotAllowed,
    SpoolFull,
    UnsupportedTusVersion,
)
from app.api.http.paging import Cursor, Limit, one_page, read_cursor
from app.api.http.problems import declare
from app.api.intake import tus
from app.api.intake.admission import LIMITS_OF_UPLOADS
from app.api.intake.request_body import declared_digest, refuse_content_encoding, too_large
from app.api.intake.segments import SegmentTaker
from app.api.responses.schemas import UnfinishedPage, UnfinishedUpload
from app.api.routes.uploads import Atomic, Flush, Offline, Reference
from app.api.state import ApiState
from app.domain.ids import parse_public_id, time_ordered_id
from app.domain.timestamps import iso_utc
from app.errors import (
    BodyTooLarge,
    Conflict,
    DigestMismatch,
    IdempotencyKeyReused,
    NotFound,
    RequestError,
    Unauthorized,
    UnsupportedContentType,
)
from app.observability.metrics import UPLOAD_BYTES
from app.reading.kinds import BodyKind, body_kind, boundary_of, sniff
from app.store.blob_errors import BlobStoreUnavailable
from app.store.tenants.tenants import Tenant
from app.store.uploads.resumable import NewUnfinished, TooManyUnfinished, Unfinished, WrongOffset
from app.store.uploads.uploads import Upload

PREFIX: Final = "/v1/uploads/resumable"

router = APIRouter(prefix=PREFIX, tags=["resumable uploads"], route_class=tus.TusRoute)

_UNSPECIFIC_TYPES: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})
_YES: Final = frozenset({"true", "1"})
_NO: Final = frozenset({"false", "0", ""})

_TusVersion = Annotated[str, Header(alias="Tus-Resumable", description="1.0.0")]
_BODY_PROBLEMS: Final = (
    RequestError, ChecksumMismatch, DigestMismatch, Unauthorized, BodyTooSlow, BodyTooLarge, UnsupportedContentType,
    UnsupportedTusVersion, WrongOffset, Busy, SpoolFull, BlobStoreUnavailable,
)  # fmt: skip
_PIECE: Final[dict[str, Any]] = {
    "requestBody": {"content": {tus.CONTENT_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
}


@router.options("", status_code=204, response_class=Response)
async def describe_resumable_uploads(settings: CurrentSettings) -> Response:
    """Answer with the supported version, extensions and limits of tus. Needs no key."""
    return Response(
        status_code=204,
        headers={
            "Tus-Version": tus.VERSION,
            "Tus-Extension": tus.EXTENSIONS,
            "Tus-Max-Size": str(settings.max_upload_bytes),
            "Tus-Checksum-Algorithm": ",".join(tus.CHECKSUMS),
        },
    )


@router.post(
    "",
    status_code=201,
    response_class=Response,
    openapi_extra=_PIECE,
    responses=declare(*_BODY_PROBLEMS, EmptyBody, IdempotencyKeyReused, TooManyUnfinished),
)
async def create_resumable_upload(
    request: Request,
    state: CurrentState,
    tenant: CurrentTenant,
    now: Now,
    tus_resumable: _TusVersion,
    upload_length: Annotated[int | None, Header(description="Bytes of the whole body.")] = None,
    upload_defer_length: Annotated[
        str | None, Header(description="`1`: the length follows in a later request.")
    ] = None,
    upload_metadata: Annotated[
        str | None,
        Header(
            description="filetype, filename, sha256 (hex), reference, offline, flush, atomic; each value in Base64."
        ),
    ] = None,
    offline: Offline = False,
    flush: Flush = False,
    atomic: Atomic = False,
    reference: Reference = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Announce an upload, and send its first bytes if there are any. `Location` is the address for further bytes.

    A repeated announcement with the same `Idempotency-Key` gets the first upload again, with its `Upload-Offset`.
    """
    refuse_content_encoding(request)
    new = _announcement(request, tenant, state.settings.max_upload_bytes)
    asked = tus.read_metadata(request.headers.get("upload-metadata"))
    new = replace(
        new,
        id=time_ordered_id(int(now.timestamp() * 1000), os.urandom(10)),
        offline_mode=offline or _flag(asked, "offline"),
        flush=flush or _flag(asked, "flush"),
        atomic=atomic or _flag(asked, "atomic"),
        reference=reference if reference is not None else _text(asked, "reference"),
        idempotency_key=idempotency_key,
    )
    with_bytes = _content_type(request) == tus.CONTENT_TYPE
    async with state.receiver.admit(tenant.id, new.size):
        upload, is_new = await state.store.resumable.create(new, now=now)
    if with_bytes and is_new and isinstance(upload, Unfinished):
        upload = await _take(request, state, upload)
    headers = _headers(upload) | {"Location": f"{PREFIX}/{upload.public_id}"}
    headers |= state.admission.rate_limits(tenant.id, *LIMITS_OF_UPLOADS)
    return Response(status_code=201, headers=headers | ({} if is_new else REPLAYED))


@router.get("", response_model=UnfinishedPage, responses=declare(BadCursor, Unauthorized))
async def list_resumable_uploads(
    store: CurrentStore, tenant: CurrentTenant, limit: Limit = 100, cursor: Cursor = None
) -> dict[str, Any]:
    """List uploads that are not complete, newest first, so that a client can find an interrupted one."""
    rows = await store.resumable.page(tenant.id, before=read_cursor(cursor), limit=limit + 1)
    kept, following = one_page(rows, limit, lambda upload: upload.id)
    return {"items": [_shape(upload) for upload in kept], "next": following}


@router.get("/{upload_id}", response_model=UnfinishedUpload, responses=declare(Unauthorized, NotFound))
async def get_resumable_upload(upload_id: str, store: CurrentStore, tenant: CurrentTenant) -> dict[str, Any]:
    """Show the progress of an upload that is sent in pieces."""
    return _shape(await store.resumable.get(tenant.id, parse_public_id("upl", upload_id)))


@router.head(
    "/{upload_id}",
    response_class=Response,
    responses=declare(Unauthorized, NotFound, UnsupportedTusVersion),
)
async def get_resumable_upload_offset(
    upload_id: str, store: CurrentStore, tenant: CurrentTenant, tus_resumable: _TusVersion
) -> Response:
    """Answer with the number of durable bytes in `Upload-Offset`, where the next request begins."""
    upload = await store.resumable.get(tenant.id, parse_public_id("upl", upload_id))
    headers = _headers(upload) | {"Cache-Control": "no-store"}
    if isinstance(upload, Unfinished) and upload.metadata:
        headers["Upload-Metadata"] = upload.metadata
    return Response(status_code=200, headers=headers)


@router.patch(
    "/{upload_id}",
    status_code=204,
    response_class=Response,
    openapi_extra=_PIECE,
    responses=declare(*_BODY_PROBLEMS, NotFound),
)
async def append_to_resumable_upload(
    upload_id: str,
    request: Request,
    state: CurrentState,
    tenant: CurrentTenant,
    tus_resumable: _TusVersion,
    upload_offset: Annotated[int, Header(description="Where these bytes begin: `Upload-Offset` of the last answer.")],
    upload_length: Annotated[
        int | None, Header(description="Bytes of the whole body, if no earlier request had it.")
    ] = None,
    upload_checksum: Annotated[str | None, Header(description="`sha256 <Base64>` of this request's bytes.")] = None,
) -> Response:
    """Add bytes at an offset. Bytes of an interrupted request are kept, unless the request has a checksum.

    Only the newest request can add bytes: an older one, perhaps on a dead connection, cannot any more. After the last byte
    `Link` names the upload.
    """
    return await _add(upload_id, request, state, tenant)


@router.delete(
    "/{upload_id}",
    status_code=204,
    response_class=Response,
    responses=declare(Unauthorized, NotFound, Conflict, UnsupportedTusVersion),
)
async def delete_resumable_upload(
    upload_id: str, state: CurrentState, tenant: CurrentTenant, tus_resumable: _TusVersion
) -> Response:
    """End an upload that is not complete and remove its bytes."""
    await state.store.resumable.remove(tenant.id, parse_public_id("upl", upload_id))
    return Response(status_code=204)


@router.post("/{upload_id}", include_in_schema=False)
async def overridden(
    upload_id: str,
    request: Request,
    state: CurrentState,
    tenant: CurrentTenant,
    x_http_method_override: Annotated[str, Header()] = "",
) -> Response:
    """Serve clients behind proxies that block PATCH and DELETE, as the protocol demands."""
    method = x_http_method_override.upper()
    if method == "PATCH":
        return await _add(upload_id, request, state, tenant)
    if method == "DELETE":
        return await delete_resumable_upload(upload_id, state, tenant, tus.VERSION)
    if method == "HEAD":
        return await get_resumable_upload_offset(upload_id, state.store, tenant, tus.VERSION)
    raise MethodNotAllowed("POST is not possible at this address")


async def _add(upload_id: str, request: Request, state: ApiState, tenant: Tenant) -> Response:
    wanted = parse_public_id("upl", upload_id)
    refuse_content_encoding(request)
    if _content_type(request) != tus.CONTENT_TYPE:
        raise UnsupportedContentType(f"bytes are added as {tus.CONTENT_TYPE}")
    offset = tus.number(request, "Upload-Offset")
    if offset is None:
        raise InvalidRequest("Upload-Offset is missing")
    size = tus.number(request, "Upload-Length")
    if size is not None and size > state.settings.max_upload_bytes:
        raise too_large(state.settings.max_upload_bytes)
    upload = await state.store.resumable.get(tenant.id, wanted)
    if isinstance(upload, Unfinished):
        upload = await _take(request, state, upload, offset=offset, size=size)
    elif offset != upload.size or tus.number(request, "Content-Length") != 0:
        raise WrongOffset(
            f"all {upload.size} bytes of {upload.public_id} are stored; it is at /v1/uploads/{upload.public_id}"
        )
    headers = _headers(upload) | state.admission.rate_limits(tenant.id, *LIMITS_OF_UPLOADS)
    return Response(status_code=204, headers=headers)


async def _take(
    request: Request, state: ApiState, upload: Unfinished, *, offset: int = 0, size: int | None = None
) -> Unfinished | Upload:
    """Add the bytes of a request. Raises the errors of `SegmentTaker.take` and `ResumableStore.begin`."""
    checksums = [checksum] if (checksum := tus.read_checksum(request)) else []
    if (digest := declared_digest(request)) is not None:
        checksums.append(tus.Checksum("sha256", digest))
    length = tus.number(request, "Content-Length")
    limit = state.settings.max_upload_bytes
    whole = upload.size if upload.size is not None else size
    most = limit if whole is None or whole < offset else whole
    if length is not None and offset + length > most:
        raise too_large(most)
    async with state.receiver.admit(upload.tenant_id, length) as arrival:
        writer = uuid4()
        begun = await state.store.resumable.begin(upload.tenant_id, upload.id, offset=offset, size=size, writer=writer)
        taker = SegmentTaker(state.store, state.clock, begun, writer, limit=limit)
        try:
            await taker.take(request, arrival, checksums)
        finally:
            taken = taker.upload.size if isinstance(taker.upload, Upload) else taker.upload.offset
            UPLOAD_BYTES.inc(taken - offset)
    return taker.upload


def _announcement(request: Request, tenant: Tenant, limit: int) -> NewUnfinished:
    size = tus.number(request, "Upload-Length")
    deferred = request.headers.get("upload-defer-length")
    if (size is None) == (deferred is None) or deferred not in {None, "1"}:
        raise RequestError("send either Upload-Length or Upload-Defer-Length: 1")
    if size == 0:
        raise EmptyBody
    if size is not None and size > limit:
        raise too_large(limit)
    if request.headers.get("upload-concat") is not None:
        raise RequestError("Upload-Concat is not supported; send the bytes of one upload in order, or several uploads")
    metadata = request.headers.get("upload-metadata")
    values = tus.read_metadata(metadata)
    kind, boundary = _kind(values)
    return NewUnfinished(
        id=UUID(int=0),
        tenant_id=tenant.id,
        kind=kind.value,
        boundary=boundary,
        size=size,
        declared_sha256=_sha256(values),
        metadata=metadata,
        filename=_text(values, "filename") or _text(values, "name"),
        reference=None,
        idempotency_key=None,
        offline_mode=False,
        flush=False,
        atomic=False,
    )


def _kind(metadata: dict[str, str]) -> tuple[BodyKind, str | None]:
    """Return the kind by the content type, or by the file name if the type is unspecific. Raises UnsupportedContentType."""
    content_type = metadata.get("filetype") or metadata.get("contentType") or metadata.get("type") or ""
    if content_type.strip().lower() in _UNSPECIFIC_TYPES:
        kind = sniff(metadata.get("filename") or metadata.get("name") or "", b"")
        if kind is None:
            raise UnsupportedContentType(
                "Upload-Metadata has no content type: send filetype, such as application/zip, "
                "or a filename that ends in .zip, .tar.gz, .tar, .ndjson or .xml"
            )
        return kind, None
    kind = body_kind(content_type)
    return kind, boundary_of(content_type) if kind is BodyKind.MULTIPART else None


def _sha256(metadata: dict[str, str]) -> bytes | None:
    text = metadata.get("sha256")
    if text is None:
        return None
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise DigestMismatch("sha256 in Upload-Metadata must have 64 hex digits")
    return digest


def _flag(metadata: dict[str, str], name: str) -> bool:
    text = metadata.get(name, "").strip().lower()
    if text not in _YES | _NO:
        raise RequestError(f"{name} in Upload-Metadata is neither true nor false")
    return text in _YES


def _text(metadata: dict[str, str], name: str) -> str | None:
    text = metadata.get(name)
    if text is not None and (len(text) > 256 or not text.isprintable()):
        raise RequestError(f"{name} in Upload-Metadata has more than 256 characters, or unprintable ones")
    return text


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _headers(upload: Unfinished | Upload) -> dict[str, str]:
    if isinstance(upload, Upload):
        address = f"/v1/uploads/{upload.public_id}"
        return {
            "Upload-Offset": str(upload.size),
            "Upload-Length": str(upload.size),
            "Link": f'<{address}>; rel="describedby"',
        }
    length = {"Upload-Defer-Length": "1"} if upload.size is None else {"Upload-Length": str(upload.size)}
    return length | {"Upload-Offset": str(upload.offset), "Upload-Expires": tus.http_date(upload.expires_at)}


def _shape(upload: Unfinished | Upload) -> dict[str, Any]:
    unfinished = isinstance(upload, Unfinished)
    declared = upload.declared_sha256
    links = {"self": f"{PREFIX}/{upload.public_id}"}
    if not unfinished:
        links["upload"] = f"/v1/uploads/{upload.public_id}"
    return {
        "id": upload.public_id,
        "complete": not unfinished,
        "offset": upload.offset if isinstance(upload, Unfinished) else upload.size,
        "bytes": upload.size,
        "content_type": BodyKind(upload.kind).content_type,
        "sha256": declared.hex() if declared is not None else None,
        "filename": upload.filename if isinstance(upload, Unfinished) else None,
        "reference": upload.reference,
        "offline": upload.offline_mode,
        "flush": upload.flush,
        "atomic": upload.atomic,
        "created_at": iso_utc(upload.created_at),
        "expires_at": iso_utc(upload.expires_at) if isinstance(upload, Unfinished) else None,
        "links": links,
    }
