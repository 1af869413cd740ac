"""End of a session: the verdicts of its invoices, the session's last state, and its events, in one transaction.

Every invoice gets a KSeF number, gets a finding with the reason of its rejection, or is queued again in its lane.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from app.domain.findings import Finding, Severity
from app.domain.history import HistoryAction, HistoryOutcome
from app.domain.ids import public_id
from app.domain.states import InvoiceState, SessionState
from app.ksef.models import SessionInvoice
from app.observability import metrics
from app.observability.logs import get_logger
from app.store.database import Connection
from app.store.events.outbox import EventType
from app.store.jobs import Task
from app.store.sessions.journal import add_history
from app.store.sessions.ownership import OwnershipLost
from app.store.sessions.session import Session
from app.store.sessions.session_json import session_json
from app.store.sessions.verdicts import Receipt, Receipts, Rejection
from workers.context import WorkerContext
from workers.sessions.receipts import UpoPage

log = get_logger(__name__)

MAX_ATTEMPTS: Final = 3
"""Sessions that an invoice is sent in before it fails, when KSeF accepts nothing of them."""
_NO_ATTACHMENTS: Final = "ksef-415"
"""Rule of the finding after KSeF refused an invoice for its attachment: our record of the tenant's consent is out of date."""


@dataclass(frozen=True, slots=True)
class SuspectedDuplicate:
    """An invoice that KSeF calls a duplicate. Its original may be the same document or another one."""

    invoice_id: UUID
    listed: SessionInvoice


@dataclass(slots=True)
class Verdicts:
    """Verdicts of a processed session, collected before they are written together."""

    pages: list[UpoPage] = field(default_factory=list)
    accepted_by_list: list[Receipt] = field(default_factory=list)
    """Accepted invoices that KSeF lists and that none of the receipts names."""
    rejected: list[Rejection] = field(default_factory=list)
    dead: list[tuple[UUID, str]] = field(default_factory=list)
    """Invoices that KSeF cancelled for reasons of its own, with its words: they may be sent in another session."""
    suspected: list[SuspectedDuplicate] = field(default_factory=list)
    """Invoices that KSeF calls duplicates: they stay `sent` until their originals are found, after the session has ended."""


async def end_session(
    context: WorkerContext,
    session: Session,
    verdicts: Verdicts,
    *,
    new: SessionState,
    detail: Mapping[str, Any],
    max_attempts: int = MAX_ATTEMPTS,
    uncounted: bool = False,
) -> None:
    """Write all verdicts of a session, end it, add its events and have its parts deleted, in one transaction.

    Dead invoices are queued again until they were in `max_attempts` sessions; `uncounted`: this session does not count.
    """
    started = time.perf_counter()
    now = context.clock()
    store = context.store
    # Invoices count as sent once KSeF has agreed to close the session.
    old = InvoiceState.SENT if session.closed_at is not None else InvoiceState.PACKED
    unaccounted = await store.verdicts.unaccounted(session.id) if verdicts.dead else []
    attempts = {row["id"]: row["attempts"] for row in unaccounted}
    again, spent = [], []
    for key, words in verdicts.dead:
        if uncounted or attempts.get(key, max_attempts) < max_attempts:
            again.append(key)
        else:
            spent.append(Rejection(key, _gave_up(attempts.get(key, max_attempts), words).as_dict()))
    async with store.ownership.transaction(session) as connection:
        accepted = 0
        for page in verdicts.pages:
            accepted += await _keep_page(context, connection, session, page)
        if verdicts.accepted_by_list:
            listed = Receipts.of(verdicts.accepted_by_list)
            accepted += await store.verdicts.accept(connection, session.id, listed, page=0, now=now)
        if accepted and (odd := await store.late_invoices.check_modes_for_job(connection, session.id)):
            log.warning("invoicing_mode_unexpected", session=session.public_id, invoices=odd)
        rejected = await store.verdicts.refuse(
            connection, session.id, verdicts.rejected, new=InvoiceState.REJECTED, old=old, now=now
        )
        failed = await store.verdicts.refuse(connection, session.id, spent, new=InvoiceState.FAILED, old=old, now=now)
        requeued = await store.verdicts.requeue(
            connection, session.id, again, old=old, finding=_sent_again(session).as_dict(), uncounted=uncounted
        )
        if verdicts.suspected:
            await _suspect(context, connection, session, verdicts.suspected)
        if any(rejection.finding["rule"] == _NO_ATTACHMENTS for rejection in verdicts.rejected):
            await store.permissions.record_refused_attachment(session.tenant_id, now=now, connection=connection)
        for event, count, states in (
            (EventType.INVOICES_ACCEPTED, accepted, [InvoiceState.ACCEPTED.value]),
            (EventType.INVOICES_REJECTED, rejected + failed, [InvoiceState.REJECTED.value, InvoiceState.FAILED.value]),
        ):
            if count:
                await store.outbox.add_invoices(
                    connection, event, tenant_id=session.tenant_id, session_id=session.id, states=states, now=now
                )
        await finish_session(
            context,
            connection,
            session,
            new=new,
            accepted=accepted,
            rejected=rejected,
            failed=failed,
            requeued=requeued,
            detail=detail,
        )
        uploads = await store.sessions.uploads_of_for_job(connection, session.id)
        await store.uploads.complete_for_job(connection, uploads, now=now)
    metrics.STAGE_SECONDS.labels(stage="verdicts").observe(time.perf_counter() - started)
    metrics.SESSION_SECONDS.observe((now - session.sealed_at).total_seconds())
    log.info(
        "session_ended",
        session=session.public_id,
        state=new.value,
        accepted=accepted,
        rejected=rejected,
        failed=failed,
        requeued=requeued,
        suspected=len(verdicts.suspected),
    )
    if verdicts.suspected:
        await context.find_originals_soon(session.tenant_id)
    if requeued:
        await context.seal_soon(session.lane_id)


async def _suspect(
    context: WorkerContext, connection: Connection, session: Session, suspected: Sequence[SuspectedDuplicate]
) -> None:
    """Record what KSeF called duplicates, with the originals that it names."""
    now = context.clock()
    found = [
        (
            one.invoice_id,
            "; ".join((one.listed.status.description, *one.listed.status.details)),
            one.listed.original_ksef_number,
            one.listed.original_session_reference_number,
        )
        for one in suspected
    ]
    await context.store.duplicates.suspect_for_job(connection, session.id, found, now=now)
    await add_history(
        connection, session.id, HistoryAction.DUPLICATES, HistoryOutcome.SUSPECTED, {"count": len(found)}, now=now
    )


async def finish_session(
    context: WorkerContext,
    connection: Connection,
    session: Session,
    *,
    new: SessionState,
    accepted: int = 0,
    rejected: int = 0,
    failed: int = 0,
    requeued: int = 0,
    detail: Mapping[str, Any],
) -> None:
    """Write a session's last state and counts, add its events and have its parts deleted, in the caller's transaction."""
    ended = await context.store.verdicts.finish(
        connection,
        session,
        new,
        accepted=accepted,
        rejected=rejected,
        failed=failed,
        requeued=requeued,
        detail=detail,
        now=context.clock(),
    )
    if not ended:
        raise OwnershipLost(f"{session.public_id} was ended by another worker meanwhile")
    await _add_events(context, connection, session.id, new)
    keys = [part.blob_key for part in await context.store.packages.parts(session.id)]
    await context.store.jobs.defer(Task.DROP_BLOBS, connection=connection, keys=keys)


async def _keep_page(context: WorkerContext, connection: Connection, session: Session, page: UpoPage) -> int:
    now = context.clock()
    await context.store.verdicts.add_upo_page(
        connection,
        session.id,
        page=page.page,
        upo_reference_number=page.upo_reference_number,
        blob_key=page.blob_key,
        size=page.size,
        sha256=page.sha256,
        documents=page.documents,
        now=now,
    )
    return await context.store.verdicts.accept(connection, session.id, page.receipts, page=page.page, now=now)


async def _add_events(context: WorkerContext, connection: Connection, session_id: UUID, new: SessionState) -> None:
    session, parts, pages = await context.store.sessions.read_with_pages_for_job(connection, session_id)
    now, outbox = context.clock(), context.store.outbox
    shape = session_json(session, parts=parts, upo_pages=pages)
    shape["upo"] = context.store.upo_links.with_links(
        shape["upo"], tenant_id=session.tenant_id, session_id=session_id, now=now
    )
    event = EventType.SESSION_COMPLETED if new is SessionState.COMPLETED else EventType.SESSION_FAILED
    await outbox.add(connection, event, tenant_id=session.tenant_id, session_id=session_id, data=shape, now=now)
    if pages:
        await outbox.add(
            connection,
            EventType.UPO_AVAILABLE,
            tenant_id=session.tenant_id,
            session_id=session_id,
            data={
                "session": public_id("ses", session_id),
                "reference_number": session.reference_number,
                "upo": shape["upo"],
            },
            now=now,
        )


def _sent_again(session: Session) -> Finding:
    return Finding(
        "session-repeated",
        Severity.WARNING,
        f"KSeF accepted nothing of session {session.reference_number or session.public_id}; "
        "the invoice travels in another session.",
        f"KSeF nie przyjął niczego z sesji {session.reference_number or session.public_id}; "
        "faktura zostanie wysłana w innej sesji.",
    )


def _gave_up(sessions: int, words: str) -> Finding:
    return Finding(
        "gave-up",
        Severity.ERROR,
        f"KSeF accepted nothing of {sessions} sessions with this invoice, so it is not sent again by itself.",
        f"KSeF nie przyjął niczego z {sessions} sesji z tą fakturą; nie zostanie ponownie wysłana automatycznie.",
        raw=words,
    )
