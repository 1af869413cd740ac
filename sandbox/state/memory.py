"""The sandbox's state in one class, so that it can be emptied and saved in one place.

Only the event loop's thread uses it; the pool's work gets copies and returns results.

`--state` (`state.file`) saves every field of SandboxState in one of three ways, and a new field needs no other code: a Table
is saved record by record, as records are read and written; a field with the metadata `derived` is not saved, because `index`
builds it from the rest; any other field, which should stay small, is saved as a whole.
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
from sandbox.state.records.testdata import ForcedOutcome, MadeSubject
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
    """The state of one sandbox."""

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
    """Granted permissions: (subject, context) -> permissions."""
    authorizations: set[tuple[str, str, str]] = field(default_factory=set)
    """(seller NIP, authorised NIP, kind) with kind SelfInvoicing or TaxRepresentative."""
    attachments: set[str] = field(default_factory=set)
    """NIPs that may send invoices with attachments."""
    attachment_ends: dict[str, date] = field(default_factory=dict)
    """NIP -> the first day without the permission to send attachments."""
    corrected: dict[tuple[Identifier, str], str] = field(default_factory=dict)
    """(context, hash of a rejected invoice) -> KSeF number of its accepted technical correction."""
    certificates: Table[str, KsefCertificate] = field(default_factory=lambda: Table("certificates"))
    enrollments: Table[str, Enrollment] = field(default_factory=lambda: Table("enrollments"))
    context_limits: dict[Identifier, ContextLimits] = field(default_factory=dict)
    subject_limits: dict[Identifier, tuple[int | None, int | None]] = field(default_factory=dict)
    """The most requests and certificates of a subject, None for the default."""
    subjects: dict[str, MadeSubject] = field(default_factory=dict)
    persons: dict[str, MadeSubject] = field(default_factory=dict)
    removed: dict[str, datetime] = field(default_factory=dict)
    """Creation times of removed subjects and persons: a new one must have a later time."""
    deceased: set[Identifier] = field(default_factory=set)
    blocked_contexts: set[Identifier] = field(default_factory=set)
    forced_outcomes: list[ForcedOutcome] = field(default_factory=list)

    def may_attach(self, today: date) -> frozenset[str]:
        """Return the NIPs that may send invoices with attachments on a day."""
        ends = self.attachment_ends
        return frozenset(nip for nip in self.attachments if nip not in ends or today < ends[nip])

    def is_same_person(self, one: Identifier, other: Identifier) -> bool:
        """Return whether two identifiers are one subject: equal, or NIP and PESEL of one person of the test data."""
        if one == other:
            return True
        pairs = {one.type: one.value, other.type: other.value}
        person = self.persons.get(pairs.get("Nip", ""))
        return person is not None and person.pesel is not None and person.pesel == pairs.get("Pesel")

    def take_forced_outcome(self, operation: Literal["login", "enrollment"]) -> Status | None:
        """Return and use up the outcome ordered for the next operation of a kind, or None."""
        for item in self.forced_outcomes:
            if item.operation == operation and item.times > 0:
                item.times -= 1
                return item.status
        return None

    def accept(self, key: InvoiceKey, session: Session, invoice: Invoice) -> None:
        """Add an accepted invoice, which has its KSeF number, to the ledger."""
        if invoice.ksef_number is None:
            raise ValueError("an accepted invoice has a KSeF number")
        place = Accepted(session, invoice)
        self.by_key[key] = place
        self.by_ksef_number[invoice.ksef_number] = place
        self.accepted_hashes.add(invoice.verdict.sha256)

    def index(self) -> None:
        """Rebuild the ledger of accepted invoices from the sessions, after they have been read from a file."""
        for session in self.sessions.peek():
            for invoice in session.decided or session.invoices:
                accepted = invoice.phantom or invoice
                if accepted.ksef_number is not None:
                    self.accept(accepted.verdict.key, session, accepted)

    def count_request(self, group: str, status: int) -> None:
        """Count one answered request."""
        self.requests.setdefault(group, Counter())[status] += 1

    def permissions_of(self, subject: Identifier, context: Identifier) -> frozenset[str]:
        """Return a subject's permissions in a context: all in its own, the granted ones in another."""
        granted = self.grants.get((subject, context), frozenset())
        owner = subject.type == "Nip" and context.type in {"Nip", "InternalId"} and context.nip == subject.value
        return OWNER_PERMISSIONS | granted if owner else granted

    def forget_session_results(self, session: Session) -> None:
        """Remove a session's accepted invoices from the ledger, when the session fails in the end."""
        taken = [number for number, place in self.by_ksef_number.items() if place.session is session]
        for number in taken:
            document = self.by_ksef_number.pop(number).invoice.verdict
            self.accepted_hashes.discard(document.sha256)
            self.by_key.pop(document.key, None)
