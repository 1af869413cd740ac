"""A session's rows are read for its own tenant only."""

from datetime import UTC, datetime

from app.store.store import Store
from tests.app.api.filled_store import fill
from tests.support.road import add_tenant

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


async def test_parts_receipts_and_history_of_a_session_are_there_for_its_tenant_and_for_no_other(store: Store) -> None:
    owner = await add_tenant(store)
    other = await add_tenant(store, nip="1111111111")
    session = (await fill(store, owner, NOW)).session_id
    for tenant, there in ((owner, True), (other, False)):
        assert bool(await store.sessions.part_counts(tenant.id, [session])) is there
        assert bool(await store.sessions.upo_pages(tenant.id, session)) is there
        assert bool(await store.sessions.upo_pages_of(tenant.id, [session])) is there
        assert bool(await store.sessions.history(tenant.id, session)) is there
