"""Tracking: polls a session's status and, when KSeF has processed it, reads the receipts first and the rejections second.

The receipts (UPO) name every accepted invoice by hash and count against no limit. The list of refused invoices is requested only when
there are some; the list of all invoices only after an unknown error, or for an invoice that is in neither.
"""

import time
from typing import Any, Final
from uuid import UUID

from app.domain.findings import Finding, Severity
from app.domain.history import HistoryAction, HistoryOutcome
from app.domain.ids import invoice_of_entry
from app.domain.session_machine import Event, event_of_status
from app.domain.states import SessionState
from app.ksef.client import KsefClient
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
    matcher = _ResultMatcher(verdicts, {bytes(row["sha256"]): row["id"] for row in unnamed})
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
        verdicts.dead += [(key, "ksef-status-500") for key in matcher.waiting.values()]
    elif matcher.waiting:
        # The session is processed and KSeF's lists do not name these invoices yet: poll again, until each has a verdict.
        polls = await context.store.verdicts.count_incomplete(session)
        log.warning("verdicts_missing", session=session.public_id, count=len(matcher.waiting), polls=polls)
        await context.record_step(
            session, HistoryAction.RESULTS, HistoryOutcome.RESULTS_INCOMPLETE, {"missing": len(matcher.waiting)}
        )
        return Result(Event.RESULTS_INCOMPLETE)
    await prove_duplicates(context, client, session, verdicts)
    await end_session(context, session, verdicts, new=SessionState.COMPLETED, detail=status_summary(status))
    return Result(Event.RESULTS_COMPLETE)


class _ResultMatcher:
    """Matches listed invoices with ours, by hash or by the entry name, which contains our id, and sorts them by verdict."""

    def __init__(self, verdicts: Verdicts, rows: dict[bytes, UUID]) -> None:
        self.waiting = dict(rows)
        self._verdicts = verdicts
        self._rows = rows
        self._hashes = {key: digest for digest, key in rows.items()}

    def put(self, invoice: SessionInvoice) -> None:
        """Add the verdict of a listed invoice, unless it has one already or is not of this session."""
        digest = invoice.invoice_hash if invoice.invoice_hash in self._rows else None
        if digest is None and invoice.invoice_file_name:
            named = invoice_of_entry(invoice.invoice_file_name)
            digest = self._hashes.get(named) if named is not None else None
        if digest is None or digest not in self.waiting:
            return
        code = invoice.status.code
        if code == _ACCEPTED and not invoice.ksef_number:
            # Accepted, but its number is not listed yet: it stays without a verdict until the next poll.
            return
        key = self.waiting.pop(digest)
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
            self._verdicts.doubts.append(SuspectedDuplicate(key, digest, invoice))
        else:
            self._verdicts.rejected.append(Rejection(key, _rejection(invoice).as_dict(), invoice.reference_number))


async def prove_duplicates(context: WorkerContext, client: KsefClient, session: Session, verdicts: Verdicts) -> None:
    """Decide for each suspected duplicate whether KSeF accepted it from an earlier session of ours, or it is a real duplicate.

    The session that the answer names can be wrong and the original's hash is never given. So the hash is searched in the results of
    the sessions in which our own rows sent the invoice before: the same hash there means that it was accepted.
    """
    wanted = {doubt.sha256: doubt for doubt in verdicts.doubts}
    if wanted:
        keys = [doubt.invoice_id for doubt in verdicts.doubts]
        for earlier_id, reference in await context.store.verdicts.earlier(session.id, keys):
            if not wanted:
                break
            await _search_earlier_session(context, client, session, earlier_id, reference, wanted, verdicts)
    verdicts.rejected += [
        Rejection(doubt.invoice_id, _duplicate(doubt.listed).as_dict(), doubt.listed.reference_number)
        for doubt in wanted.values()
    ]
    verdicts.doubts.clear()


async def _search_earlier_session(
    context: WorkerContext,
    client: KsefClient,
    session: Session,
    earlier_id: UUID,
    reference: str,
    wanted: dict[bytes, SuspectedDuplicate],
    verdicts: Verdicts,
) -> None:
    try:
        status = await client.session_status(reference)
    except SessionNotFound:
        return
    found = 0
    for number, offered in enumerate(status.upo_pages, start=1):
        page = await fetch_page(context, client, session, number, offered, of=(earlier_id, reference))
        mine = page.receipts.names(wanted)
        if mine:
            verdicts.pages.append(page.only(mine))
            found += len(mine)
            for one in mine:
                del wanted[one]
    if wanted:
        async for invoice in client.session_invoices(reference):
            digest = invoice.invoice_hash
            if digest in wanted and invoice.status.code == _ACCEPTED and invoice.ksef_number:
                wanted.pop(digest)
                moment = invoice.acquisition_date or invoice.invoicing_date
                verdicts.accepted_by_list.append(Receipt(digest, invoice.ksef_number, moment, invoice.invoicing_mode))
                found += 1
    if found:
        await context.record_step(
            session, HistoryAction.DUPLICATES, HistoryOutcome.FOUND_OURS, {"count": found, "earlier_session": reference}
        )


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


def _duplicate(invoice: SessionInvoice) -> Finding:
    original, named = invoice.original_ksef_number, invoice.original_session_reference_number
    known = f": {original}" if original else ""
    where = f" KSeF names session {named}, which is not always the right one." if named else ""
    where_pl = f" KSeF wskazuje sesję {named}, nie zawsze właściwą." if named else ""
    return Finding(
        "duplicate_other",
        Severity.ERROR,
        f"KSeF has another document with the same seller, kind and number{known}. It is none that was sent from here."
        + where,
        f"KSeF ma inny dokument tego samego sprzedawcy, rodzaju i o tym samym numerze{known}. "
        "Nie został on wysłany stąd." + where_pl,
        path="/Faktura/Fa/P_2",
        raw="; ".join((invoice.status.description, *invoice.status.details)),
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
