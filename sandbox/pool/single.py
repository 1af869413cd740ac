"""Check of one online invoice: decrypts it, compares it with the declared size and hash, and checks it."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from sandbox.pool.checking import verdict_on
from sandbox.pool.outcome import DocumentRules, Verdict


@dataclass(frozen=True, slots=True)
class InvoiceJob:
    """Input for the check of one online invoice. Sizes are bytes, hashes are Base64 SHA-256."""

    encrypted: Path
    plain: Path
    """The path for the decrypted invoice."""
    key: bytes
    iv: bytes
    declared_size: int
    declared_hash: str
    rules: DocumentRules


def check_invoice(job: InvoiceJob) -> Verdict:
    """Check one invoice and return the verdict. The decrypted invoice is kept at `job.plain`.

    The code is 435 when it cannot be decrypted, 430 when size or hash differ from the declared ones (ksef-docs,
    weryfikacja-faktury.md), otherwise that of the checks. The hash of a verdict is the declared one.
    """
    try:
        content = _decrypt(job.encrypted.read_bytes(), job.key, job.iv)
    except ValueError:
        return Verdict(name="", sha256=job.declared_hash, size=0, code=435)
    job.plain.write_bytes(content)
    size, declared = len(content), job.declared_hash
    if size != job.declared_size:
        return Verdict("", declared, size, 430, ("Rozmiar faktury różni się od zadeklarowanego.",))
    if base64.b64encode(hashlib.sha256(content).digest()).decode("ascii") != declared:
        return Verdict("", declared, size, 430, ("Skrót faktury różni się od zadeklarowanego.",))
    return verdict_on(content, job.rules, name="", sha256=declared, size=size)


def _decrypt(content: bytes, key: bytes, iv: bytes) -> bytes:
    decryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).decryptor()
    unpadder = PKCS7(128).unpadder()
    return unpadder.update(decryptor.update(content) + decryptor.finalize()) + unpadder.finalize()
