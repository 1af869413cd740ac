"""Booking: never more than KSeF allows, nearly as much as it allows, whoever asks and however late requests arrive."""

import asyncio
import heapq
import itertools
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.ksef.limits import DEFAULT_RATE_LIMITS, NO_LIMIT, RateLimit
from app.store.database import Database
from app.store.ksef.quota import ADDRESS, EVERYTHING, QuotaStore
from app.store.store import Store
from sandbox.state.ratelimits import RateLimiter
from tests.support.database import drop_database, make_database

START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
_TENANTS = itertools.count(100)
OPEN = DEFAULT_RATE_LIMITS["batchSession"]


@pytest.fixture(scope="module")
def quota_url(postgres_url: str) -> Iterator[str]:
    url = make_database(postgres_url)
    yield url
    drop_database(postgres_url, url)


@asynccontextmanager
async def _quota(url: str) -> AsyncIterator[QuotaStore]:
    database = Database(url, max_connections=4)
    await database.open()
    try:
        yield QuotaStore(database)
    finally:
        await database.close()


def _after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class _Ksef:
    """KSeF's own count of what arrives, which raises when a request is one too many."""

    def __init__(self, limit: RateLimit) -> None:
        triple = tuple(-1 if most is None else most for most in (limit.per_second, limit.per_minute, limit.per_hour))
        assert len(triple) == 3
        self._limiter = RateLimiter({"group": triple})
        self.arrivals: list[float] = []

    def check(self) -> None:
        for moment in sorted(self.arrivals):
            self._limiter.book("context", "address", "group", _after(moment))


async def _send_backlog(
    quota: QuotaStore, tenant_id: int, limit: RateLimit, *, requests: int, chance: random.Random
) -> tuple[_Ksef, int]:
    """Every job asks, and when told to wait comes back a little after the told moment; requests arrive up to 1 s later."""
    ksef, asked = _Ksef(limit), 0
    jobs = [(0.0, number) for number in range(requests)]
    while jobs:
        at, number = heapq.heappop(jobs)
        booking = await quota.book(tenant_id, "group", limit, now=_after(at))
        asked += 1
        if booking.retry_at is None:
            ksef.arrivals.append(at + chance.random())
        else:
            heapq.heappush(jobs, (at + booking.wait_seconds + chance.random() * 2, number))
    return ksef, asked


@settings(max_examples=8, deadline=None)
@given(
    second=st.integers(1, 12) | st.none(),
    minute=st.integers(2, 24) | st.none(),
    hour=st.integers(10, 40),
    seed=st.integers(0, 2**32),
)
@pytest.mark.slow
def test_a_backlog_never_exceeds_a_window_and_wastes_next_to_nothing(
    quota_url: str, second: int | None, minute: int | None, hour: int, seed: int
) -> None:
    limit = RateLimit(second, minute, hour)

    async def run() -> None:
        async with _quota(quota_url) as quota:
            chance = random.Random(seed)
            ksef, asked = await _send_backlog(quota, next(_TENANTS), limit, requests=3 * hour, chance=chance)
        ksef.check()
        # The last of three hours' worth is sent at the latest a little into the third hour.
        first_of_last_hour = sorted(ksef.arrivals)[2 * hour]
        assert first_of_last_hour <= 2 * 3600 / 0.95
        assert asked <= 12 * len(ksef.arrivals), "those who wait do not ask all the time"

    asyncio.run(run())


@pytest.mark.slow
async def test_the_limits_of_production_allow_sixty_openings_an_hour_and_we_make_them(quota_url: str) -> None:
    async with _quota(quota_url) as quota:
        ksef, asked = await _send_backlog(quota, next(_TENANTS), OPEN, requests=300, chance=random.Random(1))
    ksef.check()
    hours = (max(ksef.arrivals) - min(ksef.arrivals)) / 3600
    # Four full hours must pass before the last sixty may leave; those take three minutes.
    assert 4 <= hours <= 4.15
    assert 240 / ((sorted(ksef.arrivals)[240] - min(ksef.arrivals)) / 3600) >= 0.95 * 60
    assert asked <= 6 * 300


async def test_workers_that_ask_at_the_same_time_never_book_more_than_the_limit(store: Store) -> None:
    booked: list[datetime] = []
    told: list[datetime] = []

    async def ask() -> None:
        for _ in range(10):
            booking = await store.quota.book(7, "batchSession", RateLimit(None, 60, None))
            if booking.booked_at is not None:
                booked.append(booking.booked_at)
            elif booking.retry_at is not None:
                told.append(booking.retry_at)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert (len(booked), len(told)) == (60, 140)
    left = await store.quota.remaining(7)
    assert (left["batchSession"].minute, left["batchSession"].hour) == (0, 0)
    assert len(set(told)) > 60, "they are not all told the same moment"


async def test_without_a_limit_everything_is_booked(store: Store) -> None:
    for _ in range(50):
        assert (await store.quota.book(7, "other", NO_LIMIT, now=START)).booked_at == START


async def test_a_limit_of_nothing_is_asked_about_again_later(store: Store) -> None:
    booking = await store.quota.book(7, "other", RateLimit(None, 0, None), now=START)
    assert booking.booked_at is None
    assert booking.wait_seconds == pytest.approx(61.5)


async def test_an_opening_keeps_room_for_its_close_where_they_are_counted_together(store: Store) -> None:
    shared = RateLimit(None, None, 10)

    async def ask(at: float, *, closes: bool = False) -> bool:
        booking = await store.quota.book(7, "batchSession", shared, reserves=not closes, closes=closes, now=_after(at))
        return booking.booked_at is not None

    assert [await ask(at) for at in range(6)] == [True] * 5 + [False]
    assert (await store.quota.remaining(7, now=_after(6)))["batchSession"].hour == 50, "of the documented 60"
    assert [await ask(10 + at, closes=True) for at in range(5)] == [True] * 5
    assert not await ask(20, closes=True), "a repeated close has no room kept for it"
    assert not await ask(3599)
    assert await ask(3601.6, closes=True), "it goes before the opening, which needs room for two"
    assert not await ask(3601.7)


async def test_a_session_that_is_never_closed_keeps_its_room_for_an_hour_only(store: Store) -> None:
    shared = RateLimit(None, None, 2)
    assert (await store.quota.book(7, "g", shared, reserves=True, now=START)).booked_at
    assert (await store.quota.book(7, "g", shared, reserves=True, now=_after(3590))).booked_at is None
    assert (await store.quota.book(7, "g", shared, reserves=True, now=_after(3602))).booked_at


async def test_an_opening_that_failed_gives_back_the_room_for_its_close(store: Store) -> None:
    shared = RateLimit(None, None, 3)
    assert (await store.quota.book(7, "g", shared, reserves=True, now=START)).booked_at
    assert (await store.quota.book(7, "g", shared, reserves=True, now=_after(1))).booked_at is None
    await store.quota.release(7, "g")
    assert (await store.quota.book(7, "g", shared, reserves=True, now=_after(2))).booked_at


async def test_an_opening_stands_back_while_a_close_waits(store: Store) -> None:
    shared = RateLimit(None, 2, None)
    for _ in range(2):
        assert (await store.quota.book(7, "g", shared, closes=True, now=START)).booked_at
    told = await store.quota.book(7, "g", shared, closes=True, now=_after(1))
    assert told.retry_at == _after(61.5)
    assert (await store.quota.book(7, "g", shared, now=_after(62))).booked_at is None
    assert (await store.quota.book(7, "g", shared, closes=True, now=_after(62.5))).booked_at
    assert (await store.quota.book(7, "g", shared, now=_after(62.6))).booked_at


async def test_a_pause_that_ksef_asks_for_goes_before_our_own_count(store: Store) -> None:
    await store.quota.block(7, "batchSession", timedelta(seconds=100), reason="HTTP 429", now=START)
    await store.quota.block(7, "batchSession", timedelta(seconds=5), reason="HTTP 429 again", now=START)
    booking = await store.quota.book(7, "batchSession", OPEN, now=_after(10))
    assert (booking.retry_at, booking.reason) == (_after(100), "HTTP 429 again")
    assert (await store.quota.book(7, "other", OPEN, now=_after(10))).booked_at
    assert (await store.quota.book(8, "batchSession", OPEN, now=_after(10))).booked_at
    assert (await store.quota.remaining(7, now=_after(10)))["batchSession"].blocked_until == _after(100)
    assert (await store.quota.book(7, "batchSession", OPEN, now=_after(100))).booked_at


async def test_a_blocked_address_pauses_every_group_of_the_tenant(store: Store) -> None:
    await store.quota.block(7, EVERYTHING, timedelta(minutes=30), reason="Request blocked", now=START)
    for owner, group in ((7, "batchSession"), (7, "sessionMisc"), (ADDRESS, "anonymous")):
        booking = await store.quota.book(owner, group, NO_LIMIT, pausers=(7,), now=_after(1))
        assert (booking.retry_at, booking.reason) == (_after(1800), "Request blocked")
    assert (await store.quota.book(ADDRESS, "anonymous", NO_LIMIT, now=_after(1))).booked_at
    await store.quota.unblock(7)
    assert (await store.quota.book(7, "sessionMisc", NO_LIMIT, now=_after(2))).booked_at


async def test_a_slow_request_is_counted_from_its_end(store: Store) -> None:
    limit = RateLimit(None, 2, None)
    first = (await store.quota.book(7, "g", limit, now=START)).booked_at
    assert first is not None
    assert (await store.quota.book(7, "g", limit, now=_after(1))).booked_at
    await store.quota.made_later(7, "g", first, now=_after(30))
    assert (await store.quota.book(7, "g", limit, now=_after(62.5))).booked_at
    assert (await store.quota.book(7, "g", limit, now=_after(63))).retry_at == _after(91.5)


async def test_a_clock_that_steps_back_gives_no_room_away(store: Store) -> None:
    limit = RateLimit(None, 1, None)
    assert (await store.quota.book(7, "g", limit, now=START)).booked_at
    assert (await store.quota.book(7, "g", limit, now=START - timedelta(hours=2))).booked_at is None


async def test_the_least_that_is_left_over_all_tenants_is_told(store: Store) -> None:
    for tenant_id, times in ((1, 3), (2, 5)):
        for _ in range(times):
            await store.quota.book(tenant_id, "batchSession", OPEN, now=START)
    left = await store.quota.remaining(None, now=_after(30))
    assert (left["batchSession"].second, left["batchSession"].minute, left["batchSession"].hour) == (10, 15, 55)
