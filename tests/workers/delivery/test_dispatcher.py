"""What is owed goes out: attempts, their record, what follows from them; on a real database and real receivers."""

import asyncio
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from app.store.events.delivery_queue import AttemptResult, ReservedAttempt
from app.store.events.endpoints import Endpoint, NewEndpoint, Ordering
from app.store.events.feed import BEGINNING
from app.store.events.outbox import EventType
from app.store.store import Store
from app.webhooks.addresses import AddressRules
from app.webhooks.backoff import DISABLE_AFTER, MAX_ATTEMPTS, SCHEDULE
from app.webhooks.delivery import Attempt, Outcome, Sender
from app.webhooks.pace import FAILURES_BEFORE_A_PAUSE, FIRST_WINDOW, LONGEST_PAUSE
from app.webhooks.signing import Signing, SigningSecret
from tests.app.webhooks.receiver import Receiver, answer, running_receiver
from tests.support.visible_events import events_are_visible
from workers.delivery.attempt_policy import classify_attempt
from workers.delivery.dispatcher import DeliveryContext, Dispatcher

RULES = AddressRules(allow_http=True, allow_private=True)
# Made once: reading the certificates that a system trusts takes longer than most of these tests.
TLS = ssl.create_default_context()


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


@pytest.fixture
def context(store: Store, clock: MovableClock) -> DeliveryContext:
    return DeliveryContext(store, RULES, clock, random=lambda: 0.5, deadline_seconds=5, ssl_context=TLS)


async def _deliver(context: DeliveryContext) -> None:
    """Deliver what is due by the clock, all of it, as a worker that has just started does."""
    await Dispatcher(context).drain()


@asynccontextmanager
async def _working(context: DeliveryContext) -> AsyncIterator[Dispatcher]:
    """Let a worker deliver beside the test."""
    dispatcher = Dispatcher(context)
    task = asyncio.create_task(dispatcher.run())
    try:
        yield dispatcher
    finally:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(task, return_exceptions=True)


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


async def _endpoint(
    store: Store, tenant: int, url: str, clock: MovableClock, **options: Any
) -> tuple[Endpoint, SigningSecret]:
    endpoint, key = await store.webhooks.add(tenant, NewEndpoint(url, **options), now=clock())
    assert isinstance(key, SigningSecret)
    return endpoint, key


async def _event(store: Store, tenant: int, clock: MovableClock, *, session: UUID | None = None) -> list[UUID]:
    """Write an event as the stages do, and give its deliveries."""
    async with store.database.transaction() as connection:
        sequence = await store.outbox.add(
            connection,
            EventType.UPLOAD_COMPLETED,
            tenant_id=tenant,
            data={"name": "Żółć"},
            now=clock(),
            session_id=session,
        )
    rows = await store.database.fetch_all(
        "SELECT id FROM deliveries WHERE event_sequence = %(sequence)s", {"sequence": sequence}
    )
    return [row["id"] for row in rows]


async def _delivery(store: Store, tenant: int, delivery: UUID) -> DictRow:
    return await store.deliveries.get(tenant, delivery)


async def test_an_event_reaches_its_receiver_signed(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    _, secret = await _endpoint(store, tenant, receiver.url(), clock)
    (delivery,) = await _event(store, tenant, clock)
    await _deliver(context)
    request = receiver.requests[0]
    event = Webhook(secret.text).verify(request.body, request.headers)
    row = await _delivery(store, tenant, delivery)
    assert event["type"] == "upload.completed"
    assert event["data"] == {"name": "Żółć"}
    assert event["id"] == public_id("evt", row["event_id"]) == request.headers["webhook-id"]
    assert (row["state"], row["next_attempt_at"], row["reason"]) == ("succeeded", None, None)
    assert [(t["attempt"], t["outcome"], t["status"], t["answer"], t["url"], t["bytes"]) for t in row["tries"]] == [
        (1, "delivered", 200, "ok", receiver.url(), len(request.body))
    ]


async def test_what_is_finished_is_not_delivered_again(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    await _endpoint(store, tenant, receiver.url(), clock)
    await _event(store, tenant, clock)
    for _ in range(3):
        await _deliver(context)
        clock.move(timedelta(days=1))
    assert len(receiver.requests) == 1


async def test_several_workers_deliver_each_event_once(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    await _endpoint(store, tenant, receiver.url(), clock)
    for _ in range(30):
        await _event(store, tenant, clock)
    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(_deliver, context)
    assert set(Counter(request.headers["webhook-id"] for request in receiver.requests).values()) == {1}
    assert len(receiver.requests) == 30


async def test_a_worker_hears_of_a_new_event_at_once(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    receiver.keeps_connections = True
    await _endpoint(store, tenant, receiver.url(), clock)
    async with _working(context) as dispatcher:
        (first,) = await _event(store, tenant, clock)
        await _until(store, tenant, first, "succeeded")
        assert list(dispatcher.active.values()) == [0]
        (second,) = await _event(store, tenant, clock)
        await _until(store, tenant, second, "succeeded")
    assert receiver.connections == 1


async def _until(store: Store, tenant: int, delivery: UUID, state: str) -> None:
    with anyio.fail_after(30):
        while (await _delivery(store, tenant, delivery))["state"] != state:
            await anyio.sleep(0.01)


async def test_failed_attempts_follow_the_schedule_with_the_same_id_and_body_until_it_is_used_up(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    _, secret = await _endpoint(store, tenant, receiver.url(), clock)
    receiver.answers = [answer(503, b"closed")]
    (delivery,) = await _event(store, tenant, clock)
    for wait in SCHEDULE:
        await _deliver(context)
        row = await _delivery(store, tenant, delivery)
        assert row["state"] == "pending"
        assert row["next_attempt_at"] - clock() == wait
        # A second before its time it is due, because clocks differ; not earlier.
        clock.move(wait - timedelta(seconds=2))
        await _deliver(context)
        assert (await _delivery(store, tenant, delivery))["attempts"] == row["attempts"]
        clock.move(timedelta(seconds=2))
    await _deliver(context)
    row = await _delivery(store, tenant, delivery)
    assert (row["state"], row["reason"], row["next_attempt_at"]) == ("failed", "exhausted", None)
    assert [attempt["status"] for attempt in row["tries"]] == [503] * MAX_ATTEMPTS
    assert len({(request.headers["webhook-id"], request.body) for request in receiver.requests}) == 1
    assert len({request.headers["webhook-timestamp"] for request in receiver.requests}) == MAX_ATTEMPTS
    Webhook(secret.text).verify(receiver.requests[0].body, receiver.requests[0].headers)


async def test_a_success_after_failures_ends_the_delivery_and_the_failing(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    endpoint, _ = await _endpoint(store, tenant, receiver.url(), clock)
    receiver.answers = [answer(500), answer(200)]
    (delivery,) = await _event(store, tenant, clock)
    started = clock()
    await _deliver(context)
    assert (await store.webhooks.get(tenant, endpoint.id)).failing_since == started
    clock.move(SCHEDULE[0])
    await _deliver(context)
    assert (await _delivery(store, tenant, delivery))["state"] == "succeeded"
    assert (await store.webhooks.get(tenant, endpoint.id)).failing_since is None


async def test_a_receiver_that_asks_for_time_gets_it(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    await _endpoint(store, tenant, receiver.url(), clock)
    receiver.answers = [answer(429, Retry_After="3600")]
    (delivery,) = await _event(store, tenant, clock)
    await _deliver(context)
    wait = (await _delivery(store, tenant, delivery))["next_attempt_at"] - clock()
    assert timedelta(hours=1) <= wait <= timedelta(hours=1, minutes=12)


async def test_a_receiver_that_is_gone_is_disabled_at_once_and_the_others_are_told(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    endpoint, _ = await _endpoint(store, tenant, receiver.url(), clock)
    receiver.answers = [answer(410, b"bye")]
    (first,) = await _event(store, tenant, clock)
    await _deliver(context)
    known = await store.webhooks.get(tenant, endpoint.id)
    assert (known.disabled_at, known.disabled_reason) == (clock(), "gone")
    assert (await _delivery(store, tenant, first))["reason"] == "gone"
    assert await _event(store, tenant, clock) == []
    async with running_receiver() as other:
        _, secret = await _endpoint(store, tenant, other.url(), clock)
        gone, _ = await _endpoint(store, tenant, receiver.url(), clock)
        await _event(store, tenant, clock)
        await _deliver(context)
        bodies = [Webhook(secret.text).verify(request.body, request.headers) for request in other.requests]
    assert sorted(body["type"] for body in bodies) == ["upload.completed", "webhook.disabled"]
    (told,) = [body["data"] for body in bodies if body["type"] == "webhook.disabled"]
    assert (told["webhook"], told["reason"]) == (gone.public_id, "gone")
    await events_are_visible(store)
    pulled = (await store.feed.page(tenant, after=BEGINNING, types=["webhook.disabled"])).rows
    assert len(pulled) == 2


async def test_what_a_disabled_endpoint_is_owed_is_given_up(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    endpoint, _ = await _endpoint(store, tenant, receiver.url(), clock)
    (delivery,) = await _event(store, tenant, clock)
    await store.webhooks.update(tenant, endpoint.id, changes={}, disabled=True, now=clock())
    await _deliver(context)
    row = await _delivery(store, tenant, delivery)
    assert (row["state"], row["reason"], row["tries"]) == ("failed", "endpoint_disabled", [])
    assert receiver.requests == []


async def test_an_endpoint_at_which_nothing_succeeds_for_days_is_disabled(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    endpoint, _ = await _endpoint(store, tenant, receiver.url(), clock)
    receiver.answers = [answer(500)]
    await _event(store, tenant, clock)
    started = clock()
    await _deliver(context)
    clock.move(DISABLE_AFTER - timedelta(seconds=1))
    await _deliver(context)
    assert (await store.webhooks.get(tenant, endpoint.id)).disabled_at is None
    clock.move(timedelta(seconds=1))
    await _event(store, tenant, clock)
    await _deliver(context)
    assert (await store.webhooks.get(tenant, endpoint.id)).disabled_reason == "failing"
    await events_are_visible(store)
    (event,) = (await store.feed.page(tenant, after=BEGINNING, types=["webhook.disabled"])).rows
    assert started.isoformat(timespec="milliseconds")[:23] in event["data"]
    enabled = await store.webhooks.update(tenant, endpoint.id, changes={}, disabled=False, now=clock())
    assert (enabled.disabled_at, enabled.disabled_reason, enabled.failing_since) == (None, None, None)


async def test_what_a_deleted_endpoint_is_owed_is_given_up(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    endpoint, _ = await _endpoint(store, tenant, receiver.url(), clock, headers={"Authorization": "Bearer t"})
    (delivery,) = await _event(store, tenant, clock)
    await store.webhooks.delete(tenant, endpoint.id, now=clock())
    await _deliver(context)
    row = await _delivery(store, tenant, delivery)
    assert (row["state"], row["reason"]) == ("failed", "endpoint_deleted")
    assert receiver.requests == []
    (kept,) = await store.database.fetch_all("SELECT secrets, headers FROM webhook_endpoints")
    assert (bytes(kept["secrets"]), kept["headers"]) == (b"", None)


async def test_a_worker_that_dies_between_the_request_and_its_record_costs_no_event_and_no_time(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    """The dying one is cut off its database, as by kill -9: nothing of it is recorded, and its endpoint is free at once."""

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()

    arrived = asyncio.Event()
    await _endpoint(store, tenant, receiver.url(), clock)
    receiver.answers = [hangs, answer(200)]
    (delivery,) = await _event(store, tenant, clock)
    async with _working(context):
        await arrived.wait()
        row = await _delivery(store, tenant, delivery)
        assert [(attempt["outcome"], attempt["status"]) for attempt in row["tries"]] == [("started", None)]
        await _deliver(context)
        assert len(receiver.requests) == 1
        await _cut_off(store)
        with anyio.fail_after(30):
            while (await _delivery(store, tenant, delivery))["state"] != "succeeded":
                await _deliver(context)
    row = await _delivery(store, tenant, delivery)
    assert [attempt["outcome"] for attempt in row["tries"]] == ["started", "delivered"]
    assert receiver.requests[0].headers["webhook-id"] == receiver.requests[1].headers["webhook-id"]


async def _cut_off(store: Store) -> None:
    """End the connections that hold endpoints."""
    await store.database.fetch_all(
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid() "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )


async def test_an_attempt_that_is_recorded_late_does_not_undo_the_next_one(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    endpoint, _ = await _endpoint(store, tenant, receiver.url(), clock)
    (delivery,) = await _event(store, tenant, clock)
    late = await _reserve(store, endpoint.id, clock)
    await _deliver(context)
    failed = _settled(late, Attempt(Outcome.TIMEOUT, 130_000), clock)
    await store.delivery_queue.record_results([failed], given_up_before=clock() - DISABLE_AFTER, now=clock())
    row = await _delivery(store, tenant, delivery)
    assert row["state"] == "succeeded"
    assert [attempt["outcome"] for attempt in row["tries"]] == ["timeout", "delivered"]
    assert (await store.webhooks.get(tenant, endpoint.id)).failing_since is None
    # And while the next attempt is still under way:
    (other,) = await _event(store, tenant, clock)
    late, present = await _reserve(store, endpoint.id, clock), await _reserve(store, endpoint.id, clock)
    assert (late.attempt, present.attempt) == (1, 2)
    gone = _settled(late, Attempt(Outcome.GONE, 130_000), clock)
    assert await store.delivery_queue.record_results([gone], given_up_before=clock() - DISABLE_AFTER, now=clock()) == {}
    row = await _delivery(store, tenant, other)
    assert (row["state"], row["next_attempt_at"]) == ("pending", clock())


async def _reserve(store: Store, endpoint_id: UUID, clock: MovableClock) -> ReservedAttempt:
    (reserved,) = await store.delivery_queue.reserve_attempts(
        {endpoint_id: (1, False)}, busy=[], due=clock(), now=clock()
    )
    return reserved


def _settled(reserved: ReservedAttempt, attempt: Attempt, clock: MovableClock) -> AttemptResult:
    return classify_attempt(reserved, attempt, size=10, ordered=False, jitter=0.5, now=clock())


class Hanging:
    """A receiver's script: every request waits until it is released, and how many did at the same time is counted."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.now = 0
        self.most = 0
        self.full, self.release = asyncio.Event(), asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        if self.now == self.expected:
            self.full.set()
        await self.release.wait()
        self.now -= 1
        writer.write(answer(200))


async def test_a_receiver_that_hangs_from_the_start_takes_two_places_and_delays_nobody(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    hanging = Hanging(FIRST_WINDOW)
    async with running_receiver() as dead:
        dead.answers = [hanging]
        hung, _ = await _endpoint(store, tenant, dead.url(), clock)
        for _ in range(20):
            await _event(store, tenant, clock)
        async with _working(context):
            await hanging.full.wait()
            await _endpoint(store, tenant, receiver.url(), clock)
            for _ in range(20):
                for delivery in await _event(store, tenant, clock):
                    if (await _delivery(store, tenant, delivery))["endpoint_id"] != hung.id:
                        await _until(store, tenant, delivery, "succeeded")
            assert len(receiver.requests) == 20
            assert hanging.most == FIRST_WINDOW
            hanging.release.set()


async def test_dead_endpoints_give_way_when_there_are_more_than_a_worker_can_hold(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    async with running_receiver() as dead:
        dead.answers = [answer(500)]
        for _ in range(3):
            await _endpoint(store, tenant, dead.url(), clock)
        for _ in range(10):
            await _event(store, tenant, clock)
        good, _ = await _endpoint(store, tenant, receiver.url(), clock)
        deliveries = await _event(store, tenant, clock)
        dispatcher = Dispatcher(context, max_active=2)
        task = asyncio.create_task(dispatcher.run())
        try:
            for delivery in deliveries:
                if (await _delivery(store, tenant, delivery))["endpoint_id"] == good.id:
                    await _until(store, tenant, delivery, "succeeded")
            assert len(dispatcher.active) <= 2
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        # By the clock that stands still no pause ever ends, so each dead one was asked until its first pause, and no more.
        assert len(dead.requests) <= 3 * (FIRST_WINDOW + FAILURES_BEFORE_A_PAUSE)


async def test_a_fault_of_ours_with_one_delivery_stops_no_other(
    context: DeliveryContext,
    store: Store,
    tenant: int,
    receiver: Receiver,
    clock: MovableClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await _endpoint(store, tenant, receiver.url("/good"), clock)
    await _endpoint(store, tenant, receiver.url("/cursed"), clock)
    send = Sender.send

    async def cursed(self: Sender, url: str, *arguments: Any, **named: Any) -> Attempt:
        if url.endswith("/cursed"):
            raise RuntimeError("a fault of ours")
        return await send(self, url, *arguments, **named)

    monkeypatch.setattr(Sender, "send", cursed)
    deliveries = await _event(store, tenant, clock)
    await _deliver(context)
    rows = [await _delivery(store, tenant, delivery) for delivery in deliveries]
    assert sorted(row["state"] for row in rows) == ["pending", "succeeded"]
    assert [request.path for request in receiver.requests] == ["/good"]


@pytest.mark.parametrize("most", [1, 3, 12])
async def test_an_endpoint_never_has_more_requests_under_way_than_it_wants(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock, most: int
) -> None:
    under_way = most_seen = 0

    async def counts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most_seen
        under_way += 1
        most_seen = max(most_seen, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        writer.write(answer(200))

    await _endpoint(store, tenant, receiver.url(), clock, max_concurrency=most)
    receiver.answers = [counts]
    for _ in range(40):
        await _event(store, tenant, clock)
    await _deliver(context)
    assert len(receiver.requests) == 40
    assert most_seen <= most


async def test_a_receiver_that_is_away_uses_up_few_attempts_of_what_waits(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    await _endpoint(store, tenant, receiver.url(), clock)
    receiver.answers = [answer(503)]
    for _ in range(30):
        await _event(store, tenant, clock)
    await _deliver(context)
    assert len(receiver.requests) == FAILURES_BEFORE_A_PAUSE
    receiver.answers = [answer(200)]
    clock.move(LONGEST_PAUSE * 2)
    await _deliver(context)
    rows = await store.database.fetch_all("SELECT state FROM deliveries")
    assert {row["state"] for row in rows} == {"succeeded"}


async def test_events_of_a_session_keep_their_order_and_one_that_fails_holds_back_its_session_only(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    await _endpoint(store, tenant, receiver.url(), clock, ordering=Ordering.SESSION)
    broken, sound = uuid4(), uuid4()
    names = {}
    for number in range(6):
        for session in (broken, sound):
            (delivery,) = await _event(store, tenant, clock, session=session)
            row = await _delivery(store, tenant, delivery)
            names[public_id("evt", row["event_id"])] = (session, number)
    bad = next(name for name, place in names.items() if place == (broken, 2))

    async def refuses_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(500 if receiver.requests[-1].headers["webhook-id"] == bad else 200))

    receiver.answers = [refuses_one]
    await _deliver(context)
    seen = [names[request.headers["webhook-id"]] for request in receiver.requests]
    assert [number for session, number in seen if session == sound] == [0, 1, 2, 3, 4, 5]
    assert [number for session, number in seen if session == broken] == [0, 1, 2]
    receiver.requests.clear()
    receiver.answers = [answer(200)]
    clock.move(SCHEDULE[0])
    await _deliver(context)
    assert [names[request.headers["webhook-id"]] for request in receiver.requests] == [
        (broken, number) for number in (2, 3, 4, 5)
    ]


async def test_what_was_held_back_goes_at_once_when_somebody_helps_the_first_one_along(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    await _endpoint(store, tenant, receiver.url(), clock, ordering=Ordering.SESSION)
    session = uuid4()
    deliveries = [(await _event(store, tenant, clock, session=session))[0] for _ in range(3)]
    receiver.answers = [answer(500, Retry_After="600"), answer(200)]
    await _deliver(context)
    assert len(receiver.requests) == 1
    clock.move(timedelta(seconds=30))
    await store.deliveries.retry(tenant, deliveries[0], now=clock())
    await _deliver(context)
    assert len(receiver.requests) == 4


async def test_a_forbidden_address_is_an_attempt_like_any_other(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    await _endpoint(store, tenant, receiver.url(), clock)
    (delivery,) = await _event(store, tenant, clock)
    await _deliver(replace(context, rules=AddressRules()))
    row = await _delivery(store, tenant, delivery)
    assert [attempt["outcome"] for attempt in row["tries"]] == ["forbidden"]
    assert row["state"] == "pending"
    assert receiver.connections == 0


async def test_a_rotated_secret_signs_beside_the_new_one_for_a_day(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    endpoint, old = await _endpoint(store, tenant, receiver.url(), clock)
    new = await store.webhooks.rotate(tenant, endpoint.id, now=clock())
    assert isinstance(new, SigningSecret)
    await _event(store, tenant, clock)
    await _deliver(context)
    request = receiver.requests[-1]
    Webhook(old.text).verify(request.body, request.headers)
    Webhook(new.text).verify(request.body, request.headers)
    clock.move(timedelta(hours=24))
    await _event(store, tenant, clock)
    await _deliver(context)
    assert len(receiver.requests[-1].headers["webhook-signature"].split(" ")) == 1


async def test_a_change_of_an_endpoint_is_heeded_by_the_worker_that_holds_it(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    endpoint, _ = await _endpoint(store, tenant, receiver.url("/old"), clock)
    async with _working(context):
        (delivery,) = await _event(store, tenant, clock)
        await _until(store, tenant, delivery, "succeeded")
        changes = {"url": receiver.url("/new"), "headers": {"Authorization": "Bearer 7f6c"}}
        await store.webhooks.update(tenant, endpoint.id, changes=changes, now=clock())
        key = await store.webhooks.rotate(tenant, endpoint.id, signing=Signing.ED25519, now=clock())
        (delivery,) = await _event(store, tenant, clock)
        await _until(store, tenant, delivery, "succeeded")
    request = receiver.requests[-1]
    assert (request.path, request.headers["authorization"]) == ("/new", "Bearer 7f6c")
    kinds = [signature.partition(",")[0] for signature in request.headers["webhook-signature"].split(" ")]
    assert kinds == ["v1a", "v1"]
    assert key.sign(b"") != ""
    (attempt,) = (await _delivery(store, tenant, delivery))["tries"]
    assert attempt["header_names"] == ["Authorization"]


async def test_secrets_never_stand_plain_in_the_database(
    context: DeliveryContext, store: Store, tenant: int, receiver: Receiver, clock: MovableClock
) -> None:
    value = "Bearer 7f6c41d2a9"
    endpoint, secret = await _endpoint(store, tenant, receiver.url(), clock, headers={"Authorization": value})
    newer = await store.webhooks.rotate(tenant, endpoint.id, signing=Signing.HMAC, now=clock())
    pair = await store.webhooks.rotate(tenant, endpoint.id, signing=Signing.ED25519, now=clock())
    keys = [secret.key, newer.key, pair.key]
    await _event(store, tenant, clock)
    await _deliver(context)
    assert receiver.requests[0].headers["authorization"] == value
    tables = ("webhook_endpoints", "deliveries", "delivery_attempts", "events", "procrastinate_jobs")
    for table in tables:
        dump: Any = await store.database.fetch_all(f"SELECT t::text AS row FROM {table} t")
        # Binary columns are dumped in hex.
        forms = [form for key in keys for form in (SigningSecret(key).text[6:], key.hex())]
        forms += [value, value.encode().hex()] + [SigningSecret(key).text[6:].encode().hex() for key in keys]
        assert not any(form in row["row"] for form in forms for row in dump)
