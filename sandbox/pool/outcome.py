"""Input and output types of the pool's work."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sandbox.pool.forms import FA3, DocumentForm


@dataclass(frozen=True, slots=True)
class PackageJob:
    """Input for the check of one closed package. Sizes are bytes, hashes are Base64 SHA-256."""

    parts: tuple[tuple[Path, int, str], ...]
    """Path, declared size and declared hash of each encrypted part, in order."""
    package: Path
    """The path for the decrypted package."""
    key: bytes
    iv: bytes
    file_size: int
    file_hash: str
    compression: str
    max_invoices: int
    rules: "DocumentRules"


@dataclass(frozen=True, slots=True)
class DocumentRules:
    """Rules for the check of one invoice."""

    today: date
    """The Polish day of the processing; no invoice may have a later date."""
    context_nip: str | None
    self_invoiced_sellers: frozenset[str]
    represented_sellers: frozenset[str]
    enforcement: bool
    """Whether the sender has the permission EnforcementOperations."""
    attachment_sellers: frozenset[str]
    may_have_attachment: bool
    """Online, only technical corrections may have one."""
    max_bytes: int
    max_bytes_with_attachment: int
    check_identifiers: bool
    check_schema: bool
    form: DocumentForm = FA3
    """The form of the session."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of the checks of one invoice; code 200 means no objection so far."""

    name: str
    sha256: str
    size: int
    code: int
    details: tuple[str, ...] = ()
    seller_nip: str | None = None
    kind: str | None = None
    number: str | None = None
    issue_date: date | None = None

    @property
    def key(self) -> tuple[str, str, str]:
        """Return the key that makes an invoice unique; only for invoices without an objection."""
        if not (self.seller_nip and self.kind and self.number):
            raise ValueError("a document without its key fields cannot have passed")
        return self.seller_nip, self.kind, self.number


@dataclass(frozen=True, slots=True)
class PackageVerdict:
    """Result of a package: a session status of 200 (unpacked) or above, and a verdict on each invoice."""

    code: int
    details: tuple[str, ...] = ()
    documents: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class UpoDocument:
    """One accepted invoice on a receipt; its times are already formatted for a UPO."""

    seller_nip: str
    ksef_number: str
    number: str
    issue_date: date
    sent: str
    acquired: str
    sha256: str
    mode: str


@dataclass(frozen=True, slots=True)
class UpoJob:
    """Input for one receipt to make and sign."""

    target: Path
    session_reference_number: str
    context: tuple[str, str]
    token_reference: str | None
    document_hash: str | None
    page: tuple[int, int, int, int, int] | None
    """Page, pages, first document, last document, all documents; None on the receipt of a single invoice."""
    documents: tuple[UpoDocument, ...]
    seal_key_pem: bytes
    seal_certificate_pem: bytes
    form: DocumentForm = FA3
