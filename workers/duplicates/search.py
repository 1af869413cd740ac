"""One search for the originals of a tenant's suspected duplicates: what is still open, and what was found out so far."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from app.domain.states import InvoiceState
from app.ksef.client import KsefClient
from app.ksef.errors import KsefError, Outcome, QuotaExhausted, RateLimited
from app.observability.logs import get_logger
from app.store.sessions.duplicate_findings import NotCompared
from app.store.sessions.duplicates import Evidence, Suspect
from app.store.sessions.settlements import Accepted, Rejected
from app.store.tenants.tenants import Tenant
from workers.context import RetryLater, WorkerContext

log = get_logger(__name__)

FEW: Final = 10
"""Up to this many originals in one session are asked for one by one; for more, lists are read."""
_PATIENT_ATTEMPTS: Final = 3
"""Searches after which a proof counts although KSeF does not answer the question for the receipt."""


@dataclass(slots=True)
class Search:
    """A search of one tenant. `open` has what is not proved yet."""

    context: WorkerContext
    client: KsefClient
    tenant: Tenant
    open: dict[UUID, Suspect]
    refused: set[UUID] = field(default_factory=set)
    """KSeF has refused the receipt: it knows of none in the named session, or the session is not the caller's."""
    unanswered: set[UUID] = field(default_factory=set)
    """KSeF gave no answer to the question for the receipt."""
    reasons: dict[UUID, NotCompared] = field(default_factory=dict)
    ours: dict[UUID, str] = field(default_factory=dict)
    """Proved by our own records: the KSeF number is that of another invoice of ours with the same bytes."""
    may_read: bool = True
    """False after KSeF said that the login may not read invoices."""

    @property
    def tenant_id(self) -> int:
        """The tenant's number in the database."""
        return self.tenant.id

    def still_open(self, suspects: Iterable[Suspect]) -> list[Suspect]:
        """Return those that are not proved yet."""
        return [one for one in suspects if one.invoice_id in self.open]

    def askable(self) -> list[Suspect]:
        """Return what may be proved without a receipt: KSeF refused it, named no session, or has not answered several times."""
        return [
            one
            for one in self.open.values()
            if one.original_ksef_number and (one.invoice_id not in self.unanswered or one.attempts >= _PATIENT_ATTEMPTS)
        ]

    async def accept(self, proved: Sequence[tuple[Suspect, Accepted]]) -> None:
        """Write that these are accepted."""
        if proved:
            accepted = [one for _, one in proved]
            store, now = self.context.store, self.context.clock()
            await store.settlements.accept(self.tenant_id, accepted, now=now)
            self._closed([suspect for suspect, _ in proved], InvoiceState.ACCEPTED)

    async def prove(self, suspect: Suspect, evidence: Evidence, digest: bytes, ksef_number: str) -> None:
        """Compare the original's hash with ours, and write the verdict, without a receipt."""
        if digest == suspect.sha256:
            one = Accepted(suspect.invoice_id, evidence, ksef_number, suspect.original_session)
            await self.accept([(suspect, one)])
        else:
            await self.reject([suspect], evidence)

    async def reject(self, suspects: Sequence[Suspect], evidence: Evidence) -> None:
        """Write that the number of these belongs to another document."""
        if suspects:
            rejected = [
                Rejected(one.invoice_id, evidence, one.original_ksef_number, one.original_session, one.words)
                for one in suspects
            ]
            store, now = self.context.store, self.context.clock()
            await store.settlements.reject(self.tenant_id, rejected, now=now)
            self._closed(suspects, InvoiceState.REJECTED)

    async def leave_open(self, default: NotCompared) -> None:
        """Record that what is still open could not be compared."""
        if self.open:
            reasons = {key: self._reason(one, default) for key, one in self.open.items()}
            await self.context.store.duplicates.leave_open(self.tenant_id, reasons, self.open, now=self.context.clock())
            log.warning("duplicates_not_compared", tenant=self.tenant.public_id, invoices=len(self.open))

    def _reason(self, one: Suspect, default: NotCompared) -> NotCompared:
        if one.original_ksef_number is None:
            return NotCompared.NO_NUMBER
        if one.invoice_id in self.reasons:
            return self.reasons[one.invoice_id]
        if one.invoice_id in self.unanswered:
            return NotCompared.NO_ANSWER
        return default if self.may_read else NotCompared.NO_PERMISSION

    def _closed(self, suspects: Sequence[Suspect], state: InvoiceState) -> None:
        for one in suspects:
            self.open.pop(one.invoice_id, None)
        log.info("duplicates_settled", tenant=self.tenant.public_id, state=state.value, invoices=len(suspects))


def ends_search(error: KsefError) -> bool:
    """Return whether an error ends the whole search for now: no quota, too many requests, or a block."""
    return isinstance(error, QuotaExhausted | RateLimited) or error.outcome is Outcome.BLOCKED


def stop_if_limited(error: KsefError) -> None:
    """Raise an error that ends the whole search; a 429 with the wait that KSeF asks for."""
    if isinstance(error, RateLimited):
        raise RetryLater("KSeF answered 429", seconds=float(error.retry_after_seconds or 60)) from error
    if ends_search(error):
        raise error
