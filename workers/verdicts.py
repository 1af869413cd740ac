"""Verdicts: what KSeF's answers mean for the invoices of a session, and the end of the session.

Every invoice leaves with a number, with a reason, or back into its lane; the end of a session is one transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import structlog

from app import metrics
from app.domain.findings import Finding, Severity
from app.domain.ids import public_id
from app.domain.states import InvoiceState, SessionState
from app.store.database import Connection
from app.store.events import EventType
from app.store.jobs import Task
from app.store.sessions import Receipt, Refusal, Session, session_document
from workers.context import WorkerContext
from workers.sealing import seal_soon

log = structlog.get_logger(__name__)

MAX_ATTEMPTS: Final = 3
"""Sessions that an invoice travels in before we give up on it, when KSeF accepts nothing of them."""


@dataclass(frozen=True, slots=True)
class UpoPage:
    """A receipt whose bytes are stored."""

    page: int
    upo_reference_number: str
    blob_key: str
    size: int
    sha256: bytes
    receipts: Sequence[Receipt]


@dataclass(slots=True)
class Verdicts:
    """All that is known of a processed session."""

    pages: list[UpoPage] = field(default_factory=list)
    accepted_by_list: list[Receipt] = field(default_factory=list)
    """Accepted ones that no receipt of ours names."""
    rejected: list[Refusal] = field(default_factory=list)
    dead: list[tuple[UUID, str]] = field(default_factory=list)
    """Invoices that KSeF cancelled for reasons of its own, with its words: they may travel again."""


async def settle_session(
    context: WorkerContext,
    session: Session,
    verdicts: Verdicts,
    *,
    new: SessionState,
    old: InvoiceState = InvoiceState.SENT,
    detail: Mapping[str, Any],
) -> None:
    """Write all verdicts of a session, end it, tell of it and let go of what it held, in one transaction."""
    now = context.clock()
    sessions, outbox = context.store.sessions, context.store.outbox
    attempts = {row["id"]: row["attempts"] for row in await sessions.unaccounted(session.id)} if verdicts.dead else {}
    again = [key for key, _ in verdicts.dead if attempts.get(key, MAX_ATTEMPTS) < MAX_ATTEMPTS]
    spent = [
        Refusal(key, _gave_up(words).as_dict())
        for key, words in verdicts.dead
        if attempts.get(key, MAX_ATTEMPTS) >= MAX_ATTEMPTS
    ]
    async with context.store.database.transaction() as connection:
        accepted = 0
        for page in verdicts.pages:
            accepted += await _keep_page(context, connection, session, page)
        if verdicts.accepted_by_list:
            accepted += await sessions.accept(connection, session.id, verdicts.accepted_by_list, page=0, now=now)
        rejected = await sessions.refuse(
            connection, session.id, verdicts.rejected, new=InvoiceState.REJECTED, old=old, now=now
        )
        failed = await sessions.refuse(connection, session.id, spent, new=InvoiceState.FAILED, old=old, now=now)
        requeued = await sessions.requeue(
            connection, session.id, again, old=old, finding=_travels_again(session).as_dict()
        )
        ended = await sessions.finish(
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
        for event, states in (
            (EventType.INVOICES_ACCEPTED, [InvoiceState.ACCEPTED.value]),
            (EventType.INVOICES_REJECTED, [InvoiceState.REJECTED.value, InvoiceState.FAILED.value]),
        ):
            await outbox.add_invoices(
                connection, event, tenant_id=session.tenant_id, session_id=session.id, states=states, now=now
            )
        await _tell_of_the_end(context, connection, session.id, new)
        uploads = await sessions.uploads_of(connection, session.id)
        await context.store.uploads.complete(connection, uploads, now=now)
        parts = await sessions.parts(session.id)
        await context.store.jobs.defer(Task.DROP_BLOBS, connection=connection, keys=[part.blob_key for part in parts])
    metrics.SESSION_SECONDS.observe((now - session.sealed_at).total_seconds())
    log.info(
        "session ended",
        session=session.public_id,
        state=new.value,
        accepted=accepted,
        rejected=rejected,
        failed=failed,
        requeued=requeued,
    )
    if requeued:
        await seal_soon(context, session.lane_id)


async def give_up_session(
    context: WorkerContext, session: Session, *, reason: str, old: InvoiceState, detail: Mapping[str, Any]
) -> None:
    """End a session of which KSeF has accepted nothing and never will; its invoices travel again, within bounds."""
    rows = await context.store.sessions.unaccounted(session.id)
    verdicts = Verdicts(dead=[(row["id"], reason) for row in rows])
    await settle_session(
        context, session, verdicts, new=SessionState.FAILED, old=old, detail={"reason": reason} | dict(detail)
    )


async def _keep_page(context: WorkerContext, connection: Connection, session: Session, page: UpoPage) -> int:
    now = context.clock()
    await context.store.sessions.add_upo_page(
        connection,
        session.id,
        page=page.page,
        upo_reference_number=page.upo_reference_number,
        blob_key=page.blob_key,
        size=page.size,
        sha256=page.sha256,
        documents=len(page.receipts),
        now=now,
    )
    return await context.store.sessions.accept(connection, session.id, page.receipts, page=page.page, now=now)


async def _tell_of_the_end(context: WorkerContext, connection: Connection, session_id: UUID, new: SessionState) -> None:
    session, parts, pages = await context.store.sessions.read_for_event(connection, session_id)
    now, outbox = context.clock(), context.store.outbox
    document = session_document(session, parts=parts, upo_pages=pages)
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


def _gave_up(words: str) -> Finding:
    return Finding(
        "gave-up",
        Severity.ERROR,
        f"KSeF accepted nothing of {MAX_ATTEMPTS} sessions with this invoice, so it is not sent again by itself.",
        f"KSeF nie przyjął niczego z {MAX_ATTEMPTS} sesji z tą fakturą; nie zostanie ponownie wysłana automatycznie.",
        raw=words,
    )
