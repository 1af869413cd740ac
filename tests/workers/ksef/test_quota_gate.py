"""The gate that requests pass, the limits that are kept up to date, and one login at a time for all workers."""

import heapq
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest
from procrastinate.jobs import Job

from app.clock import utc_now
from app.ksef.batch import BatchSpec, CompressionType, FormCode, PartSpec
from app.ksef.client import KsefClient
from app.ksef.errors import (
    AuthFailed,
    FrontLayerBlocked,
    KsefError,
    Outcome,
    QuotaExhausted,
    RateLimited,
    SessionNotFound,
)
from app.ksef.keys import PublicKeys
from app.ksef.limits import ContextLimits, RateLimit, RateLimits
from app.ksef.login.tokens import StoredTokens
from app.ksef.storage import StorageClient
from app.ksef.transport import Call, KsefTransport, LimitGroup
from app.store.jobs import Priority
from app.store.ksef.quota import ADDRESS
from app.store.store import Store
from tests.support.road import add_tenant, add_upload, invoices, read, seal_and_pack, zip_of
from tests.support.sandbox_process import SandboxHandle, running_sandbox
from workers.context import KsefClients, RetryLater, TenantTokens, WorkerContext
from workers.job_names import JobNames
from workers.ksef.quota_gate import Quota
from workers.tasks import StageRetryStrategy

START = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
CONTEXT = ContextLimits(10_000, 1_000_000, 3_000_000)
OPEN = Call(LimitGroup.BATCH_SESSION, "POST", "/sessions/batch", frozenset({201}))
CLOSE = Call(LimitGroup.BATCH_SESSION_CLOSE, "POST", "/close", frozenset({204}))
_JOB = Job(id=1, queue="dispatch", lock=None, queueing_lock=None, task_name="t", task_kwargs={})
STATUS = Call(LimitGroup.SESSION_MISC, "GET", "/status", frozenset({200}))


class _Time:
    """A clock, a stopwatch and a sleep that agree with each other."""

    def __init__(self) -> None:
        self.moment = START
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.moment

    def monotonic(self) -> float:
        return self.moment.timestamp()

    def move(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.move(seconds)


@pytest.fixture
def time() -> _Time:
    return _Time()


@pytest.fixture
def quota(store: Store, time: _Time) -> Quota:
    return Quota(store.quota, store.limits, time.now, sleep=time.sleep, monotonic=time.monotonic)


@asynccontextmanager
async def _transport(
    quota: Quota, tenant_id: int, answer: Callable[[httpx.Request], httpx.Response]
) -> AsyncIterator[KsefTransport]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        yield KsefTransport("https://ksef.example/v2", http).behind(quota.gate(tenant_id))


def _answers(time: _Time, *answers: httpx.Response, seconds: float = 0.1) -> Callable[[httpx.Request], httpx.Response]:
    left = list(answers)

    def answer(_: httpx.Request) -> httpx.Response:
        time.move(seconds)
        reply = left.pop(0) if len(left) > 1 else left[0]
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    return answer


async def _tenant(store: Store, **limits: RateLimit) -> int:
    tenant = await add_tenant(store)
    await store.limits.save(tenant.id, RateLimits(limits), CONTEXT, now=START)
    return tenant.id


async def test_a_request_beyond_the_limit_is_not_sent_and_says_when_to_come_again(
    store: Store, quota: Quota, time: _Time
) -> None:
    tenant = await _tenant(store, batchSession=RateLimit(10, 20, 3), batchSessionClose=RateLimit(20, 40, 120))
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(201)

    async with _transport(quota, tenant, answer) as transport:
        for _ in range(3):
            await transport.send(OPEN)
        with pytest.raises(QuotaExhausted) as caught:
            await transport.send(OPEN)
    assert len(sent) == 3
    assert caught.value.wait_seconds == pytest.approx(3601.5)
    assert (caught.value.outcome, caught.value.retry_after_seconds) == (Outcome.TRY_AGAIN, 3602)
    left = (await store.quota.remaining(tenant, now=time.now()))["batchSession"]
    assert (left.second, left.minute, left.hour) == (7, 17, 0)


async def test_the_end_of_a_second_is_waited_for_on_the_spot(store: Store, quota: Quota, time: _Time) -> None:
    tenant = await _tenant(store, sessionMisc=RateLimit(2, None, None))
    async with _transport(quota, tenant, _answers(time, httpx.Response(200), seconds=0)) as transport:
        for _ in range(5):
            await transport.send(STATUS)
    assert time.slept == [pytest.approx(2.1), pytest.approx(2.1)]


async def test_a_429_is_obeyed_by_all_and_has_the_limits_read_again(store: Store, quota: Quota, time: _Time) -> None:
    tenant = await _tenant(store)
    refused = httpx.Response(429, headers={"Retry-After": "100"})
    async with _transport(quota, tenant, _answers(time, refused)) as transport:
        with pytest.raises(RateLimited):
            await transport.send(STATUS)
    other = Quota(store.quota, store.limits, time.now, sleep=time.sleep, monotonic=time.monotonic)
    async with _transport(other, tenant, _answers(time, httpx.Response(200))) as transport:
        with pytest.raises(QuotaExhausted, match="429") as caught:
            await transport.send(STATUS)
        assert 100 <= caught.value.wait_seconds <= 105
        time.move(105)
        await transport.send(STATUS)
    assert (await store.limits.of(tenant)).is_old(START)


async def test_a_block_by_the_front_layer_pauses_the_tenant_for_half_an_hour(
    store: Store, quota: Quota, time: _Time
) -> None:
    tenant = await _tenant(store)
    blocked = httpx.Response(403, html="<html>Request blocked. Incident ID: 7</html>")
    async with _transport(quota, tenant, _answers(time, blocked, httpx.Response(204))) as transport:
        with pytest.raises(FrontLayerBlocked):
            await transport.send(STATUS)
        with pytest.raises(QuotaExhausted, match="front layer") as caught:
            await transport.send(CLOSE)
        assert caught.value.wait_seconds == pytest.approx(1800, abs=1)
        login = Call(LimitGroup.ANONYMOUS, "POST", "/auth/challenge", frozenset({204}))
        with pytest.raises(QuotaExhausted, match="front layer"):
            await transport.send(login)
        time.move(1801)
        await transport.send(CLOSE)


async def test_where_open_and_close_share_a_counter_every_open_session_can_be_closed(
    store: Store, quota: Quota, time: _Time
) -> None:
    tenant = await _tenant(store, batchSession=RateLimit(10, 20, 7), other=RateLimit(10, 30, 120))
    answers = _answers(
        time, httpx.Response(201), httpx.Response(503), httpx.Response(201), httpx.Response(201), httpx.Response(204)
    )
    async with _transport(quota, tenant, answers) as transport:
        await transport.send(OPEN)
        with pytest.raises(KsefError):
            await transport.send(OPEN)  # it counts, but there is nothing to close
        await transport.send(OPEN)
        await transport.send(OPEN)
        with pytest.raises(QuotaExhausted):
            await transport.send(OPEN)
        for _ in range(3):
            await transport.send(CLOSE)
    assert (await store.quota.remaining(tenant, now=time.now()))["batchSession"].hour == 0
    assert "batchSessionClose" not in await store.quota.remaining(tenant, now=time.now())


async def test_logins_of_all_tenants_are_counted_together_and_storage_not_at_all(
    store: Store, quota: Quota, time: _Time
) -> None:
    first, second = await _tenant(store), (await add_tenant(store, nip="1111111111")).id
    login = Call(LimitGroup.ANONYMOUS, "POST", "/auth/challenge", frozenset({200}))
    part = Call(LimitGroup.STORAGE, "PUT", "/part", frozenset({200}))
    for tenant in (first, second):
        async with _transport(quota, tenant, _answers(time, httpx.Response(200))) as transport:
            await transport.send(login)
            await transport.send(part)
    left = await store.quota.remaining(ADDRESS, now=time.now())
    assert (left["anonymous"].second, left["anonymous"].minute) == (58, None)
    assert list(await store.quota.remaining(None, now=time.now())) == ["anonymous"]


async def test_an_answer_survives_a_database_that_is_away(
    store: Store, quota: Quota, time: _Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await _tenant(store)

    async def away(*_: object, **__: object) -> None:
        from app.store.database_errors import DatabaseUnavailable

        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(type(store.quota), "made_later", away)
    async with _transport(quota, tenant, _answers(time, httpx.Response(201), seconds=10)) as transport:
        await transport.send(OPEN)


async def test_a_limit_that_a_refusal_taught_holds_until_ksef_says_more(store: Store, quota: Quota) -> None:
    tenant = await _tenant(store)
    assert await quota.session_max_invoices(tenant) == 10_000
    await quota.lower_session_limit(tenant, 5_000)
    await quota.lower_session_limit(tenant, 7_000)
    assert await quota.session_max_invoices(tenant) == 5_000
    await store.limits.save(tenant, RateLimits({}), replace(CONTEXT, max_invoices=4_000), now=START)
    assert await quota.session_max_invoices(tenant) == 4_000
    await store.limits.save(tenant, RateLimits({}), replace(CONTEXT, max_invoices=6_000), now=START)
    assert await quota.session_max_invoices(tenant) == 6_000


async def test_limits_are_asked_for_by_one_worker_and_not_too_often(store: Store) -> None:
    tenant = (await add_tenant(store)).id
    assert [await store.limits.reserve_refresh(tenant, now=START) for _ in range(2)] == [True, False]
    assert await store.limits.reserve_refresh(tenant, now=START + timedelta(minutes=5)), "nothing came of it"
    await store.limits.save(tenant, RateLimits({}), CONTEXT, now=START + timedelta(minutes=6))
    assert not await store.limits.reserve_refresh(tenant, now=START + timedelta(minutes=60))
    await store.limits.distrust(tenant)
    assert await store.limits.reserve_refresh(tenant, now=START + timedelta(minutes=60))


async def test_sealing_goes_by_the_lower_of_our_limit_and_ksefs(context: WorkerContext) -> None:
    tenant = await add_tenant(context.store)
    await context.quota.lower_session_limit(tenant.id, 8)
    await read(context, await add_upload(context.store, tenant, zip_of(invoices(20))))
    assert [session.invoices for session in await seal_and_pack(context, tenant)] == [8, 8, 4]


# --- against the sandbox, with the limits of production ---


@pytest.fixture(scope="module")
def strict_process() -> Any:
    with running_sandbox(limits="production") as handle:
        yield handle


@pytest.fixture
def strict(strict_process: SandboxHandle) -> SandboxHandle:
    httpx.post(f"{strict_process.control_url}/reset").raise_for_status()
    return strict_process


def _counts(sandbox: SandboxHandle) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = httpx.get(f"{sandbox.control_url}/ledger").raise_for_status().json()["requests"]
    return counts


def _move_clock(sandbox: SandboxHandle, seconds: int) -> None:
    httpx.post(f"{sandbox.control_url}/clock", json={"advance_seconds": seconds}).raise_for_status()


@asynccontextmanager
async def _workers(
    store: Store, sandbox: SandboxHandle, number: int, time: "_SharedTime | None" = None
) -> AsyncIterator[list[KsefClients]]:
    """As many workers as wanted, on one database."""
    clock, sleep = (utc_now, anyio.sleep) if time is None else (time.now, time.sleep)
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(number):
            http = await stack.enter_async_context(httpx.AsyncClient())
            quota = Quota(store.quota, store.limits, clock, sleep=sleep)
            transport = KsefTransport(sandbox.base_url, http, gate=quota.gate())
            keys = PublicKeys(transport, now=clock)
            made.append(KsefClients(store, transport, StorageClient(http), keys, quota, clock))
        yield made


@pytest.mark.slow
async def test_two_workers_share_the_limits_of_production_without_a_429(store: Store, strict: SandboxHandle) -> None:
    tenant = await add_tenant(store)
    known, turned_back = [0], [0]

    async def ask(client: KsefClient, times: int) -> None:
        for _ in range(times):
            try:
                await client.session_status("20261122-SB-0123456789-ABCDEF0123-AA")
            except SessionNotFound:
                known[0] += 1
            except QuotaExhausted:
                turned_back[0] += 1

    async with _workers(store, strict, 2) as workers, anyio.create_task_group() as tasks:
        for worker in workers:
            client = await worker.of(tenant.id)
            for _ in range(5):
                tasks.start_soon(ask, client, 5)
    counts = _counts(strict)
    assert sum(statuses.get("429", 0) for statuses in counts.values()) == 0
    assert known[0] + turned_back[0] == 50
    assert sum(counts["sessionMisc"].values()) == known[0] >= 20
    limits = await store.limits.of(tenant.id)
    assert limits.rates.limit_of("batchSession") == RateLimit(10, 20, 60)
    assert limits.session_max_invoices == 10_000
    assert sum(counts["other"].values()) == 2, "one worker asked, for both"


async def _logins(store: Store, sandbox: SandboxHandle, tenant_id: int) -> int:
    stored = await TenantTokens(store.database, store.tenants, tenant_id, utc_now).load()
    assert stored is not None
    bearer = {"Authorization": f"Bearer {stored.access_token}"}
    async with httpx.AsyncClient(headers=bearer) as http:
        answer = await http.get(f"{sandbox.base_url}/auth/sessions")
    return len(answer.raise_for_status().json()["items"])


async def test_three_workers_make_one_login(store: Store, strict: SandboxHandle) -> None:
    tenant = await add_tenant(store)
    async with _workers(store, strict, 3) as workers, anyio.create_task_group() as tasks:
        for worker in workers:
            client = await worker._make(tenant.id)
            for _ in range(4):
                tasks.start_soon(client.authenticator.access_token)
    assert await _logins(store, strict, tenant.id) == 1


@pytest.mark.parametrize(
    ("seconds", "requests", "logins"), [(1_000, 1, 1), (8 * 86_400, 5, 2)], ids=["access token", "refresh token"]
)
async def test_a_401_in_mid_flight_is_cured_once_for_all_workers(
    store: Store, strict: SandboxHandle, seconds: int, requests: int, logins: int
) -> None:
    tenant = await add_tenant(store)
    done = [0]

    async def ask(client: KsefClient) -> None:
        await client.rate_limits()
        done[0] += 1

    async with _workers(store, strict, 2) as workers:
        clients = [await worker._make(tenant.id) for worker in workers]
        for client in clients:
            await client.authenticator.access_token()
        before = sum(_counts(strict)["anonymous"].values())
        # For us the token is as good as ever; KSeF's time is another.
        _move_clock(strict, seconds)
        async with anyio.create_task_group() as tasks:
            for client in clients * 2:
                tasks.start_soon(ask, client)
    assert done[0] == 4
    assert _counts(strict)["other"]["401"] >= 2
    assert sum(_counts(strict)["anonymous"].values()) - before in {requests, requests + 1}, (
        "one renewal, not one a worker"
    )
    assert await _logins(store, strict, tenant.id) in {1, logins}


async def test_a_worker_that_dies_while_logging_in_holds_nobody_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.context._RENEWAL_PATIENCE_SECONDS", 0.3)
    tenant = await add_tenant(store)
    mine = TenantTokens(store.database, store.tenants, tenant.id, utc_now)
    others = TenantTokens(store.database, store.tenants, tenant.id, utc_now)
    async with mine.renewing():
        with pytest.raises(AuthFailed) as caught:
            async with others.renewing():
                raise AssertionError
        assert caught.value.outcome is Outcome.TRY_AGAIN
    with anyio.move_on_after(0.1):
        async with mine.renewing():
            await anyio.sleep_forever()
    async with others.renewing():
        await others.save(_tokens())
    assert await mine.load() == _tokens()


def _tokens() -> StoredTokens:
    return StoredTokens("a", START, START, "r", START, "20261122-AU-1")


async def test_a_job_that_waits_for_quota_comes_back_at_the_moment_it_was_told() -> None:
    told = QuotaExhausted("later", wait_seconds=3000.0)
    caused = RetryLater("later", seconds=1, priority=Priority.CLOSE)
    caused.__cause__ = told
    for reason in (told, caused, RetryLater("later", seconds=3000, exact=True)):
        decision = StageRetryStrategy(JobNames()).get_retry_decision(exception=reason, job=_JOB)
        assert decision.retry_at is not None
        seconds = (decision.retry_at - utc_now()).total_seconds()
        assert 2999 <= seconds <= 3001
    assert StageRetryStrategy(JobNames()).get_retry_decision(exception=caused, job=_JOB).priority == Priority.CLOSE


class _SharedTime:
    """One time for us and for the sandbox, which jumps instead of passing."""

    def __init__(self, sandbox: SandboxHandle) -> None:
        self._control = httpx.Client(base_url=sandbox.control_url)
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        return utc_now() + self._ahead

    def move(self, seconds: float) -> None:
        self._control.post("/clock", json={"advance_seconds": seconds}).raise_for_status()
        self._ahead += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        self.move(seconds)

    def close(self) -> None:
        self._control.close()


def _package() -> BatchSpec:
    return BatchSpec(
        form_code=FormCode("FA (3)", "1-0E", "FA"),
        package_size=1_000,
        package_sha256=bytes(32),
        compression_type=CompressionType.ZIP,
        parts=(PartSpec(1, 1_008, bytes(32)),),
        encrypted_symmetric_key=bytes(256),
        initialization_vector=bytes(16),
        public_key_id=None,
    )


@pytest.mark.slow
async def test_a_backlog_opens_as_many_sessions_an_hour_as_production_allows_without_a_429(
    store: Store, strict: SandboxHandle
) -> None:
    tenant = await add_tenant(store)
    shared, chance = _SharedTime(strict), random.Random(1)
    opened: list[datetime] = []
    async with _workers(store, strict, 2, shared) as workers:
        clients = [await worker.of(tenant.id) for worker in workers]
        jobs = [(shared.now(), number) for number in range(130)]
        while jobs:
            due, number = heapq.heappop(jobs)
            if due > shared.now():
                shared.move((due - shared.now()).total_seconds())
            try:
                await clients[number % 2].open_batch_session(_package())
                opened.append(shared.now())
            except QuotaExhausted as error:
                # The queue is looked at every two seconds, and the retry has its jitter.
                seconds = error.wait_seconds + 2.5 * chance.random()
                heapq.heappush(jobs, (shared.now() + timedelta(seconds=seconds), number))
    shared.close()
    counts = _counts(strict)
    assert sum(statuses.get("429", 0) for statuses in counts.values()) == 0
    assert counts["batchSession"] == {"201": 130}
    # 120 sessions are what two hours allow; the next one may be opened when they are over.
    hours = (opened[120] - opened[0]).total_seconds() / 3600
    assert 120 / hours >= 0.95 * 60
