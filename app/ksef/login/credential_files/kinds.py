"""The kind of a certificate, as far as the certificate shows it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

_QC_STATEMENTS: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.3")
"""The extension that every qualified certificate has (ETSI EN 319 412-5)."""
_KSEF_SERIAL_BITS: Final = 64
"""A KSeF certificate's serial number has 16 hexadecimal digits."""


class CertificateKind(StrEnum):
    """The kind of a certificate."""

    PERSONAL = "personal"
    SEAL = "seal"
    KSEF_AUTHENTICATION = "ksef-authentication"
    KSEF_OFFLINE = "ksef-offline"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Usages:
    """The two key usages that matter; both are allowed when the certificate does not limit its use."""

    digital_signature: bool
    non_repudiation: bool
    limited: bool

    @property
    def may_sign(self) -> bool:
        """Whether a verifier takes a signature of this certificate."""
        return self.digital_signature or self.non_repudiation


def usages_of(certificate: x509.Certificate) -> Usages:
    """Read the key usage. Raises ValueError when the extensions cannot be read."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return Usages(digital_signature=True, non_repudiation=True, limited=False)
    return Usages(usage.digital_signature, usage.content_commitment, limited=True)


def kind_of(certificate: x509.Certificate) -> CertificateKind:
    """Return the kind by key usage, extensions and subject. Raises ValueError when they cannot be read.

    Polish qualified certificates have non-repudiation as their only usage, too, so those are no Offline certificates.
    """
    usages = usages_of(certificate)
    qualified = _is_qualified(certificate)
    if usages.limited and not qualified:
        if usages.non_repudiation and not usages.digital_signature:
            return CertificateKind.KSEF_OFFLINE
        issued_by_ksef = (
            certificate.serial_number.bit_length() <= _KSEF_SERIAL_BITS and certificate.issuer != certificate.subject
        )
        if usages.digital_signature and not usages.non_repudiation and issued_by_ksef:
            return CertificateKind.KSEF_AUTHENTICATION
    subject = certificate.subject
    if subject.get_attributes_for_oid(NameOID.GIVEN_NAME) or subject.get_attributes_for_oid(NameOID.SURNAME):
        return CertificateKind.PERSONAL
    if subject.get_attributes_for_oid(NameOID.ORGANIZATION_IDENTIFIER):
        return CertificateKind.SEAL
    return CertificateKind.OTHER


def _is_qualified(certificate: x509.Certificate) -> bool:
    return any(one.oid == _QC_STATEMENTS for one in certificate.extensions)
