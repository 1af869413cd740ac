"""Reads the headers that describe a request's bytes: their coding, and the digests that they must have.

Sources: RFC 9110, sections 8.4 and 15.5.16 (Content-Encoding), RFC 9530 (Content-Digest, Repr-Digest).
"""

import base64
import binascii
import hashlib
from typing import Final, cast

import anyio.to_thread
from isal import isal_zlib
from starlette.requests import Request

from app.api.http.errors import ContentCodingDamaged, UnsupportedContentCoding
from app.errors import BodyTooLarge, DigestMismatch, RequestError

GZIP: Final = "gzip"

_GZIP_NAMES: Final = {"gzip", "x-gzip"}
_GZIP_WINDOW: Final = 31
_ALGORITHMS: Final = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}
_DIGEST_HEADERS: Final = ("content-digest", "repr-digest")
_INFLATE_ERROR = cast("type[Exception]", isal_zlib.error)
_HASH_INLINE_BYTES: Final = 500_000
_MOST_MEMBERS: Final = 64


def content_coding(request: Request, *, takes_gzip: bool) -> str | None:
    """Return `gzip` for a gzip-coded body, None for one without coding.

    Raises UnsupportedContentCoding for any other coding, for several codings of one body, and for gzip where `takes_gzip` is
    false: a ZIP is read from its end, and a compressed body gains nothing.
    """
    named = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    codings = [coding.strip() for coding in named if coding.strip() not in {"", "identity"}]
    if not codings:
        return None
    if not takes_gzip:
        raise UnsupportedContentCoding(
            "a body of this content type is already compressed or is sent in pieces; send it without Content-Encoding",
            accepted="identity",
        )
    if len(codings) > 1:
        raise UnsupportedContentCoding("several codings of one body are not supported; send at most one, gzip")
    if codings[0] not in _GZIP_NAMES:
        raise UnsupportedContentCoding(
            f"Content-Encoding {codings[0][:40]!r} is not supported; send the body with gzip or without a coding"
        )
    return GZIP


class DeclaredDigests:
    """Digests that a request declares of its bytes as they are sent, so of compressed bytes in a compressed body.

    SHA-256 and SHA-512 are verified, other algorithms ignored, as RFC 9530 allows. In a request with a complete body, Repr-Digest
    covers the same bytes as Content-Digest.
    """

    def __init__(self, request: Request) -> None:
        """Read the headers. Raises DigestMismatch when a digest is malformed, since no body can have it.

        Raises RequestError when a digest is announced as a trailer, where it would not be verified.
        """
        announced = {name.strip().lower() for name in ",".join(request.headers.getlist("trailer")).split(",")}
        if not announced.isdisjoint(_DIGEST_HEADERS):
            raise RequestError(
                "a digest behind the body (Trailer) is not verified; send it as a header before the body"
            )
        self._expected = [
            (name, algorithm, digest)
            for name in _DIGEST_HEADERS
            for algorithm, digest in read_digests(",".join(request.headers.getlist(name)), name)
        ]
        self._hashes = {algorithm: _ALGORITHMS[algorithm]() for _, algorithm, _ in self._expected}

    def update(self, piece: bytes | bytearray) -> None:
        """Add the next bytes of the body."""
        for digest in self._hashes.values():
            digest.update(piece)

    async def update_whole(self, body: bytes | bytearray) -> None:
        """Add a whole body, in a thread if it is large."""
        if self._hashes and len(body) > _HASH_INLINE_BYTES:
            await anyio.to_thread.run_sync(self.update, body)
        else:
            self.update(body)

    def verify(self) -> None:
        """Raise DigestMismatch when the bytes lack one of the declared digests."""
        for name, algorithm, digest in self._expected:
            if self._hashes[algorithm].digest() != digest:
                raise DigestMismatch(f"the body does not have the {algorithm} digest that {name.title()} declares")


def read_digests(text: str, header: str) -> list[tuple[str, bytes]]:
    """Return (algorithm, digest) of a digest header, for the algorithms that are verified. Raises DigestMismatch."""
    found: list[tuple[str, bytes]] = []
    for member in text.split(","):
        name, _, value = member.partition("=")
        algorithm = name.strip().lower()
        if algorithm not in _ALGORITHMS:
            continue
        value = value.partition(";")[0].strip()
        size = _ALGORITHMS[algorithm]().digest_size
        digest = b""
        if len(value) > 2 and value.startswith(":") and value.endswith(":"):
            try:
                digest = base64.b64decode(value[1:-1], validate=True)
            except (binascii.Error, ValueError):
                digest = b""
        if len(digest) != size:
            raise DigestMismatch(
                f"{header.title()} cannot be read; its form is '{algorithm}=:<Base64 of {size} bytes>:'"
            )
        found.append((algorithm, digest))
    return found


async def inflate_whole(coded: bytes, limit: int) -> bytes:
    """Inflate a small gzip-coded body in a thread. Raises BodyTooLarge above `limit` bytes, and ContentCodingDamaged."""
    return await anyio.to_thread.run_sync(_inflate, coded, limit)


def _inflate(coded: bytes, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while coded:
        member = isal_zlib.decompressobj(wbits=_GZIP_WINDOW)
        try:
            piece = member.decompress(coded, limit - size + 1)
        except (_INFLATE_ERROR, OverflowError) as error:
            raise ContentCodingDamaged("the body is not gzip, although its Content-Encoding says so") from error
        size += len(piece)
        if size > limit:
            raise BodyTooLarge(f"the body is larger than {limit} bytes when it is inflated, which is the limit")
        if not member.eof:
            raise ContentCodingDamaged("the gzip-coded body ends too early")
        pieces.append(piece)
        # The unused rest is copied for each member, so their number is limited.
        if len(pieces) > _MOST_MEMBERS:
            raise ContentCodingDamaged(f"the gzip-coded body has more than {_MOST_MEMBERS} members")
        coded = member.unused_data.lstrip(b"\0")
    return b"".join(pieces)
