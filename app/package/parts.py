"""Sealing: the package stream cut into parts, each encrypted on its own, everything hashed in the same pass.

Source: ksef-docs, sesja-wsadowa.md, sections 2 and 3; KSeF API 2.9, POST /sessions/batch, `batchFile`. The
cut is blind: parts are slices of bytes, joined by KSeF in the order of their ordinal numbers once decrypted.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC

from app.package.errors import PackageLimitExceeded, PartMismatch
from app.package.limits import (
    AES_BLOCK_BYTES,
    AES_KEY_BYTES,
    DEFAULT_PART_PLAIN_BYTES,
    MAX_PACKAGE_BYTES,
    MAX_PART_PLAIN_BYTES,
    MAX_PARTS,
)

# One call of cipher and hashes per block: below some 100 KB the fixed cost shows, above 1 MiB memory grows.
_BLOCK_BYTES: Final = 1 << 20


class PartSink(Protocol):
    """The destination of one encrypted part. `close` keeps the part; `abort` leaves no trace of it.

    `abort` may follow a `close` that failed.
    """

    def write(self, data: bytes, /) -> object:
        """Write all of the bytes."""

    def close(self) -> object:
        """Keep the written bytes."""

    def abort(self) -> object:
        """Discard the written bytes."""


@dataclass(frozen=True, slots=True)
class SealedPart:
    """One encrypted part.

    `ordinal_number` counts from 1, `plain_size` and `size` are the bytes before and after encryption, `sha256` is that of the
    encrypted bytes.
    """

    ordinal_number: int
    plain_size: int
    size: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class SealedPackage:
    """A package in parts: `size` and `sha256` are those of the plain package, before encryption."""

    size: int
    sha256: bytes
    parts: tuple[SealedPart, ...]


def seal_parts(
    package: Iterable[bytes],
    *,
    key: bytes,
    iv: bytes,
    open_part: Callable[[int], PartSink],
    part_bytes: int = DEFAULT_PART_PLAIN_BYTES,
    max_parts: int = MAX_PARTS,
    max_package_bytes: int = MAX_PACKAGE_BYTES,
) -> SealedPackage:
    """Cut the package every `part_bytes` plain bytes, encrypt each part and write it to its sink.

    Each part is AES-256-CBC with PKCS#7 padding, from the start, with the same key and IV; the IV is not
    written, it travels in the request (`initializationVector`). Sinks are opened one after the other, numbers
    from 1, and closed when their part is complete. Memory holds about 3 MiB, independent of the package's size.

    Raises PackageLimitExceeded when the package is empty or needs more parts or bytes than allowed, and
    passes on errors of `package` and the sinks. The sink that is open then is aborted; parts closed before stay for
    the caller to remove. Raises ValueError on a wrong length of key or IV: KSeF would leave such a session
    hanging rather than refuse it.
    """
    if len(key) != AES_KEY_BYTES or len(iv) != AES_BLOCK_BYTES:
        raise ValueError(f"the key must have {AES_KEY_BYTES} bytes and the IV {AES_BLOCK_BYTES}")
    if not 1 <= part_bytes <= MAX_PART_PLAIN_BYTES:
        raise ValueError(f"a part must have between 1 and {MAX_PART_PLAIN_BYTES} bytes before encryption")
    cutter = _Cutter(Cipher(AES256(key), CBC(iv)), open_part, part_bytes, max_parts, max_package_bytes)
    try:
        for block in _blocks(package):
            cutter.take(block)
        return cutter.finish()
    except BaseException:
        # A cancelled thread comes here too. Only this function has the half-written part, so it must abort it.
        cutter.abort()
        raise


def verify_part(chunks: Iterable[bytes], expected_size: int, expected_sha256: bytes) -> None:
    """Read a stored part to its end and make sure that it is the one that was sealed.

    Raises PartMismatch if size or SHA-256 differ; reading stops as soon as the part is too long.
    """
    digest = hashlib.sha256()
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > expected_size:
            raise PartMismatch(f"The stored part is longer than the {expected_size} bytes that were sealed")
        digest.update(chunk)
    if size != expected_size:
        raise PartMismatch(f"The stored part has {size} bytes, {expected_size} were sealed")
    if not hmac.compare_digest(digest.digest(), expected_sha256):
        raise PartMismatch("The stored part does not have the SHA-256 that was sealed")


class _Cutter:
    """The state of cutting: the hash so far, the complete parts, and the open one."""

    def __init__(
        self,
        cipher: Cipher[CBC],
        open_part: Callable[[int], PartSink],
        part_bytes: int,
        max_parts: int,
        max_package_bytes: int,
    ) -> None:
        self._cipher = cipher
        self._open_part = open_part
        self._part_bytes = part_bytes
        self._max_parts = max_parts
        self._max_package_bytes = max_package_bytes
        self._digest = hashlib.sha256()
        self._size = 0
        self._parts: list[SealedPart] = []
        self._writer: _PartWriter | None = None

    def take(self, block: bytes) -> None:
        self._size += len(block)
        if self._size > self._max_package_bytes:
            raise PackageLimitExceeded(f"The package is larger than {self._max_package_bytes} bytes")
        self._digest.update(block)
        rest = memoryview(block)
        while rest:
            writer = self._writer or self._open()
            taken = rest[: self._part_bytes - writer.plain_size]
            writer.write(taken)
            rest = rest[len(taken) :]
            if writer.plain_size == self._part_bytes:
                self._close(writer)

    def finish(self) -> SealedPackage:
        if self._writer is not None:
            self._close(self._writer)
        if not self._parts:
            raise PackageLimitExceeded("The package is empty")
        return SealedPackage(self._size, self._digest.digest(), tuple(self._parts))

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.sink.abort()

    def _open(self) -> "_PartWriter":
        # A part is opened only for bytes that are there: a package that ends on a cut has no empty last part.
        number = len(self._parts) + 1
        if number > self._max_parts:
            raise PackageLimitExceeded(
                f"The package needs more than {self._max_parts} parts of {self._part_bytes} bytes"
            )
        self._writer = _PartWriter(number, self._cipher, self._open_part(number))
        return self._writer

    def _close(self, writer: "_PartWriter") -> None:
        self._parts.append(writer.finish())
        self._writer = None


class _PartWriter:
    """The encryption of one part into its sink."""

    __slots__ = ("_digest", "_encryptor", "_number", "_size", "plain_size", "sink")

    def __init__(self, number: int, cipher: Cipher[CBC], sink: PartSink) -> None:
        self._number = number
        self._encryptor = cipher.encryptor()
        self._digest = hashlib.sha256()
        self._size = 0
        self.plain_size = 0
        self.sink = sink

    def write(self, plain: bytes | memoryview) -> None:
        self.plain_size += len(plain)
        self._emit(self._encryptor.update(plain))

    def finish(self) -> SealedPart:
        # CBC takes bytes in portions of any size, so only the last portion needs PKCS#7 padding.
        padding = AES_BLOCK_BYTES - self.plain_size % AES_BLOCK_BYTES
        self._emit(self._encryptor.update(bytes([padding]) * padding) + self._encryptor.finalize())
        self.sink.close()
        return SealedPart(self._number, self.plain_size, self._size, self._digest.digest())

    def _emit(self, encrypted: bytes) -> None:
        if encrypted:
            self._digest.update(encrypted)
            self._size += len(encrypted)
            self.sink.write(encrypted)


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in blocks of at least 1 MiB (the last may be smaller)."""
    waiting: list[bytes] = []
    waiting_bytes = 0
    for chunk in chunks:
        waiting.append(chunk)
        waiting_bytes += len(chunk)
        if waiting_bytes >= _BLOCK_BYTES:
            yield waiting[0] if len(waiting) == 1 else b"".join(waiting)
            waiting.clear()
            waiting_bytes = 0
    if waiting_bytes:
        yield b"".join(waiting)
