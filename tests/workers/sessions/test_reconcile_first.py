"""A tenant whose records are to be reconciled with KSeF: nothing is sealed or opened for it until that has ended."""

from datetime import timedelta

import pytest

from app.clock import utc_now
from app.domain.states import SessionState
from tests.support.road import add_tenant, add_upload, invoices, read, seal_and_pack, zip_of
from workers.context import RetryLater, WorkerContext
from workers.sessions.advance import advance_session


async def test_no_session_is_sealed_before_the_tenant_is_reconciled(context: WorkerContext) -> None:
    tenant = await add_tenant(context.store)
    await read(context, await add_upload(context.store, tenant, zip_of(invoices(2))))
    since = utc_now()
    await context.store.tenants.require_reconciliation(tenant.id, since=since)
    assert await seal_and_pack(context, tenant) == []
    await context.store.tenants.end_reconciliation(tenant.id, since=since)
    assert [session.state for session in await seal_and_pack(context, tenant)] == [SessionState.PACKED]


async def test_a_packed_session_is_not_opened_before_the_tenant_is_reconciled(context: WorkerContext) -> None:
    tenant = await add_tenant(context.store)
    await read(context, await add_upload(context.store, tenant, zip_of(invoices(2))))
    (session,) = await seal_and_pack(context, tenant)
    await context.store.tenants.require_reconciliation(tenant.id, since=utc_now())
    with pytest.raises(RetryLater, match="reconciled"):
        await advance_session(context, session.id)
    assert (await context.store.sessions.get(tenant.id, session.id)).state is SessionState.PACKED


async def test_an_earlier_moment_asked_for_meanwhile_is_kept(context: WorkerContext) -> None:
    tenant = await add_tenant(context.store)
    now = utc_now()
    await context.store.tenants.require_reconciliation(tenant.id, since=now)
    await context.store.tenants.require_reconciliation(tenant.id, since=now - timedelta(days=2))
    await context.store.tenants.end_reconciliation(tenant.id, since=now)
    assert (await context.store.tenants.get(tenant.id)).reconcile_since == now - timedelta(days=2)
