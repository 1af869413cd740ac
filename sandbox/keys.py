"""The sandbox's own keys: public keys for encryption, the seal of its receipts, secrets for tokens and links."""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
_LIFE = timedelta(days=730)


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A key pair whose certificate is published; `usage` is the contract's name for what it is for."""

    usage: str
    private_key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def certificate_der(self) -> bytes:
        """The certificate as published."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def public_key_id(self) -> str:
        """Base64 of the SHA-256 of the public key's DER form."""
        spki = self.private_key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return _digest(spki)

    @property
    def certificate_id(self) -> str:
        """Base64 of the SHA-256 of the certificate's DER form."""
        return _digest(self.certificate_der)

    def decrypt(self, ciphertext: bytes) -> bytes:
        """RSA-OAEP with SHA-256 for both the hash and MGF1. Raises ValueError for anything else."""
        return self.private_key.decrypt(ciphertext, _OAEP)


@dataclass(frozen=True, slots=True)
class SandboxKeys:
    """Everything secret that one run of the sandbox holds."""

    token_encryption: PublishedKey
    symmetric_encryption: PublishedKey
    seal: PublishedKey
    authority: PublishedKey
    """Issues KSeF certificates."""
    token_secret: bytes
    link_secret: bytes


def make_keys(now: datetime) -> SandboxKeys:
    """Fresh keys; the certificates are self-signed and valid from a day before `now`."""
    return SandboxKeys(
        token_encryption=_published("KsefTokenEncryption", now),
        symmetric_encryption=_published("SymmetricKeyEncryption", now),
        seal=_published("Seal", now),
        authority=_published("Authority", now),
        token_secret=secrets.token_bytes(32),
        link_secret=secrets.token_bytes(32),
    )


def _published(usage: str, now: datetime) -> PublishedKey:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"KSeF sandbox {usage}"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "KSeF sandbox"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "PL"),
        ]
    )
    start = now.replace(microsecond=0) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _LIFE)
        .sign(key, hashes.SHA256())
    )
    return PublishedKey(usage, key, certificate)


def _digest(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode("ascii")
