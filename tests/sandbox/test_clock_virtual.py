"""The sandbox's own time: as a clock, and over HTTP with everything that hangs on it."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.clock import ClockSetting, MovableClock
from tests.support.ksef_by_hand import HandClient, Package, invoice, zip_package
from tests.support.sandbox_process import SandboxHandle, running_sandbox

START = datetime(2026, 11, 22, tzinfo=UTC)
STEPS = st.floats(0, 10_000).map(lambda value: timedelta(seconds=round(value, 3)))


@given(first=STEPS, second=STEPS, rate=st.floats(0, 1000))
def test_time_at_a_pace_is_the_time_that_passed_times_the_pace(
    first: timedelta, second: timedelta, rate: float
) -> None:
    setting = ClockSetting(START, START + timedelta(days=3), rate)
    passed = setting.at(START + first + second) - setting.at(START + first)
    assert abs((passed - second * rate).total_seconds()) < 1e-3
    assert setting.at(START) == START + timedelta(days=3)


async def test_a_sleeper_wakes_by_a_jump_and_not_before() -> None:
    clock = MovableClock()
    clock.run(0)
    sleeping = asyncio.ensure_future(clock.sleep(3600))
    await asyncio.sleep(0)
    clock.advance(timedelta(seconds=3599))
    await asyncio.sleep(0.02)
    assert not sleeping.done()
    clock.advance(timedelta(seconds=1))
    async with asyncio.timeout(60):
        await sleeping


async def test_a_sleeper_sleeps_shorter_when_time_runs_faster_and_longer_when_it_goes_back() -> None:
    clock = MovableClock()
    sleeping = asyncio.ensure_future(clock.sleep(3600))
    await asyncio.sleep(0)
    clock.advance(timedelta(seconds=-3600))
    clock.run(1_000_000)
    async with asyncio.timeout(60):
        await sleeping


async def test_whoever_waits_for_a_condition_is_asked_after_every_wake() -> None:
    clock = MovableClock()
    wanted: list[bool] = []
    waiting = asyncio.ensure_future(clock.wait(None, lambda: bool(wanted)))
    await asyncio.sleep(0)
    clock.wake()
    await asyncio.sleep(0.01)
    assert not waiting.done()
    wanted.append(True)
    clock.wake()
    async with asyncio.timeout(60):
        await waiting


def test_a_restored_clock_goes_on_as_the_first_would_have() -> None:
    first, second = MovableClock(), MovableClock()
    first.show(START)
    first.run(60)
    second.restore(first.setting)
    before, told, after = first.now(), second.now(), first.now()
    assert before <= told <= after
    first.run(0)
    second.restore(first.setting)
    assert second.now() == first.now()
    second.reset()
    assert abs(second.offset) < timedelta(seconds=1)


@pytest.fixture(scope="module")
def own() -> Iterator[SandboxHandle]:
    with running_sandbox(validate="off", limits="production") as handle:
        yield handle


@pytest.fixture
def client(owner: HandClient) -> HandClient:
    return owner


def move(control: httpx.Client, **wish: Any) -> dict[str, Any]:
    answer = control.post("/clock", json=wish)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def test_the_clock_can_be_set_stopped_shifted_and_let_go(control: httpx.Client) -> None:
    shown = move(control, set="2027-05-01T10:00:00+02:00", freeze=True)
    assert (shown["time"], shown["rate"]) == ("2027-05-01T08:00:00.0000000+00:00", 0)
    assert control.get("/clock").json()["time"] == shown["time"]
    assert move(control, advance_seconds=90)["time"] == "2027-05-01T08:01:30.0000000+00:00"
    shifted = move(control, offset_seconds=-600, freeze=False)
    assert (abs(shifted["offset_seconds"] + 600) < 5, shifted["rate"]) == (True, 1)
    assert move(control, rate=60)["rate"] == 60
    back = move(control, reset=True)
    assert (abs(back["offset_seconds"]) < 1, back["rate"]) == (True, 1)


@pytest.mark.parametrize(
    "wish",
    [
        {}, {"rate": -1}, {"freeze": True, "rate": 2}, {"set": "2027-05-01T10:00:00"}, {"advance_seconds": 1e12},
        {"set": "2027-05-01T10:00:00Z", "offset_seconds": 1}, {"forward": 1},
    ],
)  # fmt: skip
def test_a_wish_that_makes_no_sense_leaves_the_clock_alone(control: httpx.Client, wish: dict[str, Any]) -> None:
    assert control.post("/clock", json=wish).status_code == 422
    assert abs(control.get("/clock").json()["offset_seconds"]) < 1


def test_answers_carry_the_time_of_the_sandbox(client: HandClient, control: httpx.Client) -> None:
    """A client that corrects its clock by the answers gets something to correct."""
    move(control, offset_seconds=7200)
    answer = client.http.post("/auth/challenge")
    (date,) = answer.headers.get_list("date")
    ahead = parsedate_to_datetime(date) - datetime.now(UTC)
    assert timedelta(seconds=7190) < ahead < timedelta(seconds=7210)
    told = datetime.fromisoformat(answer.json()["timestamp"])
    assert abs(told - parsedate_to_datetime(date)) < timedelta(seconds=2)


def test_windows_of_limits_follow_the_clock(client: HandClient, control: httpx.Client) -> None:
    move(control, freeze=True)
    body = client.open_body(Package(b"content"))

    def openings(count: int) -> list[int]:
        return [client.call("POST", "/sessions/batch", json=body).status_code for _ in range(count)]

    assert openings(10) == [201] * 10
    move(control, advance_seconds=1)
    assert openings(10) == [201] * 10
    move(control, advance_seconds=59)
    assert openings(10) == [201] * 10
    move(control, advance_seconds=1)
    assert openings(10) == [201] * 10


def test_an_hours_quota_of_sessions_passes_in_seconds(client: HandClient, control: httpx.Client) -> None:
    """Sixty sessions fill the hour; the next one waits until the first has left the window, and no longer."""
    move(control, freeze=True)
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    body = client.open_body(package)

    def open_when_allowed() -> float:
        waited = 0.0
        while (answer := client.call("POST", "/sessions/batch", json=body)).status_code == 429:
            pause = int(answer.headers["Retry-After"])
            waited += pause
            move(control, advance_seconds=pause)
            if waited > 600:
                refreshed = client.call("POST", "/auth/token/refresh", token=client.refresh_token)
                client.access_token = refreshed.json()["accessToken"]["token"]
        assert answer.status_code == 201
        return waited

    waits = []
    for _ in range(61):
        waits.append(open_when_allowed())
        move(control, advance_seconds=3.1)
    assert waits[:60] == [0] * 60
    assert 3600 - 61 * 3.1 <= waits[60] <= 3600 - 60 * 3.1 + 4
