"""One document, two opinions: our check, and what the sandbox says; and whether they fit together."""

from dataclasses import dataclass
from datetime import date

from app.domain.findings import Severity
from app.forms.fa3.checker import InvoiceChecker
from app.forms.form import CheckContext, CheckedInvoice
from sandbox.pool.checking import KeyFields, Objection, check_document
from sandbox.pool.outcome import DocumentRules
from tests.agreement.header_mutations import CONSENTING, ISSUED_FOR_OTHERS, TENANT

DUPLICATE = 440
"""Of two mutations with one number, KSeF takes the first; that says nothing about the second's form."""
NO_PERMISSION = 410
NO_CONSENT = 415

_BY_A_THIRD_PARTY = frozenset(("third party", "third party issues"))

STRICTER_ON_PURPOSE = {
    "too-many-attributes": "no invoice needs more than 64 declarations of namespaces on one element, and a million would fill the memory",
}
"""The rules that may refuse what the sandbox takes, and why."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How a service and its KSeF are set."""

    name: str
    identifiers: bool
    """Whether check digits are looked at: in production, and in the test environment when asked to."""
    attachments: bool
    """Whether the tenant may send attachments."""


MODES = (
    Mode("test environment, attachments allowed", identifiers=False, attachments=True),
    Mode("production, attachments not allowed", identifiers=True, attachments=False),
)


@dataclass(frozen=True, slots=True)
class Opinion:
    """What the sandbox says: an invoice status, its details, and what it read in an accepted document."""

    code: int
    details: tuple[str, ...]
    identity: tuple[str, str] | None
    """Seller NIP and number, where the document was accepted."""

    @property
    def accepts(self) -> bool:
        """Whether nothing stood against the document itself."""
        return self.code in {200, DUPLICATE}


def ours(checker: InvoiceChecker, document: bytes, mode: Mode, today: date) -> CheckedInvoice:
    """What the service says, set to the same mode."""
    context = CheckContext(
        tenant_nip=TENANT, today=today, check_nip_checksums=mode.identifiers, attachments_allowed=mode.attachments
    )
    return checker.check(document, context)


def opinion_of_the_check(document: bytes, mode: Mode, today: date) -> Opinion:
    """What the sandbox's check says, called directly: for properties that judge one document after the other."""
    rules = DocumentRules(
        today=today,
        context_nip=TENANT,
        self_invoiced_sellers=frozenset((CONSENTING,)),
        represented_sellers=frozenset((CONSENTING,)),
        enforcement=True,
        attachment_sellers=frozenset((TENANT, CONSENTING)) if mode.attachments else frozenset(),
        may_have_attachment=True,
        max_bytes=1_000_000,
        max_bytes_with_attachment=3_000_000,
        check_identifiers=mode.identifiers,
        check_schema=True,
    )
    fields = KeyFields()
    try:
        check_document(document, rules, fields)
    except Objection as objection:
        return Opinion(objection.code, objection.details, None)
    return Opinion(200, (), (fields.seller_nip or "", fields.number or ""))


def difference(checked: CheckedInvoice, theirs: Opinion, names: tuple[str, ...]) -> str | None:
    """Return what does not fit together, or None. `names` are the mutations, some of which only KSeF can judge."""
    if not checked.valid:
        rules = {finding.rule for finding in checked.findings if finding.severity is Severity.ERROR}
        stricter = rules <= STRICTER_ON_PURPOSE.keys()
        return f"we refuse what is accepted: {sorted(rules)}" if theirs.accepts and not stricter else None
    if _only_ksef_knows(checked, theirs, names):
        return None
    if not theirs.accepts:
        return f"we pass what is refused with {theirs.code}: {'; '.join(theirs.details)[:300]}"
    if checked.facts is None:
        return "valid without facts"
    read = (checked.facts.seller_nip, checked.facts.number)
    return None if theirs.identity in {None, read} else f"we read {read}, they read {theirs.identity}"


def _only_ksef_knows(checked: CheckedInvoice, theirs: Opinion, names: tuple[str, ...]) -> bool:
    """Whether it refuses for what another seller did or did not allow, which no check before sending can see."""
    seller = checked.facts.seller_nip if checked.facts is not None else TENANT
    if theirs.code == NO_CONSENT:
        return seller != TENANT
    if theirs.code != NO_PERMISSION or ISSUED_FOR_OTHERS.isdisjoint(names):
        return False
    # Who issues as a third party would need a permission of the seller that the sandbox cannot be given.
    return seller not in {TENANT, CONSENTING} or not _BY_A_THIRD_PARTY.isdisjoint(names)
