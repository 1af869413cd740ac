"""Streams request bodies to the object store and hashes them; removes the bytes of interrupted and refused ones."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import anyio
from starlette.requests import Request

from app.api.http.content_coding import DeclaredDigests, content_coding, inflate_whole, read_digests
from app.api.http.errors import EmptyBody
from app.api.intake.admission import Admission
from app.api.intake.arrival import Arrival, pieces
from app.errors import BodyTooLarge, RequestError
from app.settings import Settings
from app.store.blob_writers import BlobWriter
from app.store.store import Store

_CLEANUP_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class ReceivedBody:
    """A body whose bytes are durable under a key."""

    blob_key: str
    size: int
    sha256: bytes


class Receiver:
    """Receives upload bodies within the limits of `Admission`."""

    def __init__(self, store: Store, settings: Settings, admission: Admission) -> None:
        self._store = store
        self._settings = settings
        self._admission = admission

    @asynccontextmanager
    async def receive(self, request: Request, tenant_id: int) -> AsyncIterator[ReceivedBody]:
        """Store the request's body and yield it; the caller acknowledges it inside the block.

        The blob is removed when the block raises RequestError, since the body was refused. After any other error it stays, since
        the row that names it may be committed; maintenance removes blobs that no row names.

        Raises BodyTooLarge and the errors of `Admission.arrival` before the body is read; BodyTooLarge, BodyTooSlow,
        DigestMismatch and EmptyBody after that; ClientDisconnect when the client disconnects.
        """
        declared = declared_length(request, self._settings.max_upload_bytes)
        expected = DeclaredDigests(request)
        async with self.admit(tenant_id, declared) as arrival:
            body = await self._store_body(request, arrival, expected)
            try:
                yield body
            except RequestError:
                await self.discard(body)
                raise

    def admit(self, tenant_id: int, declared: int | None) -> AbstractAsyncContextManager[Arrival]:
        """Count a body while it is received and acknowledged. Raises the errors of `Admission.arrival`."""
        return self._admission.arrival(tenant_id, declared)

    async def discard(self, body: ReceivedBody) -> None:
        """Remove a body that no row names."""
        with anyio.move_on_after(_CLEANUP_SECONDS, shield=True):
            await self._store.blobs.delete([body.blob_key])

    async def _store_body(self, request: Request, arrival: Arrival, expected: DeclaredDigests) -> ReceivedBody:
        writer = self._store.blobs.writer(f"uploads/{uuid4().hex}")
        try:
            body = await self._take(request, writer, arrival, expected)
        except BaseException:
            with anyio.move_on_after(_CLEANUP_SECONDS, shield=True):
                await writer.abort()
            raise
        return body

    async def _take(
        self, request: Request, writer: BlobWriter, arrival: Arrival, expected: DeclaredDigests
    ) -> ReceivedBody:
        digest = hashlib.sha256()
        size = 0
        async for piece in pieces(request, arrival):
            size += len(piece)
            if size > self._settings.max_upload_bytes:
                raise too_large(self._settings.max_upload_bytes)
            arrival.grow_to(size)
            digest.update(piece)
            expected.update(piece)
            await writer.write(piece)
        if size == 0:
            raise EmptyBody
        expected.verify()
        await writer.close()
        return ReceivedBody(writer.key, size, digest.digest())


async def small_body(request: Request, limit: int) -> bytes:
    """Read a whole body of at most `limit` bytes, verify its digests and undo its Content-Encoding.

    Raises the errors of `Receiver.receive`, UnsupportedContentCoding and ContentCodingDamaged.
    """
    coding = content_coding(request, takes_gzip=True)
    declared_length(request, limit)
    expected = DeclaredDigests(request)
    body = bytearray()
    async for piece in pieces(request):
        body += piece
        if len(body) > limit:
            raise too_large(limit)
    if not body:
        raise EmptyBody
    await expected.update_whole(body)
    expected.verify()
    content = bytes(body) if coding is None else await inflate_whole(bytes(body), limit)
    if not content:
        raise EmptyBody
    return content


def declared_length(request: Request, limit: int) -> int | None:
    """Return the body's length from Content-Length, None without the header. Raises BodyTooLarge, EmptyBody, RequestError."""
    text = request.headers.get("content-length")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise RequestError("Content-Length is not a number")
    length = int(text[:20])
    if length > limit:
        raise too_large(limit)
    if length == 0:
        raise EmptyBody
    return length


def declared_digest(request: Request) -> bytes | None:
    """Return the SHA-256 that Content-Digest declares (RFC 9530), None without one; other algorithms are ignored.

    Raises DigestMismatch when it is malformed, since no body can have it.
    """
    found = dict(read_digests(",".join(request.headers.getlist("content-digest")), "content-digest"))
    return found.get("sha-256")


def refuse_content_encoding(request: Request) -> None:
    """Raise UnsupportedContentCoding for a coded body, where offsets and sizes count the stored bytes."""
    content_coding(request, takes_gzip=False)


def too_large(limit: int) -> BodyTooLarge:
    """Return the error that names the limit."""
    return BodyTooLarge(f"the body is larger than {limit} bytes, which is the limit")
