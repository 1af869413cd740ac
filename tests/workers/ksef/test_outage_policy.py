"""An outage of KSeF from its beginning to its end: sending pauses, intake goes on, everything resumes by itself."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest
import pytest_asyncio

from app.checking.service import CheckService
from app.clock import utc_now
from app.domain.outage import KsefState, Override
from app.domain.session_machine import Action
from app.domain.states import InvoiceState, SessionState
from app.ksef.answers import Answer
from app.ksef.error_classification import classify
from app.ksef.errors import KsefError, Outcome, TransportFailed
from app.ksef.latarnia import Latarnia
from app.ksef.transport import LimitGroup
from app.settings import Settings
from app.store.sessions.ownership import OwnershipLost
from app.store.sessions.session import Session
from app.store.store import Store
from tests.support.ports import reserved_port
from tests.support.road import add_tenant, add_upload, carry_one, invoices, read, seal_and_pack, zip_of
from tests.support.sandbox_process import running_sandbox
from workers.context import RetryLater, WorkerContext
from workers.ksef import outage_policy as outage
from workers.ksef.health_monitor import KsefHealthMonitor, is_silence
from workers.runtime import worker_context
from workers.sessions.advance import advance_session

URL = "https://ksef.example/v2"


class Hands:
    """A clock that goes only when it is told to; it starts in the past, so that the sandbox's never lies behind it."""

    def __init__(self) -> None:
        self.now = utc_now() - timedelta(minutes=30)

    def __call__(self) -> datetime:
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A port at which there is no sandbox until a test starts one."""
    with reserved_port() as reserved:
        yield reserved


@pytest_asyncio.fixture
async def dark(
    settings: Settings, store: Store, pool: CheckService, hands: Hands, port: int
) -> AsyncIterator[WorkerContext]:
    """The stages' world with a stopped sandbox as KSeF, and time that is told."""
    at = settings.model_copy(update={"ksef_url": f"http://localhost:{port}/v2"})
    async with worker_context(at, store, pool, hands) as made:
        yield made


@asynccontextmanager
async def _requests(context: WorkerContext) -> AsyncIterator[list[LimitGroup]]:
    """Note the requests that leave while inside."""
    seen: list[LimitGroup] = []
    passing = KsefHealthMonitor.passing

    @asynccontextmanager
    async def noted(self: KsefHealthMonitor, group: LimitGroup) -> AsyncIterator[None]:
        seen.append(group)
        async with passing(self, group):
            yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KsefHealthMonitor, "passing", noted)
        yield seen


async def _packed(context: WorkerContext, count: int = 3, start: int = 0) -> Session:
    tenants = await context.store.tenants.all()
    tenant = tenants[0] if tenants else await add_tenant(context.store)
    await read(context, await add_upload(context.store, tenant, zip_of(invoices(count, start=start))))
    return (await seal_and_pack(context, tenant))[-1]


@asynccontextmanager
async def _owned(context: WorkerContext, session: Session) -> AsyncIterator[tuple[WorkerContext, Session]]:
    """Own the session as its job does, whose row has another epoch since the last owner."""
    async with context.owning(session.id) as owned:
        assert owned is not None, "the last job left the session owned"
        yield owned


async def _try(context: WorkerContext, session: Session) -> float:
    """Run the session's job once, which is to come again; gives the pause that it asks for."""
    with pytest.raises(RetryLater) as caught:
        await advance_session(context, session.id)
    return caught.value.seconds


async def _fall_silent(context: WorkerContext, session: Session, hands: Hands) -> None:
    for _ in range(20):
        await _try(context, session)
        if await _state(context) is KsefState.AWAY:
            return
        hands.pass_(45)
    pytest.fail("many minutes without an answer were not taken for an outage")


async def _state(context: WorkerContext) -> KsefState:
    return (await context.ksef_health.availability())[1].state


async def test_sending_pauses_intake_goes_on_and_all_resumes_by_itself(
    dark: WorkerContext, hands: Hands, port: int
) -> None:
    session = await _packed(dark)
    began = hands.now
    await _fall_silent(dark, session, hands)
    assert timedelta(minutes=3) <= hands.now - began <= timedelta(minutes=6)

    # Nothing leaves between two tries, however many sessions ask; one call leaves when it is time, whoever asks.
    async with _requests(dark) as seen:
        pauses = [await _try(dark, session) for _ in range(5)]
        assert seen == []
        assert all(2 <= pause <= 60 for pause in pauses)
        hands.pass_(60)
        await _try(dark, session)
        await _try(dark, session)
        assert seen == [LimitGroup.ANONYMOUS]

    # Intake takes, checks and packs.
    second = await _packed(dark, 4, start=10)
    assert second.state is SessionState.PACKED
    await _try(dark, second)

    with running_sandbox(port=port):
        # KSeF is back; the next try, made by the clock of maintenance, finds it.
        hands.pass_(120)
        await outage.check_ksef_health(dark)
        assert await _state(dark) is KsefState.AVAILABLE
        for one in (session, second):
            await carry_one(dark, one.id)
    states = await dark.store.invoices.state_counts()
    assert {state: n for state, n in states.items() if n} == {InvoiceState.ACCEPTED.value: 7}
    told = await dark.store.database.fetch_all("SELECT type FROM events WHERE type LIKE 'ksef.%%' ORDER BY sequence")
    assert [row["type"] for row in told] == ["ksef.unavailable", "ksef.available"]


async def test_a_session_that_finds_ksef_back_goes_on_at_once_and_wakes_the_others(
    dark: WorkerContext, hands: Hands, port: int
) -> None:
    session = await _packed(dark)
    await _fall_silent(dark, session, hands)
    other = await _packed(dark, 2, start=10)
    await _try(dark, other)
    await dark.store.database.execute(
        "UPDATE procrastinate_jobs SET scheduled_at = now() + interval '1 hour' WHERE task_name = 'dispatch.dispatch_session'"
    )
    with running_sandbox(port=port):
        hands.pass_(60)
        await carry_one(dark, session.id)
        rows = await dark.store.database.fetch_all(
            "SELECT args->>'session_id' AS id FROM procrastinate_jobs "
            "WHERE task_name = 'dispatch.dispatch_session' AND scheduled_at IS NULL"
        )
        assert str(other.id) in {row["id"] for row in rows}


async def test_an_order_to_pause_holds_back_sending_and_nothing_else(road: WorkerContext) -> None:
    session = await _packed(road)
    order = Override(KsefState.AWAY, road.clock(), road.clock() + timedelta(hours=1), "maintenance")
    await road.store.outages.order(road.ksef_health.ksef_url, order, now=road.clock())
    async with _requests(road) as seen:
        await _try(road, session)
        assert seen == []
    async with _owned(road, session) as (context, ours):
        for action in (Action.OPEN, Action.STORE_PARTS, Action.CLOSE):
            with pytest.raises(RetryLater, match="maintenance"):
                await outage.before_action(context, ours, action)
        for action in (
            Action.POLL_STATUS,
            Action.READ_RESULTS,
            Action.LIST_INVOICES,
            Action.RENEW_KEY,
            Action.END_DEAD,
        ):
            await outage.before_action(context, ours, action)
    await road.store.outages.order(road.ksef_health.ksef_url, None, now=road.clock())
    await carry_one(road, session.id)


async def test_an_order_to_send_goes_before_a_silence(dark: WorkerContext, hands: Hands) -> None:
    session = await _packed(dark)
    await _fall_silent(dark, session, hands)
    await dark.store.outages.order(dark.ksef_health.ksef_url, Override(KsefState.AVAILABLE, hands.now), now=hands.now)
    async with _requests(dark) as seen:
        await _try(dark, session)
        assert seen


async def test_a_silence_holds_back_calls_to_the_api_but_not_parts_whose_links_run_out(
    dark: WorkerContext, hands: Hands
) -> None:
    session = await _packed(dark)
    await _fall_silent(dark, session, hands)
    async with _owned(dark, session) as (context, ours):
        for action in (Action.OPEN, Action.CLOSE, Action.POLL_STATUS, Action.READ_RESULTS, Action.LIST_INVOICES):
            with pytest.raises(RetryLater):
                await outage.before_action(context, ours, action)
        await outage.before_action(context, ours, Action.STORE_PARTS)


async def test_a_worker_that_lost_the_session_puts_nothing_off_for_its_new_owner(
    dark: WorkerContext, hands: Hands
) -> None:
    before = await _packed(dark)
    await _fall_silent(dark, before, hands)
    with pytest.raises(OwnershipLost):
        await outage.before_action(dark, before, Action.OPEN)


async def _watched(ksef_health: KsefHealthMonitor, error: Exception | None) -> None:
    async with ksef_health.passing(LimitGroup.SESSION_MISC):
        if error is not None:
            raise error


def _judged(status: int, body: bytes = b"{}", kind: str = "application/json") -> KsefError:
    return classify(Answer("GET /x", status, {"content-type": kind}, body))


SILENT = [
    TransportFailed("no connection", outcome=Outcome.TRY_AGAIN),
    TransportFailed("no answer"),
    _judged(500),
    _judged(503),
    _judged(200, b"<html>", "text/html"),
]
SAYING = [
    None,
    _judged(400, b'{"title":"x","status":400,"errors":[{"code":21405,"description":"y"}]}', "application/problem+json"),
    _judged(401),
    _judged(410),
    _judged(429),
]
NEITHER = [_judged(403, b"<html>", "text/html"), ValueError("ours")]


@pytest.mark.parametrize("error", SILENT, ids=repr)
async def test_what_is_no_answer_of_ksef_counts(store: Store, hands: Hands, error: KsefError) -> None:
    assert is_silence(error)
    ksef_health = KsefHealthMonitor(store.outages, URL, hands)
    for _ in range(5):
        with pytest.raises(type(error)):
            await _watched(ksef_health, error)
        hands.pass_(60)
    assert (await store.outages.read(URL)).health.state is KsefState.AWAY


@pytest.mark.parametrize("error", SAYING, ids=repr)
async def test_whatever_ksef_itself_says_ends_an_outage(store: Store, hands: Hands, error: KsefError | None) -> None:
    for second in (0, 60, 120, 150, 180):
        await store.outages.failed(URL, "no answer", now=hands.now + timedelta(seconds=second))
    hands.pass_(200)
    with pytest.raises(type(error)) if error is not None else nullcontext():
        await _watched(KsefHealthMonitor(store.outages, URL, hands), error)
    assert (await store.outages.read(URL)).health.state is KsefState.AVAILABLE


@pytest.mark.parametrize("error", NEITHER, ids=repr)
async def test_a_firewall_and_our_own_faults_say_nothing(store: Store, hands: Hands, error: Exception) -> None:
    await store.outages.failed(URL, "no answer", now=hands.now)
    before = await store.outages.read(URL)
    with pytest.raises(type(error)):
        await _watched(KsefHealthMonitor(store.outages, URL, hands), error)
    assert await store.outages.read(URL) == before


async def test_an_answer_here_ends_the_silence_that_another_worker_met(store: Store, hands: Hands) -> None:
    here, there = KsefHealthMonitor(store.outages, URL, hands), KsefHealthMonitor(store.outages, URL, hands)
    await _watched(here, None)
    with pytest.raises(TransportFailed):
        await _watched(there, TransportFailed("no answer"))
    hands.pass_(1)
    await _watched(here, None)
    assert (await store.outages.read(URL)).health.failures == 1, "looked again too soon: a read for every answer"
    hands.pass_(5)
    await _watched(here, None)
    assert (await store.outages.read(URL)).health.failures == 0


def _with_latarnia(context: WorkerContext, answer: Any) -> WorkerContext:
    fields = {name: getattr(context, name) for name in WorkerContext.__dataclass_fields__}
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return WorkerContext(**(fields | {"latarnia": Latarnia("https://latarnia.example", http, deadline_seconds=0.05)}))


async def test_latarnia_never_goes_before_ksefs_own_answers(
    dark: WorkerContext, road: WorkerContext, hands: Hands
) -> None:
    def all_is_well(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"status": "AVAILABLE"})

    def all_is_lost(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"status": "TOTAL_FAILURE"})

    await _fall_silent(dark, await _packed(dark), hands)
    await outage.check_ksef_health(_with_latarnia(dark, all_is_well))
    known, counts = await dark.ksef_health.availability()
    assert (counts.state, known.as_json(hands.now)["latarnia"]["status"]) == (KsefState.AWAY, "AVAILABLE")

    await outage.check_ksef_health(_with_latarnia(road, all_is_lost))
    known, counts = await road.ksef_health.availability()
    assert (counts.state, known.as_json(road.clock())["latarnia"]["status"]) == (KsefState.AVAILABLE, "TOTAL_FAILURE")


async def test_a_latarnia_that_is_down_or_hangs_changes_nothing_and_is_left_alone_for_ten_minutes(
    dark: WorkerContext, hands: Hands
) -> None:
    asked: list[str] = []

    def down(request: httpx.Request) -> httpx.Response:
        asked.append("down")
        raise httpx.ConnectError("nobody there")

    async def hangs(request: httpx.Request) -> httpx.Response:
        asked.append("hangs")
        await anyio.sleep_forever()
        raise AssertionError

    await outage.check_ksef_health(_with_latarnia(dark, down))
    hands.pass_(599)
    await outage.check_ksef_health(_with_latarnia(dark, hangs))
    hands.pass_(1)
    await outage.check_ksef_health(_with_latarnia(dark, hangs))
    assert asked == ["down", "hangs"]
    assert (await dark.store.outages.read(dark.ksef_health.ksef_url)).as_json(hands.now) == {
        "state": "available",
        "since": None,
        "reason": None,
        "ordered": False,
        "latarnia": None,
    }
