"""Certificates for login: reads an operator's files, and makes a certificate for the test environment."""

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
    load_der_private_key,
    load_pem_private_key,
    pkcs12,
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


def load_certificate(certificate: bytes, key: bytes | None = None, password: bytes | None = None) -> SigningIdentity:
    """Read a certificate and its key: PEM or DER with a separate key, PEM with the key inside, or PKCS#12.

    Of several PEM certificates the one that fits the key is used. Takes up to a second of CPU for an
    encrypted key. Raises CertificateUnusable, whose message has the next step and neither the password nor the key.
    """
    if key is None and b"-----BEGIN" not in certificate:
        return _from_pkcs12(certificate, password)
    candidates = _certificates(certificate)
    private_key = _private_key(key if key is not None else certificate, password)
    public_bytes = _public_bytes(private_key)
    for candidate in candidates:
        if candidate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == public_bytes:
            return SigningIdentity(candidate, private_key)
    raise CertificateUnusable(
        "the private key does not belong to the certificate: give the pair that was issued together"
    )


def _from_pkcs12(data: bytes, password: bytes | None) -> SigningIdentity:
    try:
        key, certificate, _ = pkcs12.load_key_and_certificates(data, password)
    except ValueError as error:
        raise CertificateUnusable(
            "the certificate file is not PKCS#12 with this password; for a DER certificate give the key file too"
        ) from error
    if key is None or certificate is None:
        raise CertificateUnusable("the PKCS#12 file has no certificate with a private key")
    return SigningIdentity(certificate, _usable(key))


def _certificates(data: bytes) -> list[x509.Certificate]:
    try:
        if b"-----BEGIN" in data:
            return x509.load_pem_x509_certificates(data)
        return [x509.load_der_x509_certificate(data)]
    except ValueError as error:
        raise CertificateUnusable("the certificate is neither PEM nor DER") from error


def _private_key(data: bytes, password: bytes | None) -> PrivateKey:
    load = load_pem_private_key if b"-----BEGIN" in data else load_der_private_key
    try:
        return _usable(load(data, password))
    except TypeError as error:
        # cryptography raises TypeError when a password is missing, or is given for a key without one.
        if password is not None:
            return _private_key(data, None)
        raise CertificateUnusable("the private key is encrypted: give its password") from error
    except ValueError as error:
        raise CertificateUnusable("the private key cannot be read: wrong password or not a key") from error


def _usable(key: object) -> PrivateKey:
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size >= 256:
        return key
    raise CertificateUnusable("KSeF takes RSA keys from 2048 bits and elliptic curves from 256 bits")


def _public_bytes(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


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
