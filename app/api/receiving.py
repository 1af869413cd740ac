"""Making a request body durable as it arrives: never whole in memory, hashed on the way, nothing left when it breaks off."""

import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import anyio
from starlette.requests import Request

from app.api.errors import BodyTooSlow, Busy, EmptyBody, SpoolFull
from app.errors import BodyTooLarge, DigestMismatch, RequestError, UnsupportedContentType
from app.settings import Settings
from app.store.blobs import BlobWriter
from app.store.store import Store

IDLE_SECONDS: Final = 60.0
"""How long a sender may pause in the middle of a body."""

CONCURRENT_BODIES: Final = 32
"""Bodies that this process takes at a time. Each may hold some megabytes in buffers on its way to the blob store."""

CONCURRENT_BODIES_OF_A_TENANT: Final = 8
"""So that one tenant's many slow connections leave room for everybody else's."""

WAIT_SECONDS: Final = 30.0
"""How long a request waits for its turn; its body is not read meanwhile, so waiting costs nothing."""

_CLEANUP_SECONDS: Final = 10.0
_DIGEST: Final = re.compile(r"(?:^|,)\s*sha-256\s*=\s*(:[^:,]*:|[^,]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ReceivedBody:
    """A body whose bytes are durable under a key."""

    blob_key: str
    size: int
    sha256: bytes


class Receiver:
    """Takes upload bodies, within bounds on how many and how much."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._bodies = anyio.CapacityLimiter(CONCURRENT_BODIES)
        self._of_tenant: dict[int, int] = {}
        self._arriving_bytes = 0

    @asynccontextmanager
    async def receive(self, request: Request, tenant_id: int) -> AsyncIterator[ReceivedBody]:
        """Store the request's body and give it; the caller acknowledges it inside the block.

        The blob is removed when the block raises RequestError: the body was refused. After any other error it stays, for
        nobody knows whether the row that names it was committed; maintenance removes what no row names.

        Raises UnsupportedContentType, BodyTooLarge, SpoolFull and Busy before the body is read; BodyTooLarge, BodyTooSlow,
        DigestMismatch and EmptyBody after; ClientDisconnect when the client went away.
        """
        refuse_content_encoding(request)
        declared = declared_length(request, self._settings.max_upload_bytes)
        expected = declared_digest(request)
        turn = object()
        with self._turn_of(tenant_id):
            try:
                with anyio.fail_after(WAIT_SECONDS):
                    await self._bodies.acquire_on_behalf_of(turn)
            except TimeoutError as error:
                raise Busy("too many uploads arrive at this moment") from error
            try:
                body = await self._store_body(request, declared, expected)
            finally:
                self._bodies.release_on_behalf_of(turn)
        try:
            yield body
        except RequestError:
            await self.discard(body)
            raise

    async def discard(self, body: ReceivedBody) -> None:
        """Remove a body that no row names."""
        with anyio.move_on_after(_CLEANUP_SECONDS, shield=True):
            await self._store.blobs.delete([body.blob_key])

    async def accepts_more(self) -> bool:
        """Tell whether the spool has room."""
        return await self._store.uploads.spooled_bytes() + self._arriving_bytes < self._settings.spool_limit_bytes

    @contextmanager
    def _turn_of(self, tenant_id: int) -> Iterator[None]:
        count = self._of_tenant.get(tenant_id, 0)
        if count >= CONCURRENT_BODIES_OF_A_TENANT:
            raise Busy(f"{count} uploads of this tenant arrive at this moment; send fewer at a time")
        self._of_tenant[tenant_id] = count + 1
        try:
            yield
        finally:
            self._of_tenant[tenant_id] -= 1
            if not self._of_tenant[tenant_id]:
                del self._of_tenant[tenant_id]

    async def _store_body(self, request: Request, declared: int | None, expected: bytes | None) -> ReceivedBody:
        arrival = _Arrival(self, await self._store.uploads.spooled_bytes(), declared)
        writer = self._store.blobs.writer(f"uploads/{uuid4().hex}")
        try:
            body = await self._take(request, writer, arrival, expected)
        except BaseException:
            with anyio.move_on_after(_CLEANUP_SECONDS, shield=True):
                await writer.abort()
            raise
        finally:
            arrival.end()
        return body

    async def _take(
        self, request: Request, writer: BlobWriter, arrival: "_Arrival", expected: bytes | None
    ) -> ReceivedBody:
        digest = hashlib.sha256()
        size = 0
        async for piece in pieces(request):
            size += len(piece)
            if size > self._settings.max_upload_bytes:
                raise too_large(self._settings.max_upload_bytes)
            arrival.grow_to(size)
            digest.update(piece)
            await writer.write(piece)
        if size == 0:
            raise EmptyBody
        if expected is not None and digest.digest() != expected:
            raise DigestMismatch("the body does not have the SHA-256 that Content-Digest declares")
        await writer.close()
        return ReceivedBody(writer.key, size, digest.digest())


class _Arrival:
    """The bytes of one body in the count of all that arrive, so that many bodies cannot overfill the spool together."""

    def __init__(self, receiver: Receiver, spooled: int, declared: int | None) -> None:
        self._receiver = receiver
        self._room = receiver._settings.spool_limit_bytes - spooled
        self._booked = 0
        try:
            self.grow_to(declared or 1)
        except SpoolFull:
            self.end()
            raise

    def grow_to(self, size: int) -> None:
        """Count what goes beyond the declared size. Raises SpoolFull."""
        if size <= self._booked:
            return
        self._receiver._arriving_bytes += size - self._booked
        self._booked = size
        if self._receiver._arriving_bytes > self._room:
            raise SpoolFull("too many bytes of uploads wait to be read; try again when some have been")

    def end(self) -> None:
        """Count it no more: it is stored or dropped."""
        self._receiver._arriving_bytes -= self._booked
        self._booked = 0


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """Give the body piece by piece. Raises BodyTooSlow when none came for a minute, ClientDisconnect when none will."""
    stream = request.stream()
    while True:
        try:
            with anyio.fail_after(IDLE_SECONDS):
                piece = await anext(stream, None)
        except TimeoutError as error:
            raise BodyTooSlow(f"no byte of the body came for {IDLE_SECONDS:.0f} seconds") from error
        if piece is None:
            return
        if piece:
            yield piece


async def small_body(request: Request, limit: int) -> bytes:
    """Read a whole body of at most `limit` bytes and verify its Content-Digest. Raises what `Receiver.receive` raises."""
    refuse_content_encoding(request)
    declared_length(request, limit)
    expected = declared_digest(request)
    body = bytearray()
    async for piece in pieces(request):
        body += piece
        if len(body) > limit:
            raise too_large(limit)
    if not body:
        raise EmptyBody
    if expected is not None and hashlib.sha256(body).digest() != expected:
        raise DigestMismatch("the body does not have the SHA-256 that Content-Digest declares")
    return bytes(body)


def declared_length(request: Request, limit: int) -> int | None:
    """Give the body's length by its header, None when it is not said beforehand. Raises BodyTooLarge, EmptyBody."""
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
    """Give the SHA-256 that Content-Digest declares (RFC 9530), None without one; other algorithms are passed over.

    Raises DigestMismatch when it cannot be read: no body has such a digest.
    """
    header = ",".join(request.headers.getlist("content-digest"))
    match = _DIGEST.search(header)
    if match is None:
        return None
    text = match.group(1)
    try:
        digest = base64.b64decode(text.strip(":"), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != hashlib.sha256().digest_size or not text.startswith(":"):
        raise DigestMismatch("Content-Digest cannot be read; it looks like 'sha-256=:<Base64 of 32 bytes>:'")
    return digest


def refuse_content_encoding(request: Request) -> None:
    """Refuse a body that is compressed on the way: its digest and size would speak of other bytes than we keep."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise UnsupportedContentType(f"Content-Encoding {encoding[:40]!r} is not taken; send the body as it is")


def too_large(limit: int) -> BodyTooLarge:
    """Make the error that names the limit."""
    return BodyTooLarge(f"the body is larger than {limit} bytes, which is the most that is taken here")
