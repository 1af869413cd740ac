"""An endpoint that was away gets what it missed: each event once, in order, whatever happens meanwhile."""

import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from app.store.events.endpoints import Endpoint, NewEndpoint, Ordering
from app.store.events.feed import BEGINNING
from app.store.events.outbox import EventType
from app.store.events.replays import Step, Wanted
from app.store.store import Store
from app.webhooks.addresses import AddressRules
from app.webhooks.backoff import DISABLE_AFTER, MAX_ATTEMPTS
from tests.app.webhooks.receiver import Receiver, answer, running_receiver
from tests.support.replays import replay_to_the_end
from tests.support.visible_events import events_are_visible
from workers.context import RetryLater
from workers.delivery.dispatcher import DeliveryContext, Dispatcher
from workers.delivery.replay import replay_events

RULES = AddressRules(allow_http=True, allow_private=True)
# Made once: reading the certificates that a system trusts takes longer than most of these tests.
TLS = ssl.create_default_context()


class Scene:
    """A tenant with one ordered endpoint, a receiver, a clock, and the events that were written."""

    def __init__(self, store: Store, tenant: int, receiver: Receiver) -> None:
        self.store, self.tenant, self.receiver = store, tenant, receiver
        self.now = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
        self.context = DeliveryContext(
            store, RULES, lambda: self.now, random=lambda: 0.5, deadline_seconds=5, ssl_context=TLS
        )
        self.written: list[tuple[UUID, int]] = []
        self.endpoint: Endpoint

    async def register(self) -> None:
        new = NewEndpoint(self.receiver.url(), ordering=Ordering.SESSION)
        self.endpoint, _ = await self.store.webhooks.add(self.tenant, new, now=self.now)

    async def tell(self, session: UUID, kind: EventType = EventType.UPLOAD_COMPLETED) -> None:
        place = (session, sum(known == session for known, _ in self.written))
        self.written.append(place)
        async with self.store.database.transaction() as connection:
            await self.store.outbox.add(
                connection,
                kind,
                tenant_id=self.tenant,
                data={"session": str(session), "number": place[1]},
                now=self.now,
                session_id=session,
            )

    async def deliver(self) -> None:
        await Dispatcher(self.context).drain()

    async def switch(self, *, disabled: bool) -> None:
        await self.store.webhooks.update(self.tenant, self.endpoint.id, changes={}, disabled=disabled, now=self.now)

    async def replay(self, wanted: Wanted, *, events_at_once: int = 7) -> dict[str, object]:
        row = await self.store.replays.start(self.tenant, self.endpoint.id, wanted, now=self.now)
        await replay_to_the_end(self.store, self.context.clock, row["id"], events_at_once=events_at_once)
        return await self.store.replays.get(self.tenant, row["id"])

    def arrived(self) -> list[tuple[UUID, int]]:
        """The events that the receiver has seen, without those about webhooks, and forget them."""
        bodies = [json.loads(request.body) for request in self.receiver.requests]
        self.receiver.requests.clear()
        return [
            (UUID(body["data"]["session"]), body["data"]["number"])
            for body in bodies
            if not body["type"].startswith("webhook.")
        ]


@pytest_asyncio.fixture
async def scene(store: Store) -> AsyncIterator[Scene]:
    tenant = await store.tenants.add(
        nip="5265877635",
        name="Spółka",
        credential_kind="ksef_token",
        credential={"token": "t"},
        compression="zip",
        now=datetime(2026, 11, 22, tzinfo=UTC),
    )
    async with running_receiver() as receiver:
        receiver.keeps_connections = True
        made = Scene(store, tenant.id, receiver)
        await made.register()
        yield made


def _in_order(arrived: list[tuple[UUID, int]]) -> bool:
    return all(
        numbers == sorted(numbers)
        for session in {session for session, _ in arrived}
        for numbers in [[number for known, number in arrived if known == session]]
    )


async def test_after_a_days_outage_each_missed_event_comes_once_and_in_the_order_of_its_session(scene: Scene) -> None:
    """The receiver fails until it is disabled, events go on for a day, it is enabled, and a replay is asked for."""
    sessions = [uuid4() for _ in range(4)]
    for session in sessions:
        await scene.tell(session)
    await scene.deliver()
    assert Counter(scene.arrived()) == Counter(scene.written)
    failing_since = scene.now = scene.now + timedelta(hours=1)
    scene.receiver.answers = [answer(503)]
    for hour in range(24):
        await scene.tell(sessions[hour % 4])
        if hour == 12:
            # As after days of failing, whatever the grace is.
            scene.now += DISABLE_AFTER
            await scene.deliver()
        scene.now += timedelta(hours=1)
        await scene.deliver()
    assert (await scene.store.webhooks.get(scene.tenant, scene.endpoint.id)).disabled_reason == "failing"
    scene.receiver.answers = [answer(200)]
    scene.arrived()
    await scene.switch(disabled=False)
    missed = scene.written[4:]
    ended = await scene.replay(Wanted(since=failing_since, types=("upload.completed",)))
    assert (ended["state"], ended["events"], ended["made"]) == ("completed", len(missed), len(missed))
    await scene.deliver()
    arrived = scene.arrived()
    assert Counter(arrived) == Counter(missed)
    assert _in_order(arrived)
    # And nothing is left for a second one.
    again = await scene.replay(Wanted(since=failing_since, types=("upload.completed",)))
    assert (again["events"], again["made"]) == (0, 0)
    await scene.deliver()
    assert scene.arrived() == []


async def test_a_replay_that_is_cut_off_goes_on_where_it_was_and_makes_nothing_twice(scene: Scene) -> None:
    await scene.switch(disabled=True)
    since, session = scene.now, uuid4()
    for _ in range(25):
        await scene.tell(session)
    await scene.switch(disabled=False)
    wanted = Wanted(since=since, types=("upload.completed",))
    row = await scene.store.replays.start(scene.tenant, scene.endpoint.id, wanted, now=scene.now)
    assert await scene.store.replays.step_for_job(row["id"], now=scene.now, limit=10) is Step.MORE
    await scene.deliver()
    assert len(scene.receiver.requests) == 10
    same = await scene.store.replays.start(scene.tenant, scene.endpoint.id, wanted, now=scene.now)
    assert same["id"] == row["id"]
    assert await scene.store.replays.running_for_job() == [row["id"]]
    await replay_to_the_end(scene.store, scene.context.clock, row["id"], events_at_once=10)
    await replay_to_the_end(scene.store, scene.context.clock, row["id"], events_at_once=10)
    await scene.deliver()
    assert scene.arrived() == scene.written
    assert (await scene.store.replays.get(scene.tenant, row["id"]))["made"] == 25
    jobs = await scene.store.database.fetch_all(
        "SELECT 1 FROM procrastinate_jobs WHERE task_name = 'webhooks.replay_events'"
    )
    assert len(jobs) == 1


async def test_what_is_on_its_way_already_is_not_made_twice_and_what_succeeded_only_if_asked_for(scene: Scene) -> None:
    since, session = scene.now, uuid4()
    await scene.tell(session)
    await scene.deliver()
    await scene.tell(session)
    plain = await scene.replay(Wanted(since=since))
    assert plain["made"] == 0
    everything = await scene.replay(Wanted(since=since, everything=True))
    assert everything["made"] == 1
    await scene.deliver()
    assert Counter(scene.arrived()) == Counter([*scene.written, scene.written[0]])


async def test_a_range_begins_after_an_event_and_ends_at_a_time(scene: Scene) -> None:
    await scene.switch(disabled=True)
    session = uuid4()
    for _ in range(6):
        scene.now += timedelta(minutes=1)
        await scene.tell(session)
    await scene.switch(disabled=False)
    await events_are_visible(scene.store)
    rows = (await scene.store.feed.page(scene.tenant, after=BEGINNING, types=["upload.completed"])).rows
    await scene.replay(Wanted(since_event=rows[1]["id"], until=scene.now - timedelta(minutes=1)))
    await scene.deliver()
    assert [number for _, number in scene.arrived()] == [2, 3, 4]


async def test_only_what_the_endpoint_takes_is_replayed_and_tests_of_others_never(scene: Scene) -> None:
    await scene.switch(disabled=True)
    since = scene.now
    await scene.tell(uuid4(), EventType.SESSION_FAILED)
    await scene.tell(uuid4(), EventType.UPLOAD_COMPLETED)
    other, _ = await scene.store.webhooks.add(scene.tenant, NewEndpoint(scene.receiver.url("/other")), now=scene.now)
    await scene.store.webhooks.test(scene.tenant, other.id, now=scene.now)
    changes = {"event_types": ["upload.completed", "webhook.test"]}
    await scene.store.webhooks.update(scene.tenant, scene.endpoint.id, changes=changes, disabled=False, now=scene.now)
    await scene.deliver()
    scene.arrived()
    ended = await scene.replay(Wanted(since=since))
    assert (ended["events"], ended["made"]) == (1, 1)
    await scene.deliver()
    assert scene.arrived() == [scene.written[1]]


async def test_an_event_whose_transaction_ends_late_is_waited_for(scene: Scene) -> None:
    """It was being written while the endpoint was disabled, so nobody but the replay owes it."""
    await scene.switch(disabled=True)
    since, session = scene.now, uuid4()
    async with await psycopg.AsyncConnection.connect(scene.store.database.url) as late:
        await late.execute(
            "INSERT INTO events (id, tenant_id, type, created_at, session_id, data) "
            "VALUES (%s, %s, 'upload.completed', %s, %s, %s)",
            (uuid4(), scene.tenant, scene.now, session, json.dumps({"session": str(session), "number": 0})),
        )
        await scene.switch(disabled=False)
        row = await scene.store.replays.start(
            scene.tenant, scene.endpoint.id, Wanted(since=since, types=("upload.completed",)), now=scene.now
        )
        with pytest.raises(RetryLater):
            await replay_events(scene.store, scene.context.clock, row["id"])
        await late.commit()
    await replay_to_the_end(scene.store, scene.context.clock, row["id"])
    await scene.deliver()
    assert scene.arrived() == [(session, 0)]


async def test_what_had_used_its_schedule_up_gets_a_whole_one_again(scene: Scene) -> None:
    since = scene.now
    await scene.tell(uuid4())
    scene.receiver.answers = [answer(500)]
    for _ in range(MAX_ATTEMPTS):
        await scene.deliver()
        scene.now += timedelta(hours=9)
        await scene.store.database.execute(
            "UPDATE deliveries SET next_attempt_at = %(now)s WHERE state = 'pending'", {"now": scene.now}
        )
    ended = await scene.replay(Wanted(since=since))
    assert ended["made"] == 1
    await scene.deliver()
    (row,) = await scene.store.deliveries.page(scene.tenant, scene.endpoint.id, before=None, state=None, limit=5)
    assert (row["state"], row["attempts"], len(row["tries"])) == ("pending", MAX_ATTEMPTS + 1, MAX_ATTEMPTS + 1)


async def test_a_replay_stops_when_its_endpoint_is_disabled(scene: Scene) -> None:
    since = scene.now
    row = await scene.store.replays.start(scene.tenant, scene.endpoint.id, Wanted(since=since), now=scene.now)
    await scene.switch(disabled=True)
    await replay_to_the_end(scene.store, scene.context.clock, row["id"])
    assert (await scene.store.replays.get(scene.tenant, row["id"]))["state"] == "stopped"
    assert await scene.store.replays.running_for_job() == []


async def test_old_events_go_with_their_history_and_what_is_still_owed_stays(scene: Scene) -> None:
    for _ in range(5):
        await scene.tell(uuid4())
    await scene.deliver()
    scene.receiver.answers = [answer(500)]
    await scene.tell(uuid4())
    await scene.deliver()
    scene.now += timedelta(days=10)
    await scene.tell(uuid4())
    young = scene.now - timedelta(days=1)
    assert await scene.store.deliveries.remove_old_for_job(before=young, limit=2) == 5
    assert await scene.store.deliveries.remove_old_for_job(before=young, limit=2) == 0
    counts = await scene.store.database.fetch_one(
        "SELECT (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM deliveries) AS deliveries, "
        "(SELECT count(*) FROM delivery_attempts) AS attempts"
    )
    assert counts == {"events": 2, "deliveries": 2, "attempts": 1}
