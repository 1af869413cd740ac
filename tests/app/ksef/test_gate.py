"""Every request passes the gate right before it is sent, and the gate learns how it ended."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from app.ksef.client import KsefClient
from app.ksef.errors import KsefError, QuotaExhausted, RateLimited
from app.ksef.keys import PublicKeys
from app.ksef.limits import RateLimit
from app.ksef.login.auth import Authenticator
from app.ksef.login.certificates import SigningIdentity
from app.ksef.login.login import AuthContext, XadesCredentials
from app.ksef.storage import StorageClient
from app.ksef.transport import LimitGroup
from tests.app.ksef.fake_ksef import FakeKsef, json_answer

LIMITS = "/rate-limits"


class _Gate:
    def __init__(self, ksef: FakeKsef) -> None:
        self.ksef = ksef
        self.passed: list[tuple[LimitGroup, int]] = []
        self.errors: list[KsefError] = []
        self.shut: set[LimitGroup] = set()

    @asynccontextmanager
    async def passing(self, group: LimitGroup) -> AsyncIterator[None]:
        if group in self.shut:
            raise QuotaExhausted("later", wait_seconds=1.5)
        self.passed.append((group, len(self.ksef.seen)))
        try:
            yield
        except KsefError as error:
            self.errors.append(error)
            raise


@pytest.fixture
def gate(ksef: FakeKsef) -> _Gate:
    return _Gate(ksef)


@pytest.fixture
def client(ksef: FakeKsef, seal: SigningIdentity, gate: _Gate) -> KsefClient:
    ksef.allow_login()
    transport = ksef.transport.behind(gate)
    keys = PublicKeys(transport, now=ksef.clock.now)
    tenant = Authenticator(
        transport, keys, AuthContext("5265877635"), XadesCredentials(seal), now=ksef.clock.now, sleep=ksef.clock.sleep
    )
    return KsefClient(transport=transport, storage=StorageClient(ksef.http), authenticator=tenant, keys=keys)


async def test_a_request_passes_after_its_token_is_there_and_again_when_repeated(
    ksef: FakeKsef, gate: _Gate, client: KsefClient
) -> None:
    ksef.on("GET", LIMITS, httpx.Response(401), json_answer(200, {}))
    await client.rate_limits()
    groups = [group for group, _ in gate.passed]
    assert groups == [LimitGroup.ANONYMOUS] * 4 + [LimitGroup.OTHER, LimitGroup.ANONYMOUS, LimitGroup.OTHER]
    assert [seen for _, seen in gate.passed] == list(range(7)), "each passes right before it is sent"


async def test_what_may_not_pass_is_not_sent_and_is_certainly_not_done(
    ksef: FakeKsef, gate: _Gate, client: KsefClient
) -> None:
    await client.authenticator.access_token()
    sent = len(ksef.seen)
    gate.shut.add(LimitGroup.OTHER)
    with pytest.raises(QuotaExhausted) as caught:
        await client.rate_limits()
    assert len(ksef.seen) == sent
    assert caught.value.as_dict()["retry_after_seconds"] == 2
    assert ksef.records[-1].group is LimitGroup.ANONYMOUS, "nothing was sent, so nothing is counted in the metrics"


async def test_the_gate_learns_of_the_error(ksef: FakeKsef, gate: _Gate, client: KsefClient) -> None:
    ksef.on("GET", LIMITS, httpx.Response(429, headers={"Retry-After": "7"}))
    with pytest.raises(RateLimited):
        await client.rate_limits()
    (error,) = gate.errors
    assert error.retry_after_seconds == 7


async def test_a_login_that_must_wait_for_quota_is_not_started_another_way(
    ksef: FakeKsef, gate: _Gate, client: KsefClient
) -> None:
    await client.authenticator.access_token()
    ksef.clock.move(minutes=20)
    gate.shut.add(LimitGroup.ANONYMOUS)
    with pytest.raises(QuotaExhausted):
        await client.authenticator.access_token()
    assert len(ksef.calls("/auth/challenge")) == 1


async def test_a_limit_that_cannot_be_read_does_not_pass_for_no_limit(ksef: FakeKsef, client: KsefClient) -> None:
    odd = {"batchSession": {"perSecond": "many", "perMinute": -1}, "newOne": {"perHour": None}}
    ksef.on("GET", LIMITS, json_answer(200, odd))
    limits = await client.rate_limits()
    assert limits.limit_of("batchSession") == RateLimit(10, None, 60)
    assert limits.limit_of("newOne") == RateLimit(10, 30, 120)
