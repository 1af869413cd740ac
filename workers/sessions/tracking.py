"""Tracking: polls a session's status and, when KSeF has processed it, reads the receipts first and the rejections second.

The receipts (UPO) name every accepted invoice by hash and count against no limit. The list of refused invoices is requested only when
there are some; the list of all invoices only after an unknown error, or for an invoice that is in neither.
"""

import time
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from app.domain.findings import Finding, Severity
from app.domain.history import HistoryAction, HistoryOutcome
from app.domain.ids import invoice_of_entry
from app.domain.session_machine import Event, event_of_status
from app.domain.states import SessionState
from app.ksef.errors import KsefError, SessionNotFound
from app.ksef.models import SessionInvoice, SessionStatus
from app.observability import metrics
from app.observability.logs import get_logger
from app.store.sessions.session import Session
from app.store.sessions.verdicts import Receipt, Rejection
from workers.context import WorkerContext
from workers.sessions.ending import SuspectedDuplicate, Verdicts, end_session
from workers.sessions.receipts import fetch_page
from workers.sessions.result import Result, result_of_error

log = get_logger(__name__)

_PROCESSED: Final = 200
_ACCEPTED: Final = 200
_DUPLICATE: Final = 440
# Invoice statuses that do not concern the document: KSeF cancelled it for reasons of its own (ksef-docs, sesje).
_CANCELLED_BY_KSEF: Final = frozenset({405, 500, 550})

_NOT_FOUND_POLLS: Final = 8
"""Polls in a row that find no such session before it counts as gone; with growing pauses that is some ten minutes."""
_INCOMPLETE_POLLS: Final = 4
"""Polls of a processed session whose receipts and rejections do not name all invoices, before the list of all invoices is read."""


async def poll_status(context: WorkerContext, session: Session) -> Result:
    """Ask KSeF once for the session's status. The call changes nothing there, so only its answer is recorded."""
    client = await context.ksef.of(session.tenant_id)
    started = time.perf_counter()
    try:
        status = await client.session_status(session.opened_reference_number)
    except SessionNotFound as error:
        not_found = await context.store.verdicts.count_not_found(session)
        event = Event.SESSION_GONE if not_found >= _NOT_FOUND_POLLS else Event.SESSION_UNKNOWN
        await context.record_step(
            session, HistoryAction.STATUS, HistoryOutcome(event), error.as_dict() | {"in_a_row": not_found}
        )
        return Result(event, error.as_dict())
    except KsefError as error:
        result = result_of_error(error)
        await context.record_step(session, HistoryAction.STATUS, HistoryOutcome(result.event), dict(result.detail))
        return result
    await context.store.verdicts.count_poll(
        session, status.code, now=context.clock(), ksef_created_at=status.date_created
    )
    metrics.STAGE_SECONDS.labels(stage="track").observe(time.perf_counter() - started)
    if status.code == _PROCESSED:
        context.processing_times.note(session, status, now=context.clock())
    if status.code != session.ksef_status:
        await context.record_step(session, HistoryAction.STATUS, status.code, status_summary(status))
    return Result(event_of_status(status.code), status_summary(status), status=status)


async def read_results(
    context: WorkerContext, session: Session, seen: SessionStatus | None, *, list_all: bool
) -> Result:
    """Give every invoice of a processed session its verdict, and end the session.

    `seen` is the status that a poll has just read. `list_all`: read the list of all invoices, since KSeF ended the session with an
    unknown error and may have accepted some.
    """
    try:
        return await _read_results(context, session, seen, list_all=list_all)
    except KsefError as error:
        result = result_of_error(error)
        await context.record_step(session, HistoryAction.RESULTS, HistoryOutcome(result.event), dict(result.detail))
        return result


async def _read_results(
    context: WorkerContext, session: Session, seen: SessionStatus | None, *, list_all: bool
) -> Result:
    client = await context.ksef.of(session.tenant_id)
    # Links in a status expire, so only the status of the last poll can be used.
    status = seen or await client.session_status(session.opened_reference_number)
    verdicts = Verdicts()
    for number, offered in enumerate(status.upo_pages, start=1):
        verdicts.pages.append(await fetch_page(context, client, session, number, offered))
    unnamed = await context.store.verdicts.unaccounted(session.id, besides=[page.receipts for page in verdicts.pages])
    matcher = _ResultMatcher(verdicts, [(bytes(row["sha256"]), row["id"]) for row in unnamed])
    if matcher.waiting and not list_all:
        async for invoice in client.failed_invoices(session.opened_reference_number):
            matcher.put(invoice)
    overdue = session.incomplete_polls >= _INCOMPLETE_POLLS
    if matcher.waiting and (list_all or overdue):
        async for invoice in client.session_invoices(session.opened_reference_number):
            matcher.put(invoice)
            if not matcher.waiting:
                break
    if list_all:
        verdicts.dead += [(key, "ksef-status-500") for key in matcher.waiting]
    elif matcher.waiting:
        # The session is processed and KSeF's lists do not name these invoices yet: poll again, until each has a verdict.
        polls = await context.store.verdicts.count_incomplete(session)
        log.warning("verdicts_missing", session=session.public_id, count=len(matcher.waiting), polls=polls)
        await context.record_step(
            session, HistoryAction.RESULTS, HistoryOutcome.RESULTS_INCOMPLETE, {"missing": len(matcher.waiting)}
        )
        return Result(Event.RESULTS_INCOMPLETE)
    await end_session(context, session, verdicts, new=SessionState.COMPLETED, detail=status_summary(status))
    return Result(Event.RESULTS_COMPLETE)


class _ResultMatcher:
    """Matches listed invoices with ours, by the entry name, which contains our id, or by hash, and sorts them by verdict."""

    def __init__(self, verdicts: Verdicts, rows: Sequence[tuple[bytes, UUID]]) -> None:
        self.waiting: dict[UUID, bytes] = {key: digest for digest, key in rows}
        self._verdicts = verdicts
        # Identical documents share a hash: KSeF lists each of them.
        self._by_hash: dict[bytes, list[UUID]] = {}
        for digest, key in rows:
            self._by_hash.setdefault(digest, []).append(key)

    def put(self, invoice: SessionInvoice) -> None:
        """Add the verdict of a listed invoice, unless it has one already or is not of this session."""
        key = self._row_of(invoice)
        if key is None:
            return
        code = invoice.status.code
        if code == _ACCEPTED and not invoice.ksef_number:
            # Accepted, but its number is not listed yet: it stays without a verdict until the next poll.
            return
        digest = self.waiting.pop(key)
        if code == _ACCEPTED and invoice.ksef_number:
            self._verdicts.accepted_by_list.append(
                Receipt(
                    digest,
                    invoice.ksef_number,
                    invoice.acquisition_date or invoice.invoicing_date,
                    invoice.invoicing_mode,
                )
            )
        elif code in _CANCELLED_BY_KSEF or code < _ACCEPTED:
            self._verdicts.dead.append((key, f"{code} {invoice.status.description}"))
        elif code == _DUPLICATE:
            self._verdicts.suspected.append(SuspectedDuplicate(key, invoice))
        else:
            self._verdicts.rejected.append(Rejection(key, _rejection(invoice).as_dict(), invoice.reference_number))

    def _row_of(self, invoice: SessionInvoice) -> UUID | None:
        named = invoice_of_entry(invoice.invoice_file_name) if invoice.invoice_file_name else None
        if named in self.waiting:
            return named
        same = self._by_hash.get(invoice.invoice_hash or b"", ())
        return next((key for key in same if key in self.waiting), None)


def _rejection(invoice: SessionInvoice) -> Finding:
    words = "; ".join((invoice.status.description, *invoice.status.details))
    code = invoice.status.code
    return Finding(
        f"ksef-{code}",
        Severity.ERROR,
        f"KSeF refused the invoice with status {code}: {words}",
        f"KSeF odrzucił fakturę, status {code}: {words}",
        raw=words,
    )


def status_summary(status: SessionStatus) -> dict[str, Any]:
    """Return the fields of a status that are kept in the history; its links are not."""
    return {
        "status": status.code,
        "description": status.status.description,
        "details": list(status.status.details),
        "invoices": status.invoice_count,
        "successful": status.successful_invoice_count,
        "failed": status.failed_invoice_count,
    }
