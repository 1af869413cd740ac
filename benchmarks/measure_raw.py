"""Measurement of the stages' compression and encryption, compared with the bare libraries on the same bytes and one core."""

import hashlib
import os
import time
import zlib
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from isal import isal_zlib

from app.domain.ids import entry_name, time_ordered_id
from app.package.entries import PackageEntry, compress, compress_entry
from app.package.parts import seal_parts
from app.package.targz_writer import targz_package
from app.package.zip_writer import zip_package
from benchmarks.measure import Figure, Say, Scale, Yardstick
from benchmarks.measure_cargo import fresh_invoices

_RAW_DEFLATE: Final = -15
_LEVEL: Final = 1
_BLOCK_BYTES: Final = 1 << 20
_PACKAGE_BYTES: Final = 40_000_000


class _Nowhere:
    """A target of parts that discards the bytes."""

    def write(self, data: bytes, /) -> None:
        """Discard the bytes."""

    def close(self) -> None:
        """Do nothing."""

    def abort(self) -> None:
        """Do nothing, as `close`."""


def measure_raw(scale: Scale, say: Say) -> list[Figure]:
    """Measure CPU time of the deflate step, of sealing parts, and of the two kinds of package."""
    count = scale.session_invoices
    say(f"raw: compressing {count:,} invoices")
    documents = [one.xml for one in fresh_invoices(count, seed=61)]
    size = sum(map(len, documents))
    ours = _cpu(lambda: [compress(document) for document in documents], scale.rounds)
    isal = _cpu(lambda: [isal_zlib.compress(document, _LEVEL, _RAW_DEFLATE) for document in documents], scale.rounds)
    plain = _cpu(lambda: [zlib.compress(document, _LEVEL, _RAW_DEFLATE) for document in documents], scale.rounds)
    say("raw: encrypting 40 MB")
    block = os.urandom(_BLOCK_BYTES)
    blocks = [block] * (_PACKAGE_BYTES // _BLOCK_BYTES)
    sealed = _cpu(lambda: _seal(blocks), scale.rounds)
    bare = _cpu(lambda: _encrypt_and_hash(blocks), scale.rounds)
    encrypted = len(blocks) * _BLOCK_BYTES
    return [
        _rate("deflate of a document at intake", size, ours, "isal, level 1", isal),
        _rate("the same beside zlib", size, ours, "zlib, level 1", plain),
        _rate("parts encrypted and hashed", encrypted, sealed, "AES-256-CBC and SHA-256 (twice) alone", bare),
        *_formats(documents, scale, say),
    ]


def _formats(documents: Sequence[bytes], scale: Scale, say: Say) -> list[Figure]:
    """Build the package of the same compressed entries in both formats, and measure cost and size."""
    say("raw: tar.gz beside ZIP")
    ready = [
        compress_entry(entry_name(time_ordered_id(number, os.urandom(10))), document)
        for number, document in enumerate(documents)
    ]
    sizes = {}
    seconds = {}
    for name, package in (("zip", zip_package), ("targz", targz_package)):
        sizes[name] = sum(map(len, package(ready)))
        seconds[name] = _cpu(lambda package=package: _drain(package, ready), scale.rounds)  # type: ignore[misc]
    detail = {"bytes": sizes, "cpu_seconds": seconds, "invoices": len(ready)}
    return [
        Figure(
            "raw", f"tar.gz of {len(ready):,} invoices, size", sizes["targz"] / 1e6, "MB",
            Yardstick("ZIP of the same", sizes["zip"] / 1e6, "MB"), detail=detail,
        ),
        Figure(
            "raw", f"tar.gz of {len(ready):,} ready entries, CPU to build it", 1000 * seconds["targz"], "ms",
            Yardstick("ZIP of the same", 1000 * seconds["zip"], "ms"), detail=detail,
        ),
    ]  # fmt: skip


def _drain(package: Callable[[Sequence[PackageEntry]], Any], ready: Sequence[PackageEntry]) -> None:
    for _ in package(ready):
        continue


def _seal(blocks: Sequence[bytes]) -> None:
    seal_parts(blocks, key=bytes(32), iv=bytes(16), open_part=lambda number: _Nowhere())


def _encrypt_and_hash(blocks: Sequence[bytes]) -> None:
    """Do the least work of every sender: one pass of the cipher, one hash of the package and one of the encrypted part."""
    encryptor = Cipher(AES256(bytes(32)), CBC(bytes(16))).encryptor()
    package, part = hashlib.sha256(), hashlib.sha256()
    for block in blocks:
        package.update(block)
        part.update(encryptor.update(block))
    encryptor.finalize()


def _rate(what: str, size: int, seconds: float, stick: str, stick_seconds: float) -> Figure:
    return Figure(
        "raw", what, size / seconds / 1e6, "MB/s", Yardstick(stick, size / stick_seconds / 1e6, "MB/s")
    )  # fmt: skip


def _cpu(step: Callable[[], Any], rounds: int) -> float:
    """Return the median CPU seconds of a step."""
    taken = []
    for _ in range(rounds):
        started = time.process_time()
        step()
        taken.append(time.process_time() - started)
    return max(median(taken), 1e-9)
