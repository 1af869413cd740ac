"""Tracking: one look at the session's status a job, and when KSeF is done, receipts first, refusals second.

The receipts (UPO) name every accepted invoice by hash and cost nothing; the list of failed ones is asked for only when
there are some. The full list is never paged through to learn what the receipts say.
"""

import hashlib
import random
import time
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import anyio.to_thread
import structlog

from app import metrics
from app.domain.backoff import next_look
from app.domain.findings import Finding, Severity
from app.domain.ids import invoice_of_entry
from app.domain.ksef_number import is_valid_ksef_number
from app.domain.states import InvoiceState, SessionState
from app.ksef.client import KsefClient
from app.ksef.errors import KsefError, Outcome, RateLimited
from app.ksef.models import SessionInvoice, SessionStatus
from app.ksef.models import UpoPage as OfferedPage
from app.ksef.upo import parse_upo
from app.store.jobs import Task
from app.store.sessions import Receipt, Refusal, Session
from workers.context import RetryLater, WorkerContext
from workers.verdicts import UpoPage, Verdicts, give_up_session, settle_session

log = structlog.get_logger(__name__)

_ACCEPTED: Final = 200
_ALL_REFUSED: Final = 445
_UNKNOWN_ERROR: Final = 500
# Invoice statuses that say nothing of the document: KSeF cancelled it for reasons of its own (FACTS: ksef-docs, faktury).
_PASSING: Final = frozenset({405, 500, 550})
_BLOCKED_SECONDS: Final = 1800.0
_REFUSED_SECONDS: Final = 300.0


async def track_session(context: WorkerContext, session_id: UUID) -> None:
    """Look once; settle the session if KSeF is done, else come back later. Safe to run again at any time."""
    async with context.exclusively(session_id) as mine:
        if not mine:
            raise RetryLater("another worker holds the session", seconds=10)
        session = await context.store.sessions.get_for_job(session_id)
        if session.state is not SessionState.PROCESSING or session.reference_number is None:
            return
        started = time.perf_counter()
        client = await context.ksef.of(session.tenant_id)
        try:
            status = await client.session_status(session.reference_number)
        except KsefError as error:
            await _note(context, session, "status", error)
            raise _later(error) from error
        polls = await context.store.sessions.count_poll(session_id, status.code, now=context.clock())
        metrics.STAGE_SECONDS.labels(stage="track").observe(time.perf_counter() - started)
        if status.code < _ACCEPTED:
            await _look_again(context, session, polls)
            return
        await context.store.sessions.note(
            session_id, "status", str(status.code), now=context.clock(), detail=_told(status)
        )
        try:
            await _settle(context, client, session, status, polls)
        except KsefError as error:
            await _note(context, session, "results", error)
            raise _later(error) from error


async def _look_again(context: WorkerContext, session: Session, polls: int) -> None:
    pause = next_look(polls, random.random())  # noqa: S311 - jitter, not a secret
    async with context.store.database.connection() as connection:
        await context.store.jobs.defer(
            Task.TRACK_SESSION,
            connection=connection,
            at=context.clock() + timedelta(seconds=pause),
            session_id=str(session.id),
        )


async def _settle(
    context: WorkerContext, client: KsefClient, session: Session, status: SessionStatus, polls: int
) -> None:
    if status.code not in {_ACCEPTED, _ALL_REFUSED, _UNKNOWN_ERROR}:
        # A final status of its own kind: nothing of the package was accepted (ksef-docs, issue 334).
        await give_up_session(
            context, session, reason=f"ksef-status-{status.code}", old=InvoiceState.SENT, detail=_told(status)
        )
        return
    verdicts = Verdicts()
    rows = {bytes(row["sha256"]): row["id"] for row in await context.store.sessions.unaccounted(session.id)}
    waiting = dict(rows)
    for number, offered in enumerate(status.upo_pages, start=1):
        page = await _fetch_page(context, client, session, number, offered)
        verdicts.pages.append(page)
        for receipt in page.receipts:
            waiting.pop(receipt.invoice_hash, None)
    if status.code == _UNKNOWN_ERROR:
        async for invoice in client.session_invoices(_reference(session)):
            _sort(verdicts, invoice, waiting, rows)
        verdicts.dead += [(key, "ksef-status-500") for key in waiting.values()]
        waiting.clear()
    elif waiting:
        async for invoice in client.failed_invoices(_reference(session)):
            _sort(verdicts, invoice, waiting, rows)
    if waiting:
        # KSeF says that it is done, yet names these neither as accepted nor as refused: its lists may lag behind.
        log.warning("invoices without a verdict", session=session.public_id, count=len(waiting), polls=polls)
        await context.store.sessions.note(
            session.id, "results", "incomplete", now=context.clock(), detail={"without_verdict": len(waiting)}
        )
        await _look_again(context, session, polls)
        return
    await settle_session(context, session, verdicts, new=SessionState.COMPLETED, detail=_told(status))


def _sort(verdicts: Verdicts, invoice: SessionInvoice, waiting: dict[bytes, UUID], rows: dict[bytes, UUID]) -> None:
    """Put one listed invoice where it belongs. Joined by hash, or by the entry name, which is our id."""
    key = rows.get(invoice.invoice_hash) if invoice.invoice_hash else None
    if key is None and invoice.invoice_file_name:
        named = invoice_of_entry(invoice.invoice_file_name)
        key = named if named in rows.values() else None
    if key is None:
        return
    digest = next(digest for digest, owner in rows.items() if owner == key) if not invoice.invoice_hash else None
    if waiting.pop(invoice.invoice_hash or digest or b"", None) is None:
        return
    code = invoice.status.code
    if code == _ACCEPTED and invoice.ksef_number and invoice.invoice_hash:
        verdicts.accepted_by_list.append(
            Receipt(
                invoice.invoice_hash,
                invoice.ksef_number,
                invoice.acquisition_date or invoice.invoicing_date,
                invoice.invoicing_mode,
            )
        )
    elif code in _PASSING or code < _ACCEPTED:
        verdicts.dead.append((key, f"{code} {invoice.status.description}"))
    else:
        verdicts.rejected.append(Refusal(key, _refusal(invoice).as_dict(), invoice.reference_number))


async def _fetch_page(
    context: WorkerContext, client: KsefClient, session: Session, number: int, offered: OfferedPage
) -> UpoPage:
    """Store one receipt unchanged, then read it. The free link first, the counted call when the link fails."""
    started = time.perf_counter()
    blob_key = f"upo/{session.id.hex}/{number:03d}.xml"
    pieces: list[bytes] = []

    async def keep(piece: bytes) -> None:
        pieces.append(piece)

    try:
        await client.download_upo(offered.download_url, keep)
    except KsefError as error:
        await _note(context, session, "upo-link", error)
        pieces.clear()
        await client.upo_by_api(_reference(session), offered.reference_number, keep)
    data = b"".join(pieces)
    receipts = await anyio.to_thread.run_sync(_read_receipts, data, _reference(session))
    await context.store.blobs.put(blob_key, data)
    metrics.STAGE_SECONDS.labels(stage="upo").observe(time.perf_counter() - started)
    return UpoPage(number, offered.reference_number, blob_key, len(data), hashlib.sha256(data).digest(), receipts)


def _read_receipts(data: bytes, reference_number: str) -> list[Receipt]:
    upo = parse_upo(data)
    if upo.session_reference_number != reference_number:
        raise KsefError(f"the receipt is of session {upo.session_reference_number}", outcome=Outcome.UNKNOWN)
    receipts = []
    for document in upo.documents:
        if not is_valid_ksef_number(document.ksef_number):
            # Ours to notice, not to refuse: the ministry's number is the number.
            log.warning("KSeF number with a wrong form or checksum", ksef_number=document.ksef_number)
        receipts.append(Receipt(document.invoice_hash, document.ksef_number, document.acquired_at, document.mode))
    return receipts


def _refusal(invoice: SessionInvoice) -> Finding:
    status = invoice.status
    words = "; ".join((status.description, *status.details))
    if status.code == 440:
        original = invoice.original_ksef_number
        return Finding(
            "duplicate-at-ksef",
            Severity.ERROR,
            "KSeF has an invoice with the same seller, kind and number already"
            + (f": {original}." if original else "."),
            "KSeF ma już fakturę tego samego sprzedawcy, rodzaju i o tym samym numerze"
            + (f": {original}." if original else "."),
            path="/Faktura/Fa/P_2",
            raw=words,
        )
    return Finding(
        f"ksef-{status.code}",
        Severity.ERROR,
        f"KSeF refused the invoice with status {status.code}: {words}",
        f"KSeF odrzucił fakturę, status {status.code}: {words}",
        raw=words,
    )


def _told(status: SessionStatus) -> dict[str, Any]:
    return {
        "status": status.code,
        "description": status.status.description,
        "details": list(status.status.details),
        "invoices": status.invoice_count,
        "successful": status.successful_invoice_count,
        "failed": status.failed_invoice_count,
    }


def _reference(session: Session) -> str:
    if session.reference_number is None:
        raise RuntimeError(f"{session.public_id} is processed without a reference number")
    return session.reference_number


async def _note(context: WorkerContext, session: Session, action: str, error: KsefError) -> None:
    await context.store.sessions.note(
        session.id, action, error.outcome.value, now=context.clock(), detail=error.as_dict()
    )


def _later(error: KsefError) -> RetryLater:
    if isinstance(error, RateLimited) or error.retry_after_seconds:
        return RetryLater(error.detail, seconds=float(error.retry_after_seconds or 30))
    if error.outcome is Outcome.BLOCKED:
        return RetryLater(error.detail, seconds=_BLOCKED_SECONDS)
    if error.outcome is Outcome.REFUSED:
        log.error("KSeF refuses to tell the results", **error.as_dict())
        return RetryLater(error.detail, seconds=_REFUSED_SECONDS)
    return RetryLater(error.detail, seconds=2.0, growing=True)
