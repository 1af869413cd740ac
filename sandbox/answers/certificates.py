"""Answers of /certificates."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from sandbox.answers.shapes import Answer, Base64, Reference, Status

Serial = Annotated[str, Field(pattern="^[0-9A-F]{16}$")]


class Remaining(Answer):
    """The limit of a kind of object, and the number that remains."""

    remaining: int
    limit: int


class CertificateLimits(Answer):
    """GET /certificates/limits."""

    can_request: bool
    enrollment: Remaining
    certificate: Remaining


class EnrollmentData(Answer):
    """GET /certificates/enrollments/data: the exact subject that a request must have."""

    common_name: str
    country_name: str
    given_name: str | None = None
    surname: str | None = None
    serial_number: str | None = None
    unique_identifier: str | None = None
    organization_name: str | None = None
    organization_identifier: str | None = None


class EnrollmentTaken(Answer):
    """POST /certificates/enrollments."""

    reference_number: Reference
    timestamp: AwareDatetime


class EnrollmentStatus(Answer):
    """GET /certificates/enrollments/{referenceNumber}."""

    request_date: AwareDatetime
    status: Status
    certificate_serial_number: Serial | None = None


CertificateKind = Literal["Authentication", "Offline"]


class RetrievedCertificate(Answer):
    """One certificate, in DER and Base64."""

    certificate: Base64
    certificate_name: str
    certificate_serial_number: Serial
    certificate_type: CertificateKind


class RetrievedCertificates(Answer):
    """POST /certificates/retrieve."""

    certificates: list[RetrievedCertificate]


class CertificateOwner(Answer):
    """The owner of a certificate."""

    type: Literal["Nip", "Pesel", "Fingerprint"]
    value: Annotated[str, Field(min_length=10, max_length=64)]


class ListedCertificate(Answer):
    """One entry of POST /certificates/query."""

    certificate_serial_number: Serial
    name: Annotated[str, Field(max_length=100)]
    type: CertificateKind
    common_name: str
    status: Literal["Active", "Blocked", "Revoked", "Expired"]
    subject_identifier: CertificateOwner
    valid_from: AwareDatetime
    valid_to: AwareDatetime
    last_use_date: AwareDatetime | None = None
    request_date: AwareDatetime


class Certificates(Answer):
    """POST /certificates/query."""

    certificates: list[ListedCertificate]
    has_more: bool
