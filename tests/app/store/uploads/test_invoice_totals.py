"""Running totals of invoices by state: always the sums of the counters of uploads, also when rows of uploads are deleted."""

import os
import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import anyio
import pytest

from app.domain.ids import chunk_id, time_ordered_id
from app.domain.states import InvoiceState
from app.store.store import Store
from app.store.uploads import state_counts
from app.store.uploads.singles import NewSingle
from tests.support.road import add_tenant

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MOVES = (
    (InvoiceState.RECEIVED, InvoiceState.QUEUED),
    (InvoiceState.RECEIVED, InvoiceState.INVALID),
    (InvoiceState.RECEIVED, InvoiceState.DUPLICATE),
    (InvoiceState.QUEUED, InvoiceState.PACKED),
    (InvoiceState.PACKED, InvoiceState.QUEUED),
    (InvoiceState.PACKED, InvoiceState.SENT),
    (InvoiceState.SENT, InvoiceState.ACCEPTED),
    (InvoiceState.SENT, InvoiceState.REJECTED),
    (InvoiceState.SENT, InvoiceState.FAILED),
)
SUMS = (
    "SELECT " + ", ".join(f"coalesce(sum({state}), 0)::bigint AS {state}" for state in InvoiceState) + " FROM uploads"
)


async def add_group(store: Store, tenant_id: int, lane_id: int, count: int) -> UUID:
    upload_id = time_ordered_id(int(NOW.timestamp() * 1000), os.urandom(10))
    await store.singles.add_singles(
        tenant_id=tenant_id, lane_id=lane_id, upload_id=upload_id,
        chunk_id=chunk_id(int(NOW.timestamp() * 1000), os.urandom(10)), blob_key=f"singles/{upload_id.hex}",
        singles=[NewSingle(f"{at}.xml", os.urandom(32), 10, 0) for at in range(count)], offline_mode=False,
        group_sha256=os.urandom(32), now=NOW,
    )  # fmt: skip
    return upload_id


async def sums(store: Store) -> dict[str, int]:
    (row,) = await store.database.fetch_all(SUMS)
    return {state: count for state, count in row.items() if count}


async def totals(store: Store) -> dict[str, int]:
    return {state: count for state, count in (await store.invoices.state_counts()).items() if count}


@pytest.mark.parametrize("seed", range(6))
async def test_totals_equal_the_sums_of_the_uploads_after_any_moves(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    tenant = await add_tenant(store)
    lane = await store.tenants.ensure_lane(tenant, form_code="FA (3)", offline_mode=False)
    uploads: list[UUID] = []
    counts: dict[UUID, dict[InvoiceState, int]] = {}
    for _ in range(60):
        action = chance.random()
        if action < 0.2 or not uploads:
            count = chance.randint(1, 5)
            uploads.append(await add_group(store, tenant.id, lane, count))
            counts[uploads[-1]] = dict.fromkeys(InvoiceState, 0) | {InvoiceState.RECEIVED: count}
        elif action < 0.9:
            old, new = chance.choice(MOVES)
            chosen = chance.sample(uploads, min(len(uploads), 3))
            moved = {one: chance.randint(1, counts[one][old]) for one in chosen if counts[one][old]}
            for one, count in moved.items():
                counts[one][old] -= count
                counts[one][new] += count
            async with store.database.transaction() as connection:
                await state_counts.move(connection, moved, old=old, new=new)
        else:
            await store.invoices.add_up_totals_for_job()
        assert await totals(store) == await sums(store)


async def test_many_changes_are_added_up_while_others_are_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.uploads.invoices._TOTALS_AT_MOST", 3)
    tenant = await add_tenant(store)
    lane = await store.tenants.ensure_lane(tenant, form_code="FA (3)", offline_mode=False)

    async def post() -> None:
        for _ in range(10):
            await add_group(store, tenant.id, lane, 2)

    async def add_up() -> None:
        for _ in range(10):
            await store.invoices.add_up_totals_for_job()

    async with anyio.create_task_group() as tasks:
        for task in (post, add_up, post, add_up):
            tasks.start_soon(task)
    await store.invoices.add_up_totals_for_job()
    assert await totals(store) == {"received": 40}
    assert await store.database.fetch_all("SELECT count(*) AS n FROM invoice_totals") == [{"n": 1}]


async def test_a_change_that_is_rolled_back_changes_no_total(store: Store) -> None:
    tenant = await add_tenant(store)
    lane = await store.tenants.ensure_lane(tenant, form_code="FA (3)", offline_mode=False)
    upload_id = await add_group(store, tenant.id, lane, 2)

    async def fail_after_a_move() -> None:
        async with store.database.transaction() as connection:
            await state_counts.move(connection, {upload_id: 1}, old=InvoiceState.RECEIVED, new=InvoiceState.QUEUED)
            raise TimeoutError

    with pytest.raises(TimeoutError):
        await fail_after_a_move()
    assert await totals(store) == {"received": 2}


async def test_rows_of_groups_are_deleted_after_their_retention_and_no_total_falls(store: Store) -> None:
    tenant = await add_tenant(store)
    lane = await store.tenants.ensure_lane(tenant, form_code="FA (3)", offline_mode=False)
    done, open_ = [await add_group(store, tenant.id, lane, 2) for _ in range(2)]
    async with store.database.transaction() as connection:
        await state_counts.move(connection, {done: 2}, old=InvoiceState.RECEIVED, new=InvoiceState.INVALID)
        await store.uploads.complete_for_job(connection, [done, open_], now=NOW)
    later = NOW + timedelta(days=90)
    assert await store.uploads.expired_for_job(before=later) == [done]
    assert await store.uploads.remove_expired_groups_for_job() == 0, "not before its bytes are gone"
    await store.uploads.mark_expired_for_job([done], now=later)
    assert await store.uploads.remove_expired_groups_for_job() == 1
    assert [row["id"] for row in await store.database.fetch_all("SELECT id FROM uploads")] == [open_]
    assert await totals(store) == {"received": 2, "invalid": 2}
