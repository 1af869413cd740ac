"""Certificates for login: loads stored ones, and makes a certificate for the test environment."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from app.ksef.errors import CertificateUnusable

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

_VALIDITY = timedelta(days=730)
_BACKDATED = timedelta(hours=1)
"""How far back a new certificate's validity begins, so that it is valid at KSeF even if our clock runs ahead."""
_NAME_LIMIT = 64
"""X.520's upper bound for a common name and an organisation's name."""


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """A certificate with its private key."""

    certificate: x509.Certificate
    private_key: PrivateKey = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate in upper-case hexadecimal, the form in which permissions name it."""
        return self.certificate.fingerprint(hashes.SHA256()).hex().upper()

    @property
    def valid_until(self) -> datetime:
        """The end (UTC) of the certificate's validity."""
        return self.certificate.not_valid_after_utc


def load_certificate(certificate: bytes, key: bytes) -> SigningIdentity:
    """Load a certificate and its key as the store keeps them: PEM, the key without a password.

    The files of people are read by `credential_files`. Raises CertificateUnusable when the two cannot be used.
    """
    try:
        loaded = SigningIdentity(x509.load_pem_x509_certificate(certificate), _usable(load_pem_private_key(key, None)))
    except (ValueError, TypeError) as error:
        raise CertificateUnusable("the stored certificate or its key cannot be read") from error
    if _public_bytes(loaded.certificate) != _public_bytes(loaded.private_key):
        raise CertificateUnusable("the stored private key does not belong to the certificate")
    return loaded


def _usable(key: object) -> PrivateKey:
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return key
    raise CertificateUnusable("KSeF takes RSA keys and elliptic curves")


def _public_bytes(holder: x509.Certificate | PrivateKey) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def self_signed_seal(nip: str, name: str, *, now: datetime) -> tuple[bytes, bytes]:
    """Make a certificate in the form of an organisation's seal, and its RSA key, both PEM, the key not encrypted.

    Only KSeF's test environment accepts it. The subject has no given name and no surname, with which KSeF would read it as
    a person's. It is valid for two years from an hour before `now` (aware). Takes a fraction of a second
    of CPU. Source: ksef-docs, auth/testowe-certyfikaty-i-podpisy-xades.md.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    short_name = name.strip()[:_NAME_LIMIT].strip() or f"NIP {nip}"
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, short_name),
            x509.NameAttribute(NameOID.ORGANIZATION_IDENTIFIER, f"VATPL-{nip}"),
            x509.NameAttribute(NameOID.COMMON_NAME, short_name),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "PL"),
        ]
    )
    start = now.astimezone(UTC).replace(microsecond=0) - _BACKDATED
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _VALIDITY)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                content_commitment=True,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=False,
                crl_sign=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
