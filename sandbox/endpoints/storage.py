"""Blob store behind pre-signed links: receives parts and serves receipts, without a token.

Answers imitate Azure's: 201 for a stored part, XML bodies for errors.
"""

import asyncio
from pathlib import Path

import aiofiles
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response

from sandbox.endpoints.receipts import invoice_upo
from sandbox.presigned_links import Permission, link_fault
from sandbox.service import Sandbox
from sandbox.state.records.sessions import Part, Session

_WRITE_BUFFER = 4 << 20


def storage_refusal(status: int, code: str, message: str) -> Response:
    """Build an error answer in the store's format: XML, and the code in a header."""
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Response(body, status_code=status, media_type="application/xml", headers={"x-ms-error-code": code})


def _link_refused(request: Request, sandbox: Sandbox, permission: Permission) -> Response | None:
    """Return an error answer unless the link is genuine and valid and the request has no token."""
    if "authorization" in request.headers:
        return storage_refusal(401, "InvalidAuthenticationInfo", "An Authorization header does not belong here.")
    raw_query = request.scope["query_string"].decode("latin-1")
    path = request.scope["path"]
    fault = link_fault(path, raw_query, permission, sandbox.clock.now(), sandbox.keys.link_secret)
    return storage_refusal(403, "AuthenticationFailed", fault) if fault else None


def _headers_refused(request: Request) -> Response | None:
    """Return an error answer unless the headers declare a block blob with its length, as Azure requires."""
    if request.headers.get("x-ms-blob-type") != "BlockBlob":
        return storage_refusal(400, "MissingRequiredHeader", "x-ms-blob-type must be BlockBlob.")
    if not request.headers.get("content-length", "").isdigit():
        return storage_refusal(411, "MissingContentLengthHeader", "Content-Length is required.")
    return None


async def put_part(request: Request) -> Response:
    """PUT an encrypted part. It is stored only if all its bytes arrived."""
    sandbox: Sandbox = request.app.state.sandbox
    if refusal := _link_refused(request, sandbox, "w") or _headers_refused(request):
        return refusal
    session = _session(request, sandbox)
    part = session.parts.get(int(request.path_params["ordinal"])) if session else None
    if session is None or part is None:
        return storage_refusal(404, "BlobNotFound", "There is no such container.")
    path = sandbox.new_file(f"{session.reference_number}-{part.ordinal_number}")
    size = await _receive(request, path)
    fault = None
    if size != int(request.headers["content-length"]):
        fault = storage_refusal(400, "IncompleteBody", "The body ended before its declared length.")
    elif session.closed is not None or session.status.code == 440:
        # The package's content is fixed from the close of the session on.
        fault = storage_refusal(409, "BlobImmutableDueToPolicy", "The package has been taken for processing.")
    if fault is not None:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        return fault
    await _replace(part, path, size)
    return Response(status_code=201, headers={"x-ms-request-server-encrypted": "true"})


async def _receive(request: Request, path: Path) -> int:
    """Write the body to a file in large pieces and return the bytes written, fewer if the client disconnected."""
    size = 0
    buffer = bytearray()
    async with aiofiles.open(path, "wb") as target:
        try:
            async for chunk in request.stream():
                size += len(chunk)
                buffer += chunk
                if len(buffer) >= _WRITE_BUFFER:
                    await target.write(bytes(buffer))
                    buffer.clear()
        except ClientDisconnect:
            return -1
        await target.write(bytes(buffer))
    return size


async def _replace(part: Part, path: Path, size: int) -> None:
    old, part.path, part.stored_size = part.path, path, size
    if old is not None:
        await asyncio.to_thread(old.unlink, missing_ok=True)


async def get_session_upo(request: Request) -> Response:
    """GET a receipt page by its link."""
    sandbox: Sandbox = request.app.state.sandbox
    if refusal := _link_refused(request, sandbox, "r"):
        return refusal
    session = _session(request, sandbox)
    wanted = request.path_params["name"].removesuffix(".xml").upper()
    for page in session.upo_pages if session else ():
        if page.reference_number == wanted:
            return xml_file(page.path, page.sha256)
    return storage_refusal(404, "BlobNotFound", "There is no such receipt.")


async def get_invoice_upo(request: Request) -> Response:
    """GET one invoice's receipt by its link; it is made at the first request."""
    sandbox: Sandbox = request.app.state.sandbox
    if refusal := _link_refused(request, sandbox, "r"):
        return refusal
    session = _session(request, sandbox)
    wanted = request.path_params["name"].removesuffix(".xml").upper()
    invoice = session.by_reference.get(wanted) if session else None
    if session is None or invoice is None or invoice.ksef_number is None:
        return storage_refusal(404, "BlobNotFound", "There is no such receipt.")
    page = await invoice_upo(sandbox, session, invoice)
    return xml_file(page.path, page.sha256)


def xml_file(path: Path, sha256: str) -> Response:
    """Build the answer with a stored XML file and its hash."""
    return FileResponse(path, media_type="application/xml", headers={"x-ms-meta-hash": sha256})


def _session(request: Request, sandbox: Sandbox) -> Session | None:
    return sandbox.state.sessions.get(request.path_params["reference"].upper())
