"""The sandbox's own keys: public keys for encryption, the seal of its receipts, secrets for tokens and links.

The public keys can be changed in KSeF's three ways (ksef-docs, klucze publiczne; KSeF API 2.9, GET
/security/public-key-certificates): another certificate for the same key, a second key in addition to the first until the first
is withdrawn, and an emergency, in which the first is withdrawn at once.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
_LIFE = timedelta(days=730)

Usage: TypeAlias = Literal["KsefTokenEncryption", "SymmetricKeyEncryption"]
Rotation: TypeAlias = Literal["recertified", "planned", "withdraw", "emergency"]


@dataclass(frozen=True)
class PublishedKey:
    """A key pair whose certificate is published; `usage` is the contract's name of its use."""

    usage: str
    private_key: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def certificate_der(self) -> bytes:
        """The certificate in DER, as it is published."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @cached_property
    def certificate_pem(self) -> bytes:
        """The certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @cached_property
    def private_key_pem(self) -> bytes:
        """The private key in PEM, not encrypted: the sandbox has no real secrets."""
        return self.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @cached_property
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
        """Decrypt RSA-OAEP with SHA-256 for both the hash and MGF1. Raises ValueError for other data."""
        return self.private_key.decrypt(ciphertext, _OAEP)


SavedKey: TypeAlias = tuple[str, bytes, bytes]
"""Usage, private key as PEM, certificate as DER."""


@dataclass(slots=True)
class SandboxKeys:
    """All keys and secrets of a sandbox. The keys of each usage are in the order of their publication."""

    token_keys: list[PublishedKey]
    symmetric_keys: list[PublishedKey]
    seal: PublishedKey
    authority: PublishedKey
    """Issues KSeF certificates."""
    token_secret: bytes
    link_secret: bytes
    _saved: tuple[list[SavedKey], bytes, bytes] | None = field(default=None, init=False)

    @property
    def published(self) -> list[PublishedKey]:
        """Return all listed keys."""
        return self.token_keys + self.symmetric_keys

    @property
    def token_encryption(self) -> PublishedKey:
        """The key for a token when a request names none."""
        return self.token_keys[-1]

    @property
    def symmetric_encryption(self) -> PublishedKey:
        """The key for a session's key when a request names none: always the latest (ksef-api, issue 802)."""
        return self.symmetric_keys[-1]

    def find(self, usage: Usage, public_key_id: str | None) -> PublishedKey | None:
        """Return the listed key of that id, without an id the latest; None for an unknown or withdrawn one."""
        keys = self._of(usage)
        if public_key_id is None:
            return keys[-1]
        return next((key for key in keys if key.public_key_id == public_key_id), None)

    def rotate(self, usage: Usage, how: Rotation, now: datetime) -> None:
        """Change the keys of a usage; `withdraw` ends a planned rotation."""
        keys = self._of(usage)
        self._saved = None
        match how:
            case "recertified":
                latest = keys.pop()
                keys.append(_published(usage, now, latest.private_key, age=timedelta(0)))
            case "planned":
                keys.append(_published(usage, now, age=timedelta(0)))
            case "withdraw":
                del keys[:-1]
            case "emergency":
                keys[:] = [_published(usage, now, age=timedelta(0))]

    def saved(self) -> tuple[list[SavedKey], bytes, bytes]:
        """Return all keys and secrets as plain values for `restored_keys`."""
        if self._saved is None:
            keys = [(key.usage, key.private_key_pem, key.certificate_der) for key in self._all()]
            self._saved = keys, self.token_secret, self.link_secret
        return self._saved

    def _all(self) -> tuple[PublishedKey, ...]:
        return *self.published, self.seal, self.authority

    def _of(self, usage: Usage) -> list[PublishedKey]:
        return self.token_keys if usage == "KsefTokenEncryption" else self.symmetric_keys


def make_keys(now: datetime) -> SandboxKeys:
    """Create new keys; the certificates are self-signed and valid from a day before `now`."""
    return SandboxKeys(
        token_keys=[_published("KsefTokenEncryption", now)],
        symmetric_keys=[_published("SymmetricKeyEncryption", now)],
        seal=_published("Seal", now),
        authority=_published("Authority", now),
        token_secret=secrets.token_bytes(32),
        link_secret=secrets.token_bytes(32),
    )


def restored_keys(saved: tuple[list[SavedKey], bytes, bytes]) -> SandboxKeys:
    """Rebuild the keys from the values of `SandboxKeys.saved`."""
    keys = [_restored(*item) for item in saved[0]]
    return SandboxKeys(
        token_keys=[key for key in keys if key.usage == "KsefTokenEncryption"],
        symmetric_keys=[key for key in keys if key.usage == "SymmetricKeyEncryption"],
        seal=next(key for key in keys if key.usage == "Seal"),
        authority=next(key for key in keys if key.usage == "Authority"),
        token_secret=saved[1],
        link_secret=saved[2],
    )


def _restored(usage: str, private_key_pem: bytes, certificate_der: bytes) -> PublishedKey:
    key = serialization.load_pem_private_key(private_key_pem, None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError("the sandbox has RSA keys only")
    return PublishedKey(usage, key, x509.load_der_x509_certificate(certificate_der))


def _published(
    usage: str, now: datetime, key: rsa.RSAPrivateKey | None = None, age: timedelta = timedelta(days=1)
) -> PublishedKey:
    key = key or rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"KSeF sandbox {usage}"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "KSeF sandbox"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "PL"),
        ]
    )
    start = now.replace(microsecond=0) - age
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
