"""Check of a closed session's package: from encrypted parts to verdicts.

The order is KSeF's, as far as its status codes show: part hashes (405), decryption (435), the whole package's size
and hash (430), unpacking (430), number of invoices (420), each document (ksef-docs, sesja-wsadowa.md).
"""

import base64
import hashlib
import os
import signal
from collections.abc import Iterator
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from sandbox.pool.archive import BrokenArchive, TooManyEntries, read_entries
from sandbox.pool.checking import MAX_KEPT, verdict_on
from sandbox.pool.forms import FA3
from sandbox.pool.outcome import PackageJob, PackageVerdict, Verdict
from sandbox.pool.xsd import schema_of

MAX_PLAIN_PART = 100_000_000
_READ = 1 << 20


class _Refused(Exception):
    def __init__(self, code: int, *details: str) -> None:
        self.verdict = PackageVerdict(code, details)
        super().__init__(code)


def enter_pool() -> None:
    """Prepare a pool process: it ignores Ctrl-C, which its parent handles, and ends with its parent, even a killed one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is not None:
        Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def warm_up(check_schema: bool) -> None:
    """Compile the schema before the first package arrives."""
    if check_schema:
        schema_of(FA3)


def check_package(job: PackageJob) -> PackageVerdict:
    """Check one package. Its parts are kept; the decrypted package is kept only if it could be unpacked."""
    verdict = _verdict(job)
    if verdict.code != 200:
        job.package.unlink(missing_ok=True)
    return verdict


def _verdict(job: PackageJob) -> PackageVerdict:
    try:
        _check_parts(job)
        _decrypt(job)
        documents = _check_invoices(job)
    except _Refused as refused:
        return refused.verdict
    except BrokenArchive as broken:
        return PackageVerdict(430, (str(broken),))
    except TooManyEntries as many:
        detail = f"Liczba faktur w sesji: {many.count}, dozwolona liczba faktur: {job.max_invoices}."
        return PackageVerdict(420, (detail,))
    if not documents:
        return PackageVerdict(440, ("Nie przesłano faktur",))
    return PackageVerdict(200, (), tuple(documents))


def _check_parts(job: PackageJob) -> None:
    for ordinal, (path, size, expected) in enumerate(job.parts, start=1):
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(_READ):
                digest.update(chunk)
        if path.stat().st_size != size or _base64(digest.digest()) != expected:
            raise _Refused(405, f"Skrót części {ordinal} różni się od zadeklarowanego.")


def _decrypt(job: PackageJob) -> None:
    """Decrypt each part with the session's key and vector, and join them in order into one file."""
    digest = hashlib.sha256()
    total = 0
    with job.package.open("wb") as target:
        for ordinal, (path, _, _) in enumerate(job.parts, start=1):
            decryptor = Cipher(algorithms.AES256(job.key), modes.CBC(job.iv)).decryptor()
            unpadder = PKCS7(128).unpadder()
            plain_size = 0
            try:
                with path.open("rb") as stream:
                    while chunk := stream.read(_READ):
                        plain = unpadder.update(decryptor.update(chunk))
                        plain_size += len(plain)
                        digest.update(plain)
                        target.write(plain)
                    plain = unpadder.update(decryptor.finalize()) + unpadder.finalize()
            except ValueError as error:
                raise _Refused(435, f"Nie można odszyfrować części {ordinal}.") from error
            plain_size += len(plain)
            digest.update(plain)
            target.write(plain)
            if plain_size > MAX_PLAIN_PART:
                raise _Refused(405, f"Rozmiar części {ordinal} przekroczył dozwolony rozmiar 100MB.")
            total += plain_size
    if total != job.file_size:
        raise _Refused(430, f"Rozmiar paczki {total} B różni się od zadeklarowanego {job.file_size} B.")
    if _base64(digest.digest()) != job.file_hash:
        raise _Refused(430, "Skrót paczki różni się od zadeklarowanego.")


def _check_invoices(job: PackageJob) -> list[Verdict]:
    verdicts = []
    for name, chunks in read_entries(job.package, job.compression, job.max_invoices):
        content, digest, size = _read(chunks)
        verdicts.append(verdict_on(content, job.rules, name=name, sha256=digest, size=size))
    return verdicts


def _read(chunks: Iterator[bytes]) -> tuple[bytes, str, int]:
    """Read an entry: return its content (only the beginning if above every limit), hash and whole size."""
    digest = hashlib.sha256()
    kept: list[bytes] = []
    size = 0
    for chunk in chunks:
        digest.update(chunk)
        if size <= MAX_KEPT:
            kept.append(chunk)
        size += len(chunk)
    return b"".join(kept), _base64(digest.digest()), size


def read_document(package: Path, compression: str, name: str) -> bytes | None:
    """Read one entry of a decrypted package; None when there is no such entry."""
    for found, chunks in read_entries(package, compression, 1 << 31):
        if found == name:
            return b"".join(chunks)
        if compression == "TarGz":
            for _ in chunks:
                pass
    return None


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
