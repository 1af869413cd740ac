"""Everything that the sandbox remembers, in one class, so that it can be emptied or kept in one place.

Only the event loop's thread touches it; what runs in the pool gets copies and returns results.

Every field of SandboxState is kept by `--state` (state_file) in one of three ways, and a new field needs nothing else:
a Table record by record, as records are taken out and put in; a field with the metadata `derived` not at all, because
`index` makes it anew from the rest; any other field, which should stay small, whole.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from sandbox.state.records.certificates import Enrollment, KsefCertificate
from sandbox.state.records.common import Identifier, Status
from sandbox.state.records.limits import ContextLimits
from sandbox.state.records.logins import AuthOperation, Challenge, KsefToken
from sandbox.state.records.sessions import Accepted, Invoice, InvoiceKey, Session, UpoPage
from sandbox.state.records.testdata import MadeSubject, PlannedOutcome
from sandbox.state.tables import Table

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
