"""What goes into the pool and what comes out."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PackageJob:
    """All that is needed to judge one closed package. Sizes are bytes, hashes are Base64 SHA-256."""

    parts: tuple[tuple[Path, int, str], ...]
    """Path, declared size and declared hash of each encrypted part, in order."""
    package: Path
    """Where the decrypted package is to be written."""
    key: bytes
    iv: bytes
    file_size: int
    file_hash: str
    compression: str
    max_invoices: int
    rules: "DocumentRules"


@dataclass(frozen=True, slots=True)
class DocumentRules:
    """What one document is judged by."""

    today: date
    """The Polish day on which the package is processed; no invoice may be dated later."""
    context_nip: str | None
    self_invoiced_sellers: frozenset[str]
    represented_sellers: frozenset[str]
    enforcement: bool
    """Whether the sender holds EnforcementOperations."""
    attachment_sellers: frozenset[str]
    may_have_attachment: bool
    """Online only technical corrections may."""
    max_bytes: int
    max_bytes_with_attachment: int
    check_identifiers: bool
    check_schema: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checks say about one document; code 200 means no objection so far."""

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
        """What makes an invoice unique; to be asked for only where nothing stood against the document."""
        if not (self.seller_nip and self.kind and self.number):
            raise ValueError("a document without its key fields cannot have passed")
        return self.seller_nip, self.kind, self.number


@dataclass(frozen=True, slots=True)
class PackageVerdict:
    """What became of the package: a session status of 200 (unpacked) or above, and one verdict a document."""

    code: int
    details: tuple[str, ...] = ()
    documents: tuple[Verdict, ...] = ()


@dataclass(frozen=True, slots=True)
class UpoDocument:
    """One accepted invoice on a receipt; times are already written the Polish way."""

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
    """One receipt to make and to sign."""

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
