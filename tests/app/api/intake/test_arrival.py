"""Slow bodies of a few tenants do not keep other tenants from sending."""

import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, cast

import anyio.to_thread
import pytest

from app.api.event_watcher import EventWatcher
from app.api.http.errors import BodyTooSlow, Busy
from app.api.intake import admission, arrival, validation_pool
from app.api.intake.arrival import LEAST_BYTES_A_SECOND, Arrival, Pace
from app.api.intake.group_commit import WAITING_BYTES_OF_A_TENANT, SinglesGrouping
from app.store.store import Store
from app.store.tenants.tenants import Tenant
from tests.app.api.conftest import Caller, MovableClock, eventually, make_caller

ZIP = {"Content-Type": "application/zip"}
NIPS = ("1111111111", "5213017228", "7740001454", "5252344078")


def drip(pace: Pace, *, every: float, size: int, times: int, start: float = 0.0, work: float = 0.0) -> float:
    """Bring `size` bytes after each wait of `every` seconds, with `work` seconds of the service between; return the time."""
    now = start
    for _ in range(times):
        pace.begin(now)
        now += every
        pace.end(now, size)
        now += work
    return now


def test_a_body_that_drips_is_refused_after_a_minute_and_one_at_the_least_rate_goes_on_for_hours() -> None:
    drip(Pace(), every=1, size=LEAST_BYTES_A_SECOND, times=36_000)
    with pytest.raises(BodyTooSlow, match="84 bytes a second arrived for 60 seconds; send at least 5000"):
        drip(Pace(), every=0.5, size=42, times=200)


def test_bytes_before_do_not_pay_for_a_minute_of_dripping_and_the_service_s_own_time_does_not_count() -> None:
    pace = Pace()
    now = drip(pace, every=1, size=100_000_000, times=60)
    with pytest.raises(BodyTooSlow):
        drip(pace, every=30, size=1, times=2, start=now)
    drip(Pace(), every=0.001, size=1, times=10_000, work=3.0)


def test_the_rate_is_that_of_the_present_minute_while_bytes_are_awaited_too() -> None:
    pace = Pace()
    assert pace.bytes_a_second(0.0) == float("inf")
    now = drip(pace, every=1, size=60_000, times=60)
    pace.begin(now)
    assert pace.bytes_a_second(now + 5) == 60_000
    assert pace.bytes_a_second(now + 30) == 0


async def test_a_body_that_is_ended_early_is_refused_while_it_waits_and_before_the_next_piece() -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b"first"
        await anyio.sleep_forever()

    body = Arrival(1, None, lambda _: None)
    stream = silent()
    assert await body.next_piece(stream) == b"first"
    async with anyio.create_task_group() as tasks:

        async def end() -> None:
            await anyio.wait_all_tasks_blocked()
            body.end_early()

        tasks.start_soon(end)
        with pytest.raises(Busy, match="the slowest of your uploads"):
            await body.next_piece(stream)
    with pytest.raises(Busy):
        await body.next_piece(stream)


async def test_four_tenants_with_32_dripping_bodies_do_not_stop_a_fifth(
    alpha: Caller, store: Store, running_api: str, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "SHARE_SECONDS", 0.1)
    port = int(running_api.rpartition(":")[2])
    senders = [await make_caller(store, running_api, nip, clock()) for nip in NIPS]
    with ExitStack() as lines:

        def begin(key: str) -> socket.socket:
            line = lines.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            line.sendall(
                b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\nContent-Length: 9000\r\n"
                b"Authorization: Bearer " + key.encode() + b"\r\n\r\nP"
            )
            return line

        opened = [await anyio.to_thread.run_sync(begin, one.key) for one in senders for _ in range(8)]

        async def all_arrive() -> bool:
            shown = [(await one.http.get("/v1/me")).json()["waiting"]["concurrent_uploads"] for one in senders]
            return all(one == {"used": 8, "most": 8} for one in shown)

        await eventually(all_arrive)
        # The last one brings bytes meanwhile, so it is not the slowest.
        opened[-1].sendall(b"K" * 8_000)
        assert (await alpha.http.post("/v1/uploads", content=b"PK", headers=ZIP)).status_code == 202
        opened[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            opened[-1].recv(1)
        ended = [line for line in opened[:-1] if _answer(line)]
        assert len(ended) == 1
    for one in senders:
        await one.http.aclose()


def _answer(line: socket.socket) -> bytes:
    """Return the answer on a connection that may have one: always 503 `busy`."""
    line.setblocking(False)
    try:
        answer = line.recv(4096)
    except BlockingIOError:
        return b""
    assert answer.startswith(b"HTTP/1.1 503"), answer
    assert b'"busy"' in answer
    return answer


def _tenant(number: int) -> Tenant:
    return Tenant(number, f"ten_{number}", "", "", "", "zip", "send", datetime(2026, 11, 1, tzinfo=UTC), None)


async def test_memory_of_single_posts_and_places_of_checks_and_waits_are_left_to_tenants_that_have_none() -> None:
    none: Any = None
    singles = SinglesGrouping(cast("Store", none), none, none)
    watcher = EventWatcher(none, most=40)
    pool = object.__new__(validation_pool.ValidationPool)
    pool._waiting = Counter()
    with ExitStack() as held:
        for tenant in (1, 2):
            held.enter_context(singles.room_for(_tenant(tenant), WAITING_BYTES_OF_A_TENANT - 1))
            for _ in range(20):
                held.enter_context(watcher.waiter_slot(tenant))
            held.enter_context(singles.room_for(_tenant(tenant), 1))
        held.enter_context(singles.room_for(_tenant(3), 3_000_000))
        with pytest.raises(Busy):
            held.enter_context(singles.room_for(_tenant(3), 3_000_000))
        held.enter_context(watcher.waiter_slot(3))
        with pytest.raises(Busy):
            held.enter_context(watcher.waiter_slot(3))
    pool._waiting.update({f"tenant {n}": 16 for n in range(4)})
    pool._refuse_too_many("the fifth")
    pool._waiting["the fifth"] += 1
    with pytest.raises(Busy):
        pool._refuse_too_many("the fifth")


@pytest.mark.parametrize("path", ["/v1/uploads", "/v1/invoices", "/v1/validate"])
async def test_the_least_rate_is_answered_408_over_http(
    alpha: Caller, running_api: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(arrival, "WINDOW_SECONDS", 0.2)
    kind = "zip" if path == "/v1/uploads" else "xml"
    stream = await anyio.connect_tcp("127.0.0.1", int(running_api.rpartition(":")[2]))
    await stream.send(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/{kind}\r\nContent-Length: 9000\r\n"
        f"Authorization: Bearer {alpha.key}\r\n\r\nP".encode()
    )
    async with anyio.create_task_group() as tasks:

        async def drips() -> None:
            while True:
                await anyio.sleep(0.03)
                await stream.send(b"K")

        tasks.start_soon(drips)
        with anyio.fail_after(20):
            answer = await stream.receive()
        tasks.cancel_scope.cancel()
    await stream.aclose()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"send at least 5000" in answer
