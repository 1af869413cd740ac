"""Compresses streamed answers as the client accepts it (RFC 9110, section 12.5.3; zstd: RFC 8878)."""

from collections.abc import AsyncIterator
from typing import Final, Protocol, cast

import zstandard
from isal import isal_zlib

ZSTD: Final = "zstd"
GZIP: Final = "gzip"

_PREFERRED: Final = (ZSTD, GZIP)
_ALIASES: Final = {"x-gzip": GZIP}
_LONGEST_HEADER: Final = 1_000
_GZIP_LEVEL: Final = 2
_GZIP_WINDOW: Final = 31
_ZSTD_LEVEL: Final = 3
# RFC 9659: clients need not support a larger window.
_ZSTD_WINDOW_LOG: Final = 20


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes:
        """Add bytes, and return those that are ready."""

    def flush(self) -> bytes:
        """Return the rest."""


def choose_coding(accept_encoding: str | None) -> str | None:
    """Return the coding that the header prefers, zstd before gzip where it prefers none; None for no coding.

    An answer without a coding is sent also to a client that excludes it, since that is of more use than a refusal.
    """
    if not accept_encoding or len(accept_encoding) > _LONGEST_HEADER:
        return None
    qualities = dict(_quality(item) for item in accept_encoding.lower().split(",") if item.strip())
    others = qualities.get("*", 0.0)
    best, best_quality = None, 0.0
    for coding in _PREFERRED:
        quality = qualities.get(coding, others)
        if quality > best_quality:
            best, best_quality = coding, quality
    return best if best_quality >= qualities.get("identity", 0.0) else None


def _quality(item: str) -> tuple[str, float]:
    name, _, parameters = (part.strip() for part in item.partition(";"))
    quality = 1.0
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    # A number that is no quality, such as nan, counts as 0.
    return _ALIASES.get(name, name), quality if 0.0 <= quality <= 1.0 else 0.0


async def compressed(content: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    """Yield the compressed content, piece by piece: a piece is compressed when the client has taken the ones before."""
    compressor = _compressor(coding)
    async for piece in content:
        if ready := compressor.compress(piece):
            yield ready
    yield compressor.flush()


def _compressor(coding: str) -> _Compressor:
    if coding == ZSTD:
        parameters = zstandard.ZstdCompressionParameters.from_level(_ZSTD_LEVEL, window_log=_ZSTD_WINDOW_LOG)
        return cast("_Compressor", zstandard.ZstdCompressor(compression_params=parameters).compressobj())
    return cast("_Compressor", isal_zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW))
