"""Sessions, their parts, invoices and receipts."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from sandbox.pool.outcome import Verdict
from sandbox.state.faults import SessionScript
from sandbox.state.records.common import Identifier, Status
from sandbox.state.records.logins import AuthOperation

InvoiceKey: TypeAlias = tuple[str, str, str]
"""Seller NIP, `RodzajFaktury`, `P_2`: what may exist only once."""


@dataclass(slots=True)
class Part:
    """A declared part of a package and, once it has arrived, where it lies."""

    ordinal_number: int
    declared_size: int
    declared_hash: str
    path: Path | None = None
    stored_size: int = 0


@dataclass(slots=True)
class Invoice:
    """An invoice as KSeF lists it."""

    ordinal_number: int
    reference_number: str
    verdict: Verdict
    """What the checks said; of an online invoice that has not been checked yet only what its sender declared."""
    status: Status
    extensions: dict[str, str] = field(default_factory=dict)
    ksef_number: str | None = None
    acquired: datetime | None = None
    invoicing_mode: str | None = None
    sent: datetime | None = None
    """When an online invoice was sent; those of a package count as sent when their session was opened."""
    offline_mode: bool = False
    """Declared for this online invoice; a package declares it for its whole session."""
    document: Path | None = None
    """An online invoice on disk: encrypted until it has been judged, plain afterwards."""
    corrected_hash: str | None = None
    """Of the refused invoice that this one corrects technically."""

    @property
    def is_final(self) -> bool:
        """Whether the status will not change any more."""
        return self.status.code >= 200

    @property
    def is_rejected(self) -> bool:
        """Whether KSeF has said no."""
        return self.status.code >= 400


@dataclass(slots=True)
class UpoPage:
    """A receipt on disk: a page of a session's, or that of one invoice."""

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
    """The decrypted package, kept so that accepted invoices can be read back."""
    invoices: list[Invoice] = field(default_factory=list)
    by_reference: dict[str, Invoice] = field(default_factory=dict)
    upo_pages: list[UpoPage] = field(default_factory=list)
    counts: tuple[int, int, int] | None = None
    """All, accepted, rejected; None until known."""
    kind: Literal["Batch", "Online"] = "Batch"
    decided: list[Invoice] = field(default_factory=list)
    """Verdicts on a package that are final but not told yet, because the receipt is still being made."""
    script: SessionScript = field(default_factory=SessionScript)
    """What a test wants to go wrong."""
    released: bool = False
    """Whether a session that the script holds may go on."""
    looks: int = 0
    """How often its status was asked for since it was closed."""
    looks_when_done: int = 0
    """How often its status was asked for since it has been final."""

    @property
    def is_final(self) -> bool:
        """Whether the status will not change any more."""
        return self.status.code >= 200


@dataclass(frozen=True, slots=True)
class Accepted:
    """Where an accepted invoice is to be found."""

    session: Session
    invoice: Invoice
