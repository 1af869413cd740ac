"""Verdicts: what KSeF's answers mean for the invoices of a session, and the end of the session.

Every invoice leaves with a number, with a reason, or back into its lane; the end of a session is one transaction.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import anyio.to_thread

from app.domain.findings import Finding, Severity
from app.domain.ids import public_id
from app.domain.states import InvoiceState, SessionState
from app.ksef.errors import KsefError
from app.ksef.models import SessionInvoice
from app.observability import metrics
from app.observability.logs import get_logger
from app.package.errors import PartMismatch
from app.package.parts import verify_part
from app.store.blobs import BlobMissing, BlobStore
from app.store.database import Connection
from app.store.events.outbox import EventType
from app.store.jobs import Task
from app.store.sessions.document import session_document
from app.store.sessions.packages import Part
from app.store.sessions.session import Session
from app.store.sessions.verdicts import Receipt, Receipts, Refusal
from workers.context import WorkerContext
from workers.sealing import seal_soon
from workers.sessions.receipts import UpoPage

log = get_logger(__name__)

MAX_ATTEMPTS: Final = 3
"""Sessions that an invoice travels in before we give up on it, when KSeF accepts nothing of them."""
_NO_ATTACHMENTS: Final = "ksef-415"
"""KSeF refused an invoice for its attachment: what we know of the tenant's consent is out of date."""
REBUILDS: Final = 2
"""The same when KSeF could not read the package: one more, made anew, then people have to look."""


@dataclass(frozen=True, slots=True)
class SuspectedDuplicate:
    """An invoice that KSeF calls a duplicate: of what, is to be found out."""

    invoice_id: UUID
    sha256: bytes
    listed: SessionInvoice


@dataclass(slots=True)
class Verdicts:
    """All that is known of a processed session."""

    pages: list[UpoPage] = field(default_factory=list)
    accepted_by_list: list[Receipt] = field(default_factory=list)
    """Accepted ones that no receipt of ours names."""
    rejected: list[Refusal] = field(default_factory=list)
    dead: list[tuple[UUID, str]] = field(default_factory=list)
    """Invoices that KSeF cancelled for reasons of its own, with its words: they may travel again."""
    doubts: list[SuspectedDuplicate] = field(default_factory=list)
    """Invoices that KSeF calls duplicates, until it is proved of what."""


async def settle_session(
    context: WorkerContext,
    session: Session,
    verdicts: Verdicts,
    *,
    new: SessionState,
    detail: Mapping[str, Any],
    max_attempts: int = MAX_ATTEMPTS,
    uncounted: bool = False,
) -> None:
    """Write all verdicts of a session, end it, tell of it and let go of what it held, in one transaction.

    Dead invoices travel again up to `max_attempts` sessions; `uncounted`: this session is none of them.
    """
    started = time.perf_counter()
    now = context.clock()
    store = context.store
    # Once KSeF was asked to close, and agreed, the invoices count as sent.
    old = InvoiceState.SENT if session.closed_at is not None else InvoiceState.PACKED
    unaccounted = await store.verdicts.unaccounted(session.id) if verdicts.dead else []
    attempts = {row["id"]: row["attempts"] for row in unaccounted}
    again, spent = [], []
    for key, words in verdicts.dead:
        if uncounted or attempts.get(key, max_attempts) < max_attempts:
            again.append(key)
        else:
            spent.append(Refusal(key, _gave_up(attempts.get(key, max_attempts), words).as_dict()))
    async with store.database.transaction() as connection:
        accepted = 0
        for page in verdicts.pages:
            accepted += await _keep_page(context, connection, session, page)
        if verdicts.accepted_by_list:
            listed = Receipts.of(verdicts.accepted_by_list)
            accepted += await store.verdicts.accept(connection, session.id, listed, page=0, now=now)
        if accepted and (odd := await store.late.check_modes(connection, session.id)):
            log.warning("invoicing_mode_unexpected", session=session.public_id, invoices=odd)
        rejected = await store.verdicts.refuse(
            connection, session.id, verdicts.rejected, new=InvoiceState.REJECTED, old=old, now=now
        )
        failed = await store.verdicts.refuse(connection, session.id, spent, new=InvoiceState.FAILED, old=old, now=now)
        requeued = await store.verdicts.requeue(
            connection, session.id, again, old=old, finding=_travels_again(session).as_dict(), uncounted=uncounted
        )
        if any(refusal.finding["rule"] == _NO_ATTACHMENTS for refusal in verdicts.rejected):
            await store.permissions.want_attachments(session.tenant_id, now=now, connection=connection)
        ended = await store.verdicts.finish(
            connection,
            session,
            new,
            accepted=accepted,
            rejected=rejected,
            failed=failed,
            requeued=requeued,
            detail=detail,
            now=now,
        )
        if not ended:
            raise RuntimeError(f"{session.public_id} was ended by somebody else meanwhile")
        for event, count, states in (
            (EventType.INVOICES_ACCEPTED, accepted, [InvoiceState.ACCEPTED.value]),
            (EventType.INVOICES_REJECTED, rejected + failed, [InvoiceState.REJECTED.value, InvoiceState.FAILED.value]),
        ):
            if count:
                await store.outbox.add_invoices(
                    connection, event, tenant_id=session.tenant_id, session_id=session.id, states=states, now=now
                )
        await _tell_of_the_end(context, connection, session.id, new)
        uploads = await store.sessions.uploads_of(connection, session.id)
        await store.uploads.complete(connection, uploads, now=now)
        parts = await store.packages.parts(session.id)
        await store.jobs.defer(Task.DROP_BLOBS, connection=connection, keys=[part.blob_key for part in parts])
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
    )
    if requeued:
        await seal_soon(context, session.lane_id)


async def end_dead(context: WorkerContext, session: Session) -> None:
    """End a session of which KSeF has accepted nothing; its invoices travel again, within bounds."""
    await _end(context, session, "nothing-accepted")


async def end_rebuild(context: WorkerContext, session: Session) -> None:
    """End a session whose package or key KSeF could not use: verify our copy, renew the keys, travel once more."""
    found = await _verify_parts(context, session)
    client = await context.ksef.of(session.tenant_id)
    try:
        await client.keys.refresh()
    except KsefError as error:
        # The next opening fetches them again by itself.
        found["keys"] = error.outcome.value
    await _end(context, session, "package-unusable", max_attempts=REBUILDS, detail=found)


async def end_split(context: WorkerContext, session: Session) -> None:
    """End a session that had too many invoices for KSeF: the limit has changed, smaller ones follow."""
    limit = max(1, session.invoices // 2)
    await context.store.limits.lower_session_limit(session.tenant_id, to=limit)
    await _end(context, session, "too-many-invoices", uncounted=True, detail={"new_limit": limit})


async def _end(
    context: WorkerContext,
    session: Session,
    reason: str,
    *,
    max_attempts: int = MAX_ATTEMPTS,
    uncounted: bool = False,
    detail: Mapping[str, object] | None = None,
) -> None:
    rows = await context.store.verdicts.unaccounted(session.id)
    words = f"{reason} (status {session.ksef_status})" if session.ksef_status else reason
    await settle_session(
        context,
        session,
        Verdicts(dead=[(row["id"], words) for row in rows]),
        new=SessionState.FAILED,
        detail={"reason": reason, "ksef_status": session.ksef_status} | dict(detail or {}),
        max_attempts=max_attempts,
        uncounted=uncounted,
    )


async def _verify_parts(context: WorkerContext, session: Session) -> dict[str, object]:
    """Read our copy once more: damage on our side is worth knowing, and a new package cures it."""
    damaged = []
    for part in await context.store.packages.parts(session.id):
        try:
            await anyio.to_thread.run_sync(_verify_part, context.store.blobs, part)
        except (PartMismatch, BlobMissing) as error:
            damaged.append({"ordinal_number": part.ordinal_number, "found": str(error)})
    if damaged:
        log.error("stored_parts_damaged", session=session.public_id, parts=damaged)
    return {"damaged_parts": damaged}


def _verify_part(blobs: BlobStore, part: Part) -> None:
    with blobs.open_blocking(part.blob_key) as file:
        verify_part(iter(lambda: file.read(1 << 20), b""), part.size, part.sha256)


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


async def _tell_of_the_end(context: WorkerContext, connection: Connection, session_id: UUID, new: SessionState) -> None:
    session, parts, pages = await context.store.sessions.read_for_event(connection, session_id)
    now, outbox = context.clock(), context.store.outbox
    document = session_document(session, parts=parts, upo_pages=pages)
    document["upo"] = context.store.upo_links.with_links(
        document["upo"], tenant_id=session.tenant_id, session_id=session_id, now=now
    )
    event = EventType.SESSION_COMPLETED if new is SessionState.COMPLETED else EventType.SESSION_FAILED
    await outbox.add(connection, event, tenant_id=session.tenant_id, session_id=session_id, data=document, now=now)
    if pages:
        await outbox.add(
            connection,
            EventType.UPO_AVAILABLE,
            tenant_id=session.tenant_id,
            session_id=session_id,
            data={
                "session": public_id("ses", session_id),
                "reference_number": session.reference_number,
                "upo": document["upo"],
            },
            now=now,
        )


def _travels_again(session: Session) -> Finding:
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
