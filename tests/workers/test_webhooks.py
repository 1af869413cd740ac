"""The job that delivers: one attempt, its record, the next job; on a real database and real receivers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import anyio
import pytest
import pytest_asyncio
from psycopg.rows import DictRow
from standardwebhooks import Webhook

from app.domain.ids import public_id
from app.store.events import EventType
from app.store.store import Store
from app.store.webhooks import Endpoint
from app.webhooks.addresses import AddressRules
from app.webhooks.backoff import DISABLE_AFTER, MAX_ATTEMPTS, SCHEDULE
from app.webhooks.delivery import Attempt, Outcome, Sender
from app.webhooks.network import open_pool
from app.webhooks.signing import SigningSecret
from tests.app.webhooks.receiver import Receiver, answer, running_receiver
from workers.webhooks import (
    FAILING_SLOTS,
    HEALTHY_SLOTS,
    LEASE,
    RESCUE_AFTER,
    DeliveryContext,
    deliver_event,
    rescue_deliveries,
    settle_attempt,
)

RULES = AddressRules(allow_http=True, allow_private=True)


class MovableClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        # The verifying library goes by the machine's clock, so ours starts there.
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, by: timedelta) -> None:
        self.now += by


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest_asyncio.fixture
async def context(store: Store, clock: MovableClock) -> AsyncIterator[DeliveryContext]:
    async with open_pool(RULES) as pool:
        yield DeliveryContext(store, Sender(pool, RULES, deadline_seconds=5), clock, random=lambda: 0.5)


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as running:
        yield running


@pytest_asyncio.fixture
async def tenant(store: Store, clock: MovableClock) -> int:
    added = await store.tenants.add(
        nip="5265877635",
        name="Spółka",
        credential_kind="ksef_token",
        credential={"token": "t"},
        compression="zip",
        now=clock(),
    )
    return added.id


async def _endpoint(store: Store, tenant: int, url: str, clock: MovableClock) -> tuple[Endpoint, SigningSecret]:
    return await store.webhooks.add(tenant, url=url, event_types=None, description="", now=clock())


async def _event(store: Store, tenant: int, clock: MovableClock) -> list[UUID]:
    """Write an event as the stages do, and give its deliveries."""
    async with store.database.transaction() as connection:
        sequence = await store.outbox.add(
            connection, EventType.UPLOAD_COMPLETED, tenant_id=tenant, data={"name": "Żółć"}, now=clock()
        )
    rows = await store.database.fetch_all(
        "SELECT id FROM deliveries WHERE event_sequence = %(sequence)s", {"sequence": sequence}
    )
    return [row["id"] for row in rows]


async def _jobs(store: Store, delivery: UUID) -> list[DictRow]:
    return await store.database.fetch_all(
        "SELECT id, scheduled_at FROM procrastinate_jobs WHERE args->>'delivery_id' = %(id)s ORDER BY id",
        {"id": str(delivery)},
    )


async def _delivery(store: Store, tenant: int, delivery: UUID) -> DictRow:
    return await store.webhooks.delivery(tenant, delivery)


async def test_an_event_reaches_its_receiver_signed(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    _, secret = await _endpoint(store, tenant, receiver.url(), clock)
    (delivery,) = await _event(store, tenant, clock)
    await deliver_event(context, delivery)
    request = receiver.requests[0]
    event = Webhook(secret.text).verify(request.body, request.headers)
    row = await _delivery(store, tenant, delivery)
    assert event["type"] == "upload.completed"
    assert event["data"] == {"name": "Żółć"}
    assert event["id"] == public_id("evt", row["event_id"]) == request.headers["webhook-id"]
    assert (row["state"], row["next_attempt_at"], row["reason"]) == ("succeeded", None, None)
    assert [(t["attempt"], t["outcome"], t["status"], t["answer"]) for t in row["tries"]] == [
        (1, "delivered", 200, "ok")
    ]
    assert len(await _jobs(store, delivery)) == 1


async def test_a_repeat_of_the_job_does_not_deliver_twice_once_finished(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    await _endpoint(store, tenant, receiver.url(), clock)
    (delivery,) = await _event(store, tenant, clock)
    for _ in range(3):
        await deliver_event(context, delivery)
        clock.move(timedelta(days=1))
    assert len(receiver.requests) == 1
    assert len(await _jobs(store, delivery)) == 1


async def test_two_jobs_of_one_delivery_at_the_same_time_send_once(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    await _endpoint(store, tenant, receiver.url(), clock)
    (delivery,) = await _event(store, tenant, clock)
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(deliver_event, context, delivery)
    assert len(receiver.requests) == 1
    assert (await _delivery(store, tenant, delivery))["state"] == "succeeded"


async def test_failed_attempts_follow_the_schedule_with_the_same_id_and_body_until_it_is_used_up(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    _, secret = await _endpoint(store, tenant, receiver.url(), clock)
    receiver.answers = [answer(503, b"closed")]
    (delivery,) = await _event(store, tenant, clock)
    for wait in SCHEDULE:
        await deliver_event(context, delivery)
        row = await _delivery(store, tenant, delivery)
        assert row["state"] == "pending"
        assert row["next_attempt_at"] - clock() == wait
        assert (await _jobs(store, delivery))[-1]["scheduled_at"] == row["next_attempt_at"]
        clock.move(wait)
    await deliver_event(context, delivery)
    row = await _delivery(store, tenant, delivery)
    assert (row["state"], row["reason"], row["next_attempt_at"]) == ("failed", "exhausted", None)
    assert [attempt["status"] for attempt in row["tries"]] == [503] * MAX_ATTEMPTS
    assert len({(request.headers["webhook-id"], request.body) for request in receiver.requests}) == 1
    assert len({request.headers["webhook-timestamp"] for request in receiver.requests}) == MAX_ATTEMPTS
    assert len(await _jobs(store, delivery)) == MAX_ATTEMPTS
    Webhook(secret.text).verify(receiver.requests[0].body, receiver.requests[0].headers)


async def test_a_success_after_failures_ends_the_delivery_and_the_failing(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    endpoint, _ = await _endpoint(store, tenant, receiver.url(), clock)
    receiver.answers = [answer(500), answer(200)]
    (delivery,) = await _event(store, tenant, clock)
    started = clock()
    await deliver_event(context, delivery)
    assert (await store.webhooks.get(tenant, endpoint.id)).failing_since == started
    clock.move(SCHEDULE[0])
    await deliver_event(context, delivery)
    assert (await _delivery(store, tenant, delivery))["state"] == "succeeded"
    assert (await store.webhooks.get(tenant, endpoint.id)).failing_since is None


async def test_a_receiver_that_asks_for_time_gets_it(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    await _endpoint(store, tenant, receiver.url(), clock)
    receiver.answers = [answer(429, Retry_After="3600")]
    (delivery,) = await _event(store, tenant, clock)
    await deliver_event(context, delivery)
    wait = (await _delivery(store, tenant, delivery))["next_attempt_at"] - clock()
    assert timedelta(hours=1) <= wait <= timedelta(hours=1, minutes=12)


async def test_a_receiver_that_is_gone_is_disabled_at_once(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    endpoint, _ = await _endpoint(store, tenant, receiver.url(), clock)
    receiver.answers = [answer(410, b"bye")]
    (first,), (second,) = await _event(store, tenant, clock), await _event(store, tenant, clock)
    await deliver_event(context, first)
    await deliver_event(context, second)
    known = await store.webhooks.get(tenant, endpoint.id)
    assert (known.disabled_at, known.disabled_reason) == (clock(), "gone")
    assert (await _delivery(store, tenant, first))["reason"] == "gone"
    given_up = await _delivery(store, tenant, second)
    assert (given_up["state"], given_up["reason"], given_up["tries"]) == ("failed", "endpoint_disabled", [])
    assert len(receiver.requests) == 1
    assert await _event(store, tenant, clock) == []


async def test_an_endpoint_at_which_nothing_succeeds_for_days_is_disabled(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    endpoint, _ = await _endpoint(store, tenant, receiver.url(), clock)
    receiver.answers = [answer(500)]
    (first,) = await _event(store, tenant, clock)
    await deliver_event(context, first)
    clock.move(DISABLE_AFTER - timedelta(seconds=1))
    (second,) = await _event(store, tenant, clock)
    await deliver_event(context, second)
    assert (await store.webhooks.get(tenant, endpoint.id)).disabled_at is None
    clock.move(timedelta(seconds=1))
    (third,) = await _event(store, tenant, clock)
    await deliver_event(context, third)
    assert (await store.webhooks.get(tenant, endpoint.id)).disabled_reason == "failing"
    enabled = await store.webhooks.update(tenant, endpoint.id, changes={}, disabled=False, now=clock())
    assert (enabled.disabled_at, enabled.disabled_reason, enabled.failing_since) == (None, None, None)


async def test_what_a_deleted_endpoint_is_owed_is_given_up(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    endpoint, _ = await _endpoint(store, tenant, receiver.url(), clock)
    (delivery,) = await _event(store, tenant, clock)
    await store.webhooks.delete(tenant, endpoint.id, now=clock())
    await deliver_event(context, delivery)
    row = await _delivery(store, tenant, delivery)
    assert (row["state"], row["reason"]) == ("failed", "endpoint_deleted")
    assert receiver.requests == []
    (kept,) = await store.database.fetch_all("SELECT secrets FROM webhook_endpoints")
    assert bytes(kept["secrets"]) == b""


async def test_a_job_that_comes_before_its_time_waits_for_it(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    await _endpoint(store, tenant, receiver.url(), clock)
    receiver.answers = [answer(500), answer(200)]
    (delivery,) = await _event(store, tenant, clock)
    await deliver_event(context, delivery)
    await deliver_event(context, delivery)
    assert len(receiver.requests) == 1
    jobs = await _jobs(store, delivery)
    assert len(jobs) == 3
    # By the database's clock, five seconds from now.
    assert timedelta(0) < jobs[-1]["scheduled_at"] - datetime.now(UTC) <= SCHEDULE[0]


async def test_a_worker_that_dies_between_the_request_and_its_record_costs_a_lease_and_no_event(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()

    arrived = asyncio.Event()
    await _endpoint(store, tenant, receiver.url(), clock)
    receiver.answers = [hangs, answer(200)]
    (delivery,) = await _event(store, tenant, clock)
    dying = asyncio.create_task(deliver_event(context, delivery))
    await arrived.wait()
    dying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dying
    row = await _delivery(store, tenant, delivery)
    assert [(attempt["outcome"], attempt["status"]) for attempt in row["tries"]] == [("started", None)]
    await deliver_event(context, delivery)
    assert len(receiver.requests) == 1
    clock.move(LEASE)
    await deliver_event(context, delivery)
    row = await _delivery(store, tenant, delivery)
    assert row["state"] == "succeeded"
    assert [attempt["outcome"] for attempt in row["tries"]] == ["started", "delivered"]
    assert receiver.requests[0].headers["webhook-id"] == receiver.requests[1].headers["webhook-id"]


async def test_an_attempt_that_is_recorded_after_its_lease_does_not_undo_the_next_one(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    await _endpoint(store, tenant, receiver.url(), clock)
    (delivery,) = await _event(store, tenant, clock)
    late = await store.webhooks.claim(delivery, due=clock(), lease=LEASE, now=clock())
    assert late is not None
    clock.move(LEASE)
    await deliver_event(context, delivery)
    jobs = await _jobs(store, delivery)
    failed = settle_attempt(Attempt(Outcome.TIMEOUT, 130_000), late.attempt, jitter=0.5, now=clock())
    await store.webhooks.settle(late, failed, given_up_before=clock() - DISABLE_AFTER, now=clock())
    row = await _delivery(store, tenant, delivery)
    assert row["state"] == "succeeded"
    assert [attempt["outcome"] for attempt in row["tries"]] == ["timeout", "delivered"]
    assert await _jobs(store, delivery) == jobs
    (endpoint,) = await store.webhooks.endpoints(tenant)
    assert endpoint.failing_since is None
    # And while the next attempt is still under way:
    (other,) = await _event(store, tenant, clock)
    late = await store.webhooks.claim(other, due=clock(), lease=LEASE, now=clock())
    clock.move(LEASE)
    assert await store.webhooks.claim(other, due=clock(), lease=LEASE, now=clock()) is not None
    assert late is not None
    await store.webhooks.settle(late, failed, given_up_before=clock() - DISABLE_AFTER, now=clock())
    assert (await _delivery(store, tenant, other))["next_attempt_at"] == clock() + LEASE


async def test_a_delivery_that_lost_its_job_gets_a_new_one_once(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    await _endpoint(store, tenant, receiver.url(), clock)
    (delivery,) = await _event(store, tenant, clock)
    clock.move(RESCUE_AFTER)
    assert await rescue_deliveries(context) == 0
    clock.move(timedelta(seconds=1))
    assert await rescue_deliveries(context) == 1
    assert await rescue_deliveries(context) == 0
    assert len(await _jobs(store, delivery)) == 2


@pytest.mark.parametrize(("failing", "slots"), [(False, HEALTHY_SLOTS), (True, FAILING_SLOTS)])
async def test_a_receiver_that_hangs_takes_only_so_many_slots(
    context: DeliveryContext,
    store: Store,
    tenant: int,
    receiver: Receiver,
    clock: MovableClock,
    failing: bool,
    slots: int,
) -> None:
    hanging, full, release = 0, asyncio.Event(), asyncio.Event()

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal hanging
        hanging += 1
        if hanging == slots:
            full.set()
        await release.wait()
        writer.write(answer(200))

    await _endpoint(store, tenant, receiver.url(), clock)
    if failing:
        receiver.answers = [answer(500)]
        await deliver_event(context, (await _event(store, tenant, clock))[0])
    receiver.answers = [hangs]
    before = len(receiver.requests)
    deliveries = [(await _event(store, tenant, clock))[0] for _ in range(slots + 2)]
    async with anyio.create_task_group() as tasks:
        for delivery in deliveries[:slots]:
            tasks.start_soon(deliver_event, context, delivery)
        await full.wait()
        for delivery in deliveries[slots:]:
            await deliver_event(context, delivery)
        assert len(receiver.requests) == before + slots
        for delivery in deliveries[slots:]:
            row = await _delivery(store, tenant, delivery)
            assert (row["state"], row["attempts"]) == ("pending", 0)
            assert row["next_attempt_at"] > clock()
            assert (await _jobs(store, delivery))[-1]["scheduled_at"] == row["next_attempt_at"]
        release.set()
    clock.move(timedelta(minutes=1))
    for delivery in deliveries[slots:]:
        await deliver_event(context, delivery)
        assert (await _delivery(store, tenant, delivery))["state"] == "succeeded"


async def test_a_forbidden_address_is_an_attempt_like_any_other(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    await _endpoint(store, tenant, receiver.url(), clock)
    (delivery,) = await _event(store, tenant, clock)
    strict = AddressRules()
    await deliver_event(replace(context, sender=replace(context.sender, rules=strict)), delivery)
    row = await _delivery(store, tenant, delivery)
    assert [attempt["outcome"] for attempt in row["tries"]] == ["forbidden"]
    assert row["state"] == "pending"
    assert receiver.connections == 0


async def test_a_rotated_secret_signs_beside_the_new_one_for_a_day(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    endpoint, old = await _endpoint(store, tenant, receiver.url(), clock)
    new = await store.webhooks.rotate(tenant, endpoint.id, now=clock())
    await deliver_event(context, (await _event(store, tenant, clock))[0])
    request = receiver.requests[-1]
    Webhook(old.text).verify(request.body, request.headers)
    Webhook(new.text).verify(request.body, request.headers)
    clock.move(timedelta(hours=24))
    await deliver_event(context, (await _event(store, tenant, clock))[0])
    assert len(receiver.requests[-1].headers["webhook-signature"].split(" ")) == 1


async def test_secrets_never_stand_plain_in_the_database(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    endpoint, secret = await _endpoint(store, tenant, receiver.url(), clock)
    newer = await store.webhooks.rotate(tenant, endpoint.id, now=clock())
    await deliver_event(context, (await _event(store, tenant, clock))[0])
    tables = ("webhook_endpoints", "deliveries", "delivery_attempts", "events", "procrastinate_jobs")
    for table in tables:
        dump: Any = await store.database.fetch_all(f"SELECT t::text AS row FROM {table} t")
        for one in (secret, newer):
            text = one.text.removeprefix("whsec_")
            # Binary columns are dumped in hex.
            forms = (text, text.encode().hex(), one.key.hex())
            assert not any(form in row["row"] for form in forms for row in dump)


async def test_a_delivery_that_does_not_exist_is_left_alone(context: DeliveryContext) -> None:
    await deliver_event(context, uuid4())
