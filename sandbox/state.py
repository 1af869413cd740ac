"""Everything that the sandbox remembers, in one class, so that it can be emptied or kept in one place.

Only the event loop's thread touches it; what runs in the pool gets copies and returns results.

Every field of SandboxState is kept by `--state` (state_file) in one of three ways, and a new field needs nothing else:
a Table record by record, as records are taken out and put in; a field with the metadata `derived` not at all, because
`index` makes it anew from the rest; any other field, which should stay small, whole.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Literal, TypeAlias

from sandbox.faults import SessionScript
from sandbox.state_tables import Table
from sandbox.work.outcome import Verdict

InvoiceKey: TypeAlias = tuple[str, str, str]
"""Seller NIP, `RodzajFaktury`, `P_2`: what may exist only once."""

OWNER_PERMISSIONS = frozenset(
    {
        "InvoiceRead",
        "InvoiceWrite",
        "CredentialsRead",
        "CredentialsManage",
        "SubunitManage",
        "Introspection",
        "CollectiveIdentifierManage",
    }
)


@dataclass(frozen=True, slots=True)
class Identifier:
    """A typed identifier: of a context (Nip, InternalId, ...) or of a subject (Nip, Pesel, Fingerprint)."""

    type: str
    value: str

    @property
    def nip(self) -> str | None:
        """The taxpayer behind it, if the type carries one."""
        return self.value[:10] if self.type in {"Nip", "InternalId", "NipVatUe"} else None


@dataclass(frozen=True, slots=True)
class Status:
    """A status as the contract words it."""

    code: int
    description: str
    details: tuple[str, ...] = ()

    def body(self) -> dict[str, object]:
        """The JSON form; `details` only when there are any."""
        body: dict[str, object] = {"code": self.code, "description": self.description}
        if self.details:
            body["details"] = list(self.details)
        return body


@dataclass(slots=True)
class Challenge:
    """A challenge, good for ten minutes and for one login."""

    value: str
    made: datetime
    used: bool = False


@dataclass(slots=True)
class AuthOperation:
    """One login: from the signed document or token to the revocation of its refresh token."""

    reference_number: str
    context: Identifier
    subject: Identifier
    method: str
    started: datetime
    ready: datetime
    outcome: Status
    permissions: frozenset[str]
    document_hash: str | None = None
    """Base64 SHA-256 of the signed document as received; a receipt quotes it."""
    names: dict[str, str] = field(default_factory=dict)
    """Subject of the signing certificate by the contract's names (`commonName`, ...); a certificate request must
    repeat it. Empty after a login with a token."""
    token_reference: str | None = None
    allowed_ips: tuple[str, ...] = ()
    redeemed: bool = False
    revoked: bool = False
    last_refresh: datetime | None = None
    refresh_until: datetime | None = None


@dataclass(slots=True)
class KsefToken:
    """A KSeF token; the secret is kept because the sandbox has nothing to protect."""

    reference_number: str
    secret: str
    context: Identifier
    author: Identifier
    description: str
    permissions: frozenset[str]
    created: datetime
    active_from: datetime
    revoked: bool = False
    last_use: datetime | None = None

    def status(self, now: datetime) -> str:
        """`Pending`, `Active` or `Revoked`."""
        if self.revoked:
            return "Revoked"
        return "Active" if now >= self.active_from else "Pending"


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
class SessionLimits:
    """What one session of a context may hold; megabytes are 1,000,000 bytes."""

    max_invoices: int
    max_invoice_mb: int = 1
    max_invoice_with_attachment_mb: int = 3


@dataclass(frozen=True, slots=True)
class ContextLimits:
    """The limits that `/testdata/limits/context/session` sets for a context."""

    online: SessionLimits
    batch: SessionLimits
    collective: int


@dataclass(slots=True)
class Enrollment:
    """A request for a certificate. The outcome is known at once, but told only from `ready` on."""

    reference_number: str
    owner: Identifier
    requested: datetime
    ready: datetime
    outcome: Status
    serial_number: str | None = None


@dataclass(slots=True)
class KsefCertificate:
    """A certificate that the sandbox issued; it belongs to a subject, not to a context."""

    serial_number: str
    name: str
    type: str
    """Authentication or Offline."""
    owner: Identifier
    common_name: str
    der: bytes
    public_key_hash: str
    requested: datetime
    available: datetime
    """When the request for it is answered; nobody sees it before."""
    valid_from: datetime
    valid_to: datetime
    """May be earlier than the certificate itself says: test data shorten it."""
    revoked: bool = False
    last_use: datetime | None = None

    def status(self, now: datetime) -> str:
        """`Active`, `Revoked` or `Expired`; the passing `Blocked` lasts no time here."""
        if self.revoked:
            return "Revoked"
        return "Expired" if now >= self.valid_to else "Active"


@dataclass(frozen=True, slots=True)
class MadeSubject:
    """A subject or person made by `/testdata`."""

    created: datetime
    nips: tuple[str, ...]
    """Its own NIP, then those of its subunits."""
    pesel: str | None = None


@dataclass(slots=True)
class PlannedOutcome:
    """An outcome that the control API ordered for the next operations of a kind."""

    operation: Literal["login", "enrollment"]
    status: Status
    times: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """Where an accepted invoice is to be found."""

    session: Session
    invoice: Invoice


@dataclass(slots=True)
class SandboxState:
    """The memory of one sandbox."""

    challenges: Table[str, Challenge] = field(default_factory=lambda: Table("challenges"))
    logins: Table[str, AuthOperation] = field(default_factory=lambda: Table("logins"))
    tokens: Table[str, KsefToken] = field(default_factory=lambda: Table("tokens"))
    sessions: Table[str, Session] = field(default_factory=lambda: Table("sessions"))
    receipts: Table[str, UpoPage] = field(default_factory=lambda: Table("receipts"))
    """Receipts of single invoices, by the invoice's reference number."""
    by_key: dict[InvoiceKey, Accepted] = field(default_factory=dict, metadata={"derived": True})
    by_ksef_number: dict[str, Accepted] = field(default_factory=dict, metadata={"derived": True})
    accepted_hashes: set[str] = field(default_factory=set, metadata={"derived": True})
    duplicate_attempts: int = 0
    requests: dict[str, Counter[int]] = field(default_factory=dict)
    grants: dict[tuple[Identifier, Identifier], frozenset[str]] = field(default_factory=dict)
    """Permissions given by hand: (subject, context) -> permissions."""
    authorizations: set[tuple[str, str, str]] = field(default_factory=set)
    """(seller NIP, authorised NIP, kind) with kind SelfInvoicing or TaxRepresentative."""
    attachments: set[str] = field(default_factory=set)
    """NIPs that may send invoices with attachments."""
    attachment_ends: dict[str, date] = field(default_factory=dict)
    """NIP -> the first day on which it may not any more."""
    corrected: dict[tuple[Identifier, str], str] = field(default_factory=dict)
    """(context, hash of a refused invoice) -> KSeF number of its accepted technical correction."""
    certificates: Table[str, KsefCertificate] = field(default_factory=lambda: Table("certificates"))
    enrollments: Table[str, Enrollment] = field(default_factory=lambda: Table("enrollments"))
    context_limits: dict[Identifier, ContextLimits] = field(default_factory=dict)
    subject_limits: dict[Identifier, tuple[int | None, int | None]] = field(default_factory=dict)
    """Requests and certificates that a subject may have, None for the default."""
    subjects: dict[str, MadeSubject] = field(default_factory=dict)
    persons: dict[str, MadeSubject] = field(default_factory=dict)
    removed: dict[str, datetime] = field(default_factory=dict)
    """When what was removed had been created: made again, it must be younger."""
    deceased: set[Identifier] = field(default_factory=set)
    blocked_contexts: set[Identifier] = field(default_factory=set)
    planned: list[PlannedOutcome] = field(default_factory=list)

    def may_attach(self, today: date) -> frozenset[str]:
        """NIPs that may send invoices with attachments on a day."""
        ends = self.attachment_ends
        return frozenset(nip for nip in self.attachments if nip not in ends or today < ends[nip])

    def is_same_person(self, one: Identifier, other: Identifier) -> bool:
        """Whether two identifiers are one subject: equal, or NIP and PESEL of one person made by test data."""
        if one == other:
            return True
        pairs = {one.type: one.value, other.type: other.value}
        person = self.persons.get(pairs.get("Nip", ""))
        return person is not None and person.pesel is not None and person.pesel == pairs.get("Pesel")

    def take_planned(self, operation: Literal["login", "enrollment"]) -> Status | None:
        """The outcome ordered for the next operation of a kind, if any; used up by asking."""
        for item in self.planned:
            if item.operation == operation and item.times > 0:
                item.times -= 1
                return item.status
        return None

    def accept(self, key: InvoiceKey, session: Session, invoice: Invoice) -> None:
        """Enter an invoice that has got its KSeF number."""
        if invoice.ksef_number is None:
            raise ValueError("an accepted invoice has a KSeF number")
        place = Accepted(session, invoice)
        self.by_key[key] = place
        self.by_ksef_number[invoice.ksef_number] = place
        self.accepted_hashes.add(invoice.verdict.sha256)

    def index(self) -> None:
        """Enter every accepted invoice of the sessions, after these have been read from a file."""
        for session in self.sessions.look():
            for invoice in session.decided or session.invoices:
                if invoice.ksef_number is not None:
                    self.accept(invoice.verdict.key, session, invoice)

    def count_request(self, group: str, status: int) -> None:
        """Note one answered request."""
        self.requests.setdefault(group, Counter())[status] += 1

    def permissions_of(self, subject: Identifier, context: Identifier) -> frozenset[str]:
        """What a subject may do in a context: everything in its own, elsewhere what was granted."""
        granted = self.grants.get((subject, context), frozenset())
        owner = subject.type == "Nip" and context.type in {"Nip", "InternalId"} and context.nip == subject.value
        return OWNER_PERMISSIONS | granted if owner else granted

    def forget_session_results(self, session: Session) -> None:
        """Take back what a session got accepted, when it fails after all: then nothing of it exists."""
        taken = [number for number, place in self.by_ksef_number.items() if place.session is session]
        for number in taken:
            document = self.by_ksef_number.pop(number).invoice.verdict
            self.accepted_hashes.discard(document.sha256)
            self.by_key.pop(document.key, None)
