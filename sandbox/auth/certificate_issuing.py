"""Reader of certificate requests, and issuer of the certificates.

Source: ksef-docs, certyfikaty-KSeF.md: RSA of 2048 bits or P-256, signed with SHA-1, -256, -384 or -512; the subject
exactly as in GET /certificates/enrollments/data.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

from sandbox.errors import bad
from sandbox.keys import PublishedKey
from sandbox.state.records.common import Identifier

_MEMBERS = {
    NameOID.COMMON_NAME: "commonName",
    NameOID.SURNAME: "surname",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.COUNTRY_NAME: "countryName",
    NameOID.ORGANIZATION_NAME: "organizationName",
    NameOID.GIVEN_NAME: "givenName",
    NameOID.X500_UNIQUE_IDENTIFIER: "uniqueIdentifier",
    ObjectIdentifier("2.5.4.97"): "organizationIdentifier",
}
_DIGESTS = ("sha1", "sha256", "sha384", "sha512")


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A valid PKCS#10 request."""

    subject: x509.Name
    public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    public_key_hash: str
    """Hex SHA-256 of the public key's DER form."""


def subject_names(name: x509.Name) -> dict[str, str]:
    """Return a subject's attributes by the contract's member names; repeated ones are joined by spaces."""
    found: dict[str, str] = {}
    for attribute in name:
        member = _MEMBERS.get(attribute.oid)
        if member is not None:
            value = (
                attribute.value.decode("utf-8", "replace") if isinstance(attribute.value, bytes) else attribute.value
            )
            found[member] = f"{found[member]} {value}" if member in found else value
    return found


def enrollment_names(certificate: x509.Certificate, owner: Identifier) -> dict[str, str]:
    """Return the subject that a request of this certificate's owner must have.

    Identifiers have their normal form TINPL-, PNOPL- or VATPL- and the number, also if the certificate has another prefix
    (ksef-api, issue 187).
    """
    names = subject_names(certificate.subject)
    if "organizationIdentifier" in names and owner.type == "Nip":
        names["organizationIdentifier"] = f"VATPL-{owner.value}"
    elif "serialNumber" in names and owner.type in {"Nip", "Pesel"}:
        names["serialNumber"] = f"{'TINPL' if owner.type == 'Nip' else 'PNOPL'}-{owner.value}"
    return names


def read_request(der: bytes, names: dict[str, str]) -> CertificateRequest:
    """Read and check the request; raises BadRequest 25004, 25010, 25011 or 25003."""
    try:
        request = x509.load_der_x509_csr(der)
        key = request.public_key()
        digest = request.signature_hash_algorithm
        subject = list(request.subject)
    except UnsupportedAlgorithm as error:
        raise bad(25011, str(error)) from error
    except ValueError as error:
        raise bad(25004, "Wniosek nie jest dokumentem PKCS#10 w postaci DER.") from error
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size != 2048:
            raise bad(25010, f"Klucz RSA ma {key.key_size} bitów, wymagane jest 2048.")
    elif not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise bad(25010, "Dozwolone są klucze RSA oraz EC na krzywej P-256.")
    if digest is None or digest.name not in _DIGESTS:
        raise bad(25011, f"Funkcja skrótu {digest.name if digest else 'brak'} nie jest dozwolona.")
    if not _is_signed(request):
        raise bad(25004, "Podpis wniosku jest nieprawidłowy.")
    if len(subject) != len(names) or subject_names(request.subject) != names:
        raise bad(25003)
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return CertificateRequest(request.subject, key, hashlib.sha256(spki).hexdigest())


def _is_signed(request: x509.CertificateSigningRequest) -> bool:
    try:
        return request.is_signature_valid
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False


def new_serial_number() -> str:
    """Return 16 random hex digits. The highest bit is clear, so that a certificate encodes the number in eight bytes."""
    return f"{secrets.randbits(62) | 1 << 62:016X}"


def issue(
    authority: PublishedKey,
    request: CertificateRequest,
    *,
    serial_number: str,
    kind: str,
    valid_from: datetime,
    valid_to: datetime,
) -> bytes:
    """Issue the certificate, in DER.

    The key usage of Authentication is digital signature, that of Offline content commitment only, so a verifier of the key
    usage refuses each one in the place of the other.
    """
    offline = kind == "Offline"
    usage = x509.KeyUsage(
        digital_signature=not offline,
        content_commitment=offline,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.private_key.public_key())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(authority.certificate.subject)
        .public_key(request.public_key)
        .serial_number(int(serial_number, 16))
        .not_valid_before(valid_from)
        .not_valid_after(valid_to)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key), critical=False)
        .add_extension(issuer_key, critical=False)
        .sign(authority.private_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.DER)
