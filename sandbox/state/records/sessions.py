"""Records of sessions, their parts, invoices and receipts."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from sandbox.pool.forms import FA3, DocumentForm
from sandbox.pool.outcome import Verdict
from sandbox.state.faults import SessionScript
from sandbox.state.records.common import Identifier, Status
from sandbox.state.records.logins import AuthOperation

InvoiceKey: TypeAlias = tuple[str, str, str]
"""Seller NIP, `RodzajFaktury`, `P_2`: the key that only one accepted invoice may have."""


@dataclass(slots=True)
class Part:
    """A declared part of a package and, after its upload, its file."""

    ordinal_number: int
    declared_size: int
    declared_hash: str
    path: Path | None = None
    stored_size: int = 0


@dataclass(slots=True)
class Invoice:
    """An invoice of a session."""

    ordinal_number: int
    reference_number: str
    verdict: Verdict
    """The result of the checks; before the check of an online invoice it has only the sender's declarations."""
    status: Status
    extensions: dict[str, str] = field(default_factory=dict)
    ksef_number: str | None = None
    acquired: datetime | None = None
    invoicing_mode: str | None = None
    sent: datetime | None = None
    """The time at which an online invoice was sent; a package's invoices count as sent at the opening of the session."""
    offline_mode: bool = False
    """The declaration for this online invoice; a package has it for its whole session."""
    document: Path | None = None
    """The file of an online invoice: encrypted before its check, plain afterwards."""
    corrected_hash: str | None = None
    """The hash of the rejected invoice that this one corrects technically."""
    phantom: "Invoice | None" = None
    """The same invoice as it was accepted, although this one is reported as its duplicate."""
    has_receipt: bool = True
    """False: its session does not give its receipt."""

    @property
    def is_final(self) -> bool:
        """Whether the status is final."""
        return self.status.code >= 200

    @property
    def is_rejected(self) -> bool:
        """Whether the invoice was rejected."""
        return self.status.code >= 400


@dataclass(slots=True)
class UpoPage:
    """A receipt on disk: a page of a session's receipt, or the receipt of one invoice."""

    reference_number: str
    path: Path
    sha256: str


@dataclass(slots=True)
class Session:
    """A batch session, or an online one (which has no package and no parts)."""

    reference_number: str
    context: Identifier
    subject: Identifier
    opened_by: AuthOperation
    offline_mode: bool
    compression: str
    file_size: int
    file_hash: str
    parts: dict[int, Part]
    key: bytes | None
    iv: bytes
    check_identifiers: bool
    created: datetime
    updated: datetime
    valid_until: datetime
    status: Status
    closed: datetime | None = None
    package: Path | None = None
    """The decrypted package, kept for downloads of accepted invoices."""
    invoices: list[Invoice] = field(default_factory=list)
    by_reference: dict[str, Invoice] = field(default_factory=dict)
    upo_pages: list[UpoPage] = field(default_factory=list)
    counts: tuple[int, int, int] | None = None
    """Counts of all, accepted and rejected invoices; None until known."""
    kind: Literal["Batch", "Online"] = "Batch"
    form: DocumentForm = FA3
    decided: list[Invoice] = field(default_factory=list)
    """Final verdicts on a package that are not published yet, because the receipt is not finished."""
    script: SessionScript = field(default_factory=SessionScript)
    """The faults that a test has set."""
    released: bool = False
    """Whether a session that its script holds may continue."""
    looks: int = 0
    """The number of status calls since the close."""
    looks_when_done: int = 0
    """The number of status calls since the final status."""

    @property
    def is_final(self) -> bool:
        """Whether the status is final."""
        return self.status.code >= 200


@dataclass(frozen=True, slots=True)
class Accepted:
    """Ledger entry: an accepted invoice and its session."""

    session: Session
    invoice: Invoice
