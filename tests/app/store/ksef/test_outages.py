"""The row that all workers share: counted together, probed by one, told once to those whom it concerns."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import anyio

from app.domain.outage import KsefState, Override
from app.settings import Settings
from app.store.jobs import Task
from app.store.store import Store, open_store
from app.store.tenants.tenants import Tenant
from tests.support.road import add_tenant, add_upload, invoices, zip_of

URL = "https://ksef.example/v2"
START = datetime(2026, 2, 1, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


async def _down(store: Store) -> None:
    for second in (0, 60, 120, 150, 180):
        await store.outages.failed(URL, "no answer", now=at(second))


async def _events(store: Store) -> list[tuple[int, str, Any]]:
    rows = await store.database.fetch_all("SELECT tenant_id, type, data FROM events ORDER BY sequence")
    return [(row["tenant_id"], row["type"], json.loads(row["data"])) for row in rows]


async def _busy_and_idle(store: Store) -> tuple[Tenant, Tenant]:
    busy, idle = await add_tenant(store), await add_tenant(store, nip="1111111111")
    await add_upload(store, busy, zip_of(invoices(1)), now=START)
    return busy, idle


async def test_an_environment_that_never_failed_is_available(store: Store) -> None:
    known = await store.outages.read(URL)
    assert known.as_json(START) == {
        "state": "available",
        "since": None,
        "reason": None,
        "ordered": False,
        "latarnia": None,
    }


async def test_failures_of_several_processes_at_once_are_all_counted(store: Store, settings: Settings) -> None:
    async with open_store(settings) as other, anyio.create_task_group() as tasks:
        for number in range(20):
            one = (store, other)[number % 2]

            async def fail(one: Store = one, number: int = number) -> None:
                await one.outages.failed(URL, "no answer", now=at(number * 20))

            tasks.start_soon(fail)
    known = await store.outages.read(URL)
    assert (known.health.failures, known.health.state) == (20, KsefState.AWAY)


async def test_one_asker_of_many_gets_the_probe(store: Store, settings: Settings) -> None:
    await _down(store)
    won: list[bool] = []
    async with open_store(settings) as other, anyio.create_task_group() as tasks:
        for number in range(12):

            async def claim(one: Store = (store, other)[number % 2]) -> None:
                won.append(await one.outages.reserve_probe(URL, now=at(300)))

            tasks.start_soon(claim)
    assert sorted(won) == [False] * 11 + [True]


async def test_another_environment_is_not_touched(store: Store) -> None:
    await _down(store)
    other = await store.outages.read("https://other.example/v2")
    assert other.standing(at(200)).state is KsefState.AVAILABLE


async def test_those_with_work_under_way_are_told_once_of_the_beginning_and_of_the_end(store: Store) -> None:
    busy, _ = await _busy_and_idle(store)
    await _down(store)
    await store.outages.failed(URL, "still no answer", now=at(240))
    ((tenant, kind, data),) = await _events(store)
    assert (tenant, kind) == (busy.id, "ksef.unavailable")
    assert data == {"state": "away", "since": "2026-02-01T12:00:00.000Z", "reason": "no answer", "ordered": False}
    # Nothing of theirs waits any more, yet they know of the outage only.
    await store.database.execute("UPDATE uploads SET state = 'completed'")
    await store.outages.answered(URL, now=at(300))
    await store.outages.answered(URL, now=at(301))
    assert [(tenant, kind) for tenant, kind, _ in await _events(store)] == [
        (busy.id, "ksef.unavailable"),
        (busy.id, "ksef.available"),
    ]


async def test_an_order_is_told_and_its_end_by_time_too(store: Store) -> None:
    await _busy_and_idle(store)
    order = Override(KsefState.AWAY, START, at(3600), "maintenance")
    await store.outages.order(URL, order, now=START)
    assert (await store.outages.read(URL)).override == order
    await store.outages.notify_of_expired_order(URL, now=at(3599))
    await store.outages.notify_of_expired_order(URL, now=at(3600))
    told = [(kind, data["reason"], data["ordered"]) for _, kind, data in await _events(store)]
    assert told == [("ksef.unavailable", "maintenance", True), ("ksef.available", None, False)]


async def test_an_order_goes_before_what_answers_say_and_can_be_taken_back(store: Store) -> None:
    await _down(store)
    await store.outages.order(URL, Override(KsefState.AVAILABLE, at(200)), now=at(200))
    await store.outages.failed(URL, "no answer", now=at(240))
    assert (await store.outages.read(URL)).standing(at(250)).state is KsefState.AVAILABLE
    await store.outages.order(URL, None, now=at(260))
    assert (await store.outages.read(URL)).standing(at(270)).state is KsefState.AWAY


async def test_jobs_that_wait_for_ksef_are_woken_and_no_others(store: Store) -> None:
    waits, rests = uuid4(), uuid4()
    async with store.database.connection() as connection:
        for session_id in (waits, rests):
            await store.jobs.defer(
                Task.DISPATCH_SESSION,
                connection=connection,
                at=datetime.now(UTC) + timedelta(hours=1),
                session_id=str(session_id),
            )
    await _down(store)
    async with store.database.connection() as connection:
        await store.outages.wait(connection, waits)
        await store.outages.wait(connection, waits)
    await store.outages.answered(URL, now=at(300))
    rows = await store.database.fetch_all("SELECT args->>'session_id' AS id, scheduled_at FROM procrastinate_jobs")
    assert {UUID(row["id"]): row["scheduled_at"] is None for row in rows} == {waits: True, rests: False}
    assert await store.database.fetch_all("SELECT * FROM ksef_waiting_sessions") == []


async def test_latarnia_is_asked_by_one_and_not_again_for_ten_minutes(store: Store) -> None:
    assert await store.outages.reserve_latarnia_query(URL, now=START)
    assert not await store.outages.reserve_latarnia_query(URL, now=at(599))
    assert await store.outages.reserve_latarnia_query(URL, now=at(600))


async def test_what_latarnia_said_is_shown_while_it_is_fresh(store: Store) -> None:
    await store.outages.reserve_latarnia_query(URL, now=START)
    await store.outages.save_latarnia(URL, {"status": "FAILURE", "announcements": []}, now=START)
    known = await store.outages.read(URL)
    shown = known.as_json(at(60))
    assert shown["latarnia"] == {"status": "FAILURE", "announcements": [], "at": "2026-02-01T12:00:00.000Z"}
    assert shown["state"] == "available"
    assert known.as_json(at(3600))["latarnia"] is None
