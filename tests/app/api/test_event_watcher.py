"""Who waits for events is woken by them, in bounds, at one question a turn."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from uuid import UUID, uuid4

import anyio
import pytest

from app.api.event_watcher import EventWatcher
from app.api.http.errors import Busy
from app.store.database import Database
from app.store.database_errors import DatabaseUnavailable
from app.store.events.feed import BEGINNING, EventCursor, EventFeed

LONG = 60.0


class ToldFeed(EventFeed):
    """A feed whose newest places a test sets."""

    def __init__(self) -> None:
        super().__init__(Database("postgresql://nobody"))
        self.places: dict[int, EventCursor] = {}
        self.asked: list[list[int]] = []
        self.away = False

    async def newest(self, tenant_ids: Sequence[int]) -> dict[int, EventCursor]:
        self.asked.append(list(tenant_ids))
        if self.away:
            raise DatabaseUnavailable
        return {tenant: self.places[tenant] for tenant in tenant_ids if tenant in self.places}


@asynccontextmanager
async def _running(watcher: EventWatcher) -> AsyncIterator[anyio.abc.TaskGroup]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watcher.run)
        try:
            yield tasks
        finally:
            watcher.end()


def _place(number: int) -> EventCursor:
    return EventCursor(number, number, uuid4())


async def test_only_the_tenant_whose_events_went_on_is_woken() -> None:
    feed = ToldFeed()
    feed.places = {1: _place(5), 2: _place(7)}
    watcher = EventWatcher(feed, poll_seconds=0.01)
    woken: list[int] = []

    async def wait(tenant: int, cursor: EventCursor) -> None:
        assert await watcher.wait_beyond(tenant, cursor, seconds=LONG)
        woken.append(tenant)

    async with _running(watcher) as tasks:
        tasks.start_soon(wait, 1, _place(5))
        tasks.start_soon(wait, 2, _place(6))
        with anyio.fail_after(60):
            while woken != [2] or len(feed.asked) < 5:
                await anyio.sleep(0.01)
        assert woken == [2]
        feed.places[1] = _place(6)
        with anyio.fail_after(60):
            while woken != [2, 1]:
                await anyio.sleep(0.01)


async def test_many_who_wait_are_one_question_and_nobody_is_none() -> None:
    feed = ToldFeed()
    watcher = EventWatcher(feed, poll_seconds=0.01)

    async def wait(tenant: int) -> None:
        assert await watcher.wait_beyond(tenant, BEGINNING, seconds=LONG)

    async with _running(watcher) as outer:
        await anyio.sleep(0.05)
        assert feed.asked == []
        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(wait, number % 7)
            await anyio.sleep(0.05)
            assert sorted(feed.asked[-1]) == list(range(7))
            feed.places = {tenant: _place(1) for tenant in range(7)}
        await anyio.sleep(0.05)
        questions = len(feed.asked)
        await anyio.sleep(0.05)
        assert len(feed.asked) == questions
        assert outer.cancel_scope.cancel_called is False


async def test_time_that_is_up_is_told_and_leaves_nothing_behind() -> None:
    feed = ToldFeed()
    watcher = EventWatcher(feed, poll_seconds=0.01)
    async with _running(watcher):
        assert not await watcher.wait_beyond(1, BEGINNING, seconds=0.02)
        assert not await watcher.wait_beyond(1, BEGINNING, seconds=0)
        with anyio.move_on_after(0.02):
            await watcher.wait_beyond(1, BEGINNING, seconds=LONG)
        await anyio.sleep(0.05)
        questions = len(feed.asked)
        await anyio.sleep(0.05)
        assert len(feed.asked) == questions, "a request that is gone is asked for no more"


async def test_the_end_lets_everybody_go_at_once_and_for_good() -> None:
    watcher = EventWatcher(ToldFeed())
    answers: list[bool] = []

    async def wait() -> None:
        answers.append(await watcher.wait_beyond(1, BEGINNING, seconds=LONG))

    with anyio.fail_after(60):
        async with _running(watcher) as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            await anyio.sleep(0.01)
            watcher.end()
    assert answers == [False, False, False]
    assert not await watcher.wait_beyond(1, BEGINNING, seconds=LONG)
    await watcher.pause(LONG)


async def test_a_database_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.event_watcher.AWAY_SECONDS", 0.01)
    feed = ToldFeed()
    feed.away = True
    watcher = EventWatcher(feed, poll_seconds=0.01)
    async with _running(watcher) as tasks:
        woken = anyio.Event()

        async def wait() -> None:
            assert await watcher.wait_beyond(1, BEGINNING, seconds=LONG)
            woken.set()

        tasks.start_soon(wait)
        with anyio.fail_after(60):
            while len(feed.asked) < 3:
                await anyio.sleep(0.01)
            feed.away, feed.places = False, {1: _place(1)}
            await woken.wait()


def test_seats_are_bounded_for_a_tenant_and_for_all() -> None:
    watcher = EventWatcher(ToldFeed(), most=3, most_for_newcomers=2, most_of_a_tenant=2)
    with watcher.waiter_slot(1), watcher.waiter_slot(1):
        with pytest.raises(Busy, match="of this tenant"), watcher.waiter_slot(1):
            pass
        with watcher.waiter_slot(2):
            with pytest.raises(Busy, match="too many"), watcher.waiter_slot(2):
                pass
            assert watcher.waiting == 3
            with watcher.waiter_slot(3), watcher.waiter_slot(4):
                for tenant in (3, 5):
                    with pytest.raises(Busy, match="too many"), watcher.waiter_slot(tenant):
                        pass
                assert watcher.waiting == 5, "the places of newcomers are bounded, too"
    assert watcher.waiting == 0
    with watcher.waiter_slot(1):
        assert watcher.waiting == 1


def test_places_are_ordered_by_transaction_and_then_by_sequence() -> None:
    same = UUID(int=9)
    places = [
        BEGINNING,
        EventCursor(0, 4, same),
        EventCursor(3, 1, same),
        EventCursor(3, 2, same),
        EventCursor(10, 1, same),
    ]
    assert all(earlier < later for earlier, later in pairwise(places))
