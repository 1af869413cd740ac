"""Reconciliation: asks KSeF for a tenant's sessions and receipts, and accepts the invoices that KSeF has accepted.

Invoices that our records have as queued, sealed, sent, rejected or failed get KSeF's number and the page of the receipt that names them.
A session of ours that is under way is left to its own job. Each session of KSeF is one step that can be repeated.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import anyio
import anyio.to_thread

from app.domain.ids import CHUNK_CAPACITY
from app.domain.sealing import day_of_opening
from app.domain.states import InvoiceState, SessionState
from app.ksef.client import KsefClient
from app.ksef.errors import KsefError, QuotaExhausted
from app.ksef.models import ListedSession
from app.observability.logs import get_logger
from app.store.sessions.duplicates import Evidence
from app.store.sessions.invoice_receipts import StoredReceipt
from app.store.sessions.reconciling import Difference
from app.store.sessions.settlements import Accepted
from app.store.sessions.verdicts import Receipts
from app.store.tenants.tenants import Tenant
from workers.context import RetryLater, WorkerContext
from workers.sessions.ending import finish_session
from workers.sessions.receipts import read_receipts

log = get_logger(__name__)

_PROCESSED: Final = 200
_PROCESSING: Final = 150
_PROCESSING_SECONDS: Final = 20.0
_KINDS: Final = ("Batch", "Online")
_OWNED_SECONDS: Final = 60.0
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Change:
    """An invoice that reconciliation accepts: its state before, KSeF's number, and the session that accepted it."""

    invoice_id: UUID
    number: str | None
    before: InvoiceState
    ksef_number: str
    session_reference: str


async def reconcile_due_tenant(context: WorkerContext, tenant_id: int) -> None:
    """Reconcile a tenant whose records are to be reconciled, and let sessions be opened again. Safe to repeat."""
    async with context.store.database.exclusively(f"reconcile:{tenant_id}") as mine:
        tenant = await context.store.tenants.get(tenant_id)
        if not mine or tenant.reconcile_since is None:
            return
        changes = await reconcile(context, tenant, tenant.reconcile_since)
        since = tenant.reconcile_since.isoformat()
        log.info("tenant_reconciled", tenant=tenant.public_id, since=since, invoices=len(changes))


async def reconcile(
    context: WorkerContext, tenant: Tenant, since: datetime, *, dry_run: bool = False, patient: bool = False
) -> list[Change]:
    """Reconcile a tenant with its sessions at KSeF since a moment, oldest first; return what changed.

    `dry_run` changes nothing. `patient` waits here for quota, and for sessions that KSeF still processes; without it RetryLater is
    raised for those. Raises KsefError.
    """
    client = await context.ksef.of(tenant.id)
    changes: list[Change] = []
    while await _reconcile_sessions(context, client, tenant, since, changes, dry_run=dry_run, patient=patient):
        if dry_run:
            return changes
        if not patient:
            raise RetryLater("KSeF still processes a session that our records do not have", seconds=_PROCESSING_SECONDS)
        await anyio.sleep(_PROCESSING_SECONDS)
    if not dry_run:
        await context.store.tenants.end_reconciliation(tenant.id, since=since)
        # No lane was sealed meanwhile, not even one that was due or flushed.
        for lane_id in await context.store.reconciling.queued_lanes(tenant.id):
            await context.seal_soon(lane_id)
    return changes


async def _reconcile_sessions(
    context: WorkerContext,
    client: KsefClient,
    tenant: Tenant,
    since: datetime,
    changes: list[Change],
    *,
    dry_run: bool,
    patient: bool,
) -> bool:
    """Reconcile all processed sessions once and add what changed; return whether KSeF still processes one that we do not have."""
    waiting = False
    for listed in await _listed(client, since):
        if listed.status.code == _PROCESSING:
            # Sent after the backup, or its own job would be at work: its invoices must not be sent meanwhile.
            known = await context.store.reconciling.known_session(tenant.id, listed.reference_number)
            waiting = waiting or known is None
            continue
        while True:
            try:
                changes += await _reconcile_session(context, client, tenant, listed, dry_run=dry_run)
                break
            except QuotaExhausted as used:
                if not patient:
                    raise
                await anyio.sleep(used.wait_seconds)
        if not dry_run and not waiting and listed.date_created is not None:
            await context.store.reconciling.advance(tenant.id, until=listed.date_created)
    return waiting


async def _listed(client: KsefClient, since: datetime) -> list[ListedSession]:
    """Return the sessions of both kinds that KSeF has processed, or still processes, oldest first."""
    found = [
        one
        for kind in _KINDS
        async for one in client.sessions_since(kind, since)
        if one.status.code in {_PROCESSED, _PROCESSING}
    ]
    return sorted(found, key=lambda one: one.date_created or datetime.max.replace(tzinfo=UTC))


async def _reconcile_session(
    context: WorkerContext, client: KsefClient, tenant: Tenant, listed: ListedSession, *, dry_run: bool
) -> list[Change]:
    reference = listed.reference_number
    known = await context.store.reconciling.known_session(tenant.id, reference)
    if known is not None and (not known[0].is_final or known[1] >= (listed.successful_invoice_count or 0)):
        # Its own job reads the results, or has read them.
        return []
    changes: list[Change] = []
    status = await client.session_status(reference)
    for number, offered in enumerate(status.upo_pages, start=1):
        pieces: list[bytes] = []

        async def keep(piece: bytes, pieces: list[bytes] = pieces) -> None:
            pieces.append(piece)

        try:
            await client.download_upo(offered.download_url, keep)
        except KsefError:
            pieces.clear()
            await client.upo_by_api(reference, offered.reference_number, keep)
        data = b"".join(pieces)
        receipts, _ = await anyio.to_thread.run_sync(read_receipts, data, reference, limiter=context.receipts)
        changes += await _reconcile_page(context, tenant, reference, number, data, receipts, dry_run=dry_run)
    return changes


async def _reconcile_page(
    context: WorkerContext,
    tenant: Tenant,
    reference: str,
    number: int,
    data: bytes,
    receipts: Receipts,
    *,
    dry_run: bool,
) -> list[Change]:
    found = await context.store.reconciling.differences(tenant.id, receipts.hashes)
    if not found:
        return []
    places = {digest: place for place, digest in enumerate(receipts.hashes)}
    if not dry_run:
        blob_key = f"upo/reconciled/{reference}-{number:04d}.xml"
        await context.store.blobs.put(blob_key, data)
        receipt = StoredReceipt(reference, blob_key, len(data), hashlib.sha256(data).digest())
        verdicts = [(one, _accepted(one, receipts, places[one.digest], receipt)) for one in found]
        await _accept(context, tenant, verdicts)
    return [
        Change(one.invoice_id, one.number, one.state, receipts.ksef_numbers[places[one.digest]], reference)
        for one in found
    ]


def _accepted(one: Difference, receipts: Receipts, place: int, receipt: StoredReceipt) -> Accepted:
    acquired = receipts.acquired[place]
    return Accepted(
        one.invoice_id,
        Evidence.RECEIPT,
        receipts.ksef_numbers[place],
        receipt.session_reference_number,
        datetime.fromisoformat(acquired) if acquired else None,
        receipts.modes[place] or None,
        receipt,
    )


async def _accept(context: WorkerContext, tenant: Tenant, verdicts: Sequence[tuple[Difference, Accepted]]) -> None:
    """Write the verdicts, by the state in which the invoices are here."""
    by_session: dict[UUID, list[Accepted]] = defaultdict(list)
    by_state: dict[InvoiceState, list[Accepted]] = defaultdict(list)
    for one, accepted in verdicts:
        if one.state is InvoiceState.PACKED and one.session_id is not None:
            by_session[one.session_id].append(accepted)
        else:
            by_state[one.state].append(accepted)
    late = context.store.late_invoices
    for state, every in by_state.items():
        for start in range(0, len(every), _AT_ONCE):
            some = every[start : start + _AT_ONCE]
            chunks = sorted({UUID(int=one.invoice_id.int & ~(CHUNK_CAPACITY - 1)) for one in some})
            async with context.store.database.transaction() as connection:
                if state is InvoiceState.QUEUED:
                    await late.lock_chunks_for_job(connection, tenant.id, chunks)
                await context.store.settlements.accept_in(connection, tenant.id, some, old=state, now=context.clock())
                if state is InvoiceState.QUEUED:
                    await late.recount_for_job(connection, chunks)
    for session_id, every in by_session.items():
        await _unseal(context, tenant, session_id, every)


async def _unseal(context: WorkerContext, tenant: Tenant, session_id: UUID, every: Sequence[Accepted]) -> None:
    """Accept invoices of a session that was never opened, end it, and queue its other invoices again."""
    session = await context.store.ownership.take(session_id, owner="reconcile", seconds=_OWNED_SECONDS)
    if session is None:
        raise RetryLater("another worker owns a session that is to be ended", seconds=_OWNED_SECONDS)
    try:
        async with context.store.ownership.transaction(session) as connection:
            accepted = await context.store.settlements.accept_in(
                connection, tenant.id, every, old=InvoiceState.PACKED, now=context.clock()
            )
            requeued = await context.store.late_invoices.unseal_for_job(
                connection, session.id, day=day_of_opening(context.clock())
            )
            await finish_session(
                context,
                connection,
                session,
                new=SessionState.FAILED,
                accepted=accepted,
                requeued=requeued,
                detail={"reason": "reconciled"},
            )
    finally:
        await context.store.ownership.release(session)
    if requeued:
        await context.seal_soon(session.lane_id)
