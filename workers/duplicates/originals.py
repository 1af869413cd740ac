"""The search for originals: for each invoice that KSeF called a duplicate, whether its original is the same document.

Evidence is asked for in this order: our own records, receipts of the sessions, metadata, documents. Each proof is written as it is
found, so the job can be killed anywhere and run again.
"""

from typing import Final

from app.domain.outage import KsefState
from app.errors import ConfigurationError
from app.ksef.errors import KsefError, Outcome
from app.observability.logs import get_logger
from app.store.sessions.duplicate_findings import NotCompared
from app.store.sessions.duplicates import Suspect
from app.store.tenants.tenants import Tenant
from workers.context import WorkerContext
from workers.duplicates.receipts import fetch_receipt
from workers.duplicates.repository import by_documents, by_metadata
from workers.duplicates.search import Search, ends_search, stop_if_limited
from workers.duplicates.sessions import by_own_records, by_sessions

log = get_logger(__name__)

_AT_ONCE: Final = 10_000
"""Suspicions that one run searches for; memory is bounded by it."""


async def find_originals(context: WorkerContext, tenant_id: int) -> None:
    """Search for the originals of a tenant's suspected duplicates that are due. One run at a time over all workers."""
    async with context.store.database.exclusively(f"duplicates:{tenant_id}") as mine:
        if not mine:
            return
        tenant = await context.store.tenants.get(tenant_id)
        await _report(context, tenant)
        suspects = await context.store.duplicates.due(tenant_id, settled=False, now=context.clock(), limit=_AT_ONCE)
        if suspects:
            await _search(context, tenant, suspects)
        await _ask_for_missing_receipts(context, tenant_id)
        await _report(context, tenant)


async def _report(context: WorkerContext, tenant: Tenant) -> None:
    reported = await context.store.settlements.report_unresolved(tenant.id, now=context.clock())
    if reported:
        log.error("invoices_unresolved", tenant=tenant.public_id, invoices=reported)


async def _search(context: WorkerContext, tenant: Tenant, suspects: list[Suspect]) -> None:
    search = Search(context, await context.ksef.of(tenant.id), tenant, {one.invoice_id: one for one in suspects})
    await by_own_records(search)
    if not await _is_available(context):
        await search.leave_open(NotCompared.NO_ANSWER)
        return
    try:
        await by_sessions(search)
        await by_metadata(search)
        await by_documents(search)
    except (KsefError, ConfigurationError) as error:
        if isinstance(error, KsefError) and ends_search(error) and error.outcome is not Outcome.BLOCKED:
            raise
        log.warning("duplicates_not_searched", tenant=tenant.public_id, error=repr(error))
        await search.leave_open(NotCompared.NO_ANSWER)
        return
    await search.leave_open(NotCompared.NOT_AVAILABLE)


async def _ask_for_missing_receipts(context: WorkerContext, tenant_id: int) -> None:
    """Ask again for the receipts that KSeF refused, a day after each refusal."""
    missing = await context.store.duplicates.due(tenant_id, settled=True, now=context.clock(), limit=_AT_ONCE)
    if not missing or not await _is_available(context):
        return
    client = await context.ksef.of(tenant_id)
    for one in missing:
        number, reference = one.original_ksef_number, one.original_session
        if number is None or reference is None:
            await context.store.receipts.ask_again(tenant_id, [one.invoice_id], now=context.clock())
            continue
        try:
            fetched = await fetch_receipt(context, client, tenant_id, reference, number)
        except KsefError as error:
            stop_if_limited(error)
            await context.store.receipts.ask_again(tenant_id, [one.invoice_id], now=context.clock())
            continue
        stored = {one.invoice_id: await fetched.store(context, one.invoice_id)}
        await context.store.receipts.found(tenant_id, stored, now=context.clock())


async def _is_available(context: WorkerContext) -> bool:
    _, availability = await context.ksef_health.availability()
    return availability.state is not KsefState.AWAY
