"""Wrong keys cost little, and a right key is accepted whatever else its address sends."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

import anyio
import anyio.lowlevel
import httpx
import pytest

from app.api.authentication import Authenticator
from app.api.failed_keys import FAILURES_AT_ONCE, FailedKeys
from app.api.http.errors import TooManyFailedKeys
from app.errors import TryLater, Unauthorized
from app.settings import Settings
from app.store.database_errors import DatabaseUnavailable
from app.store.store import Store
from app.store.tenants.tenants import Tenant, TenantStore
from tests.app.api.conftest import Caller, MovableClock

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
GOOD = Tenant(1, "ten_1", "", "", "", "zip", "send", NOW, None)


def wrong_key() -> str:
    return f"ksefd_{uuid4().hex}_{'x' * 43}"


class Tenants:
    """A store that has one key, and notes the sizes of the queries."""

    def __init__(self) -> None:
        self.queries: list[int] = []
        self.error: Exception | None = None

    async def authenticate(self, keys: Sequence[str], *, now: datetime) -> list[Tenant | None]:
        self.queries.append(len(keys))
        await anyio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return [GOOD if key == "good" else None for key in keys]


def test_an_address_may_present_twenty_wrong_keys_and_then_one_every_three_seconds() -> None:
    failed = FailedKeys()
    assert [failed.note("a", NOW) for _ in range(FAILURES_AT_ONCE)] == [None] * FAILURES_AT_ONCE
    assert failed.note("a", NOW) == 3.0
    assert failed.note("a", NOW) == 3.0
    assert failed.note("b", NOW) is None
    later = NOW + timedelta(seconds=7)
    assert [failed.note("a", later) is None for _ in range(3)] == [True, False, False]
    # A clock that was set back does not lock the address out for the difference.
    wait = failed.note("a", NOW - timedelta(days=1))
    assert wait is not None
    assert wait <= 3.0


async def test_a_flood_of_wrong_keys_is_a_few_queries_and_a_right_key_passes_in_the_middle_of_it() -> None:
    store, clock = Tenants(), MovableClock()
    outcomes: list[type[Exception] | None] = []
    async with anyio.create_task_group() as tasks:
        keys = Authenticator(cast("TenantStore", store), clock, tasks)

        async def present(key: str) -> None:
            try:
                assert await keys.authenticate(key, "203.0.113.9") is GOOD
                outcomes.append(None)
            except (Unauthorized, TooManyFailedKeys) as error:
                outcomes.append(type(error))

        for number in range(500):
            tasks.start_soon(present, "good" if number == 250 else wrong_key())
    assert store.queries == [1, 499] or len(store.queries) <= 3
    assert outcomes.count(None) == 1
    assert outcomes.count(Unauthorized) == FAILURES_AT_ONCE
    assert outcomes.count(TooManyFailedKeys) == 500 - 1 - FAILURES_AT_ONCE


async def test_a_wrong_key_is_remembered_for_three_seconds_and_the_caches_stay_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("app.api.authentication._CAPACITY", 5)
    store, clock = Tenants(), MovableClock()
    async with anyio.create_task_group() as tasks:
        keys = Authenticator(cast("TenantStore", store), clock, tasks)
        for _ in range(10):
            with pytest.raises(Unauthorized):
                await keys.authenticate("wrong", None)
        assert store.queries == [1]
        clock.move(timedelta(seconds=4))
        with pytest.raises(Unauthorized):
            await keys.authenticate("wrong", None)
        assert store.queries == [1, 1]
        for _ in range(8):
            with pytest.raises(Unauthorized):
                await keys.authenticate(wrong_key(), None)
        assert len(keys._known) == 5


@pytest.mark.parametrize(
    ("error", "expected"), [(DatabaseUnavailable("away"), DatabaseUnavailable), (OSError(), TryLater)]
)
async def test_a_key_that_cannot_be_looked_up_puts_the_request_off_and_the_next_one_is_looked_up_again(
    error: Exception, expected: type[Exception]
) -> None:
    store = Tenants()
    async with anyio.create_task_group() as tasks:
        keys = Authenticator(cast("TenantStore", store), MovableClock(), tasks)
        store.error = error
        with pytest.raises(expected):
            await keys.authenticate("good", "203.0.113.9")
        store.error = None
        assert await keys.authenticate("good", "203.0.113.9") is GOOD


async def test_too_many_wrong_keys_are_answered_429_and_the_right_key_of_that_address_200(
    alpha: Caller, running_api: str
) -> None:
    async with httpx.AsyncClient(base_url=running_api, trust_env=False) as client:
        answers = [await client.get("/v1/me", headers={"Authorization": f"Bearer {wrong_key()}"}) for _ in range(22)]
        assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 2
        assert answers[-1].json()["code"] == "too-many-failed-keys"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 6
        # A request without a key is no guess, and a malformed key is one.
        assert (await client.get("/v1/me")).status_code == 401
        assert (await client.get("/v1/me", headers={"Authorization": "Bearer x"})).status_code == 429
    assert (await alpha.http.get("/v1/me")).status_code == 200


async def test_the_key_of_a_disabled_tenant_gets_403_and_works_again_when_it_is_enabled(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    assert (await alpha.http.get("/v1/me")).status_code == 200
    await store.tenants.disable(alpha.tenant.id, now=clock())
    clock.move(timedelta(seconds=4))
    for method, path in (
        ("GET", "/v1/me"),
        ("POST", "/v1/invoices"),
        ("POST", "/v1/uploads"),
        ("GET", "/v1/events/stream"),
    ):
        answer = await alpha.http.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (403, "tenant-disabled"), path
    await store.tenants.enable(alpha.tenant.id)
    clock.move(timedelta(seconds=4))
    assert (await alpha.http.get("/v1/me")).status_code == 200


class TestBehindAProxy:
    """The API behind a reverse proxy on this machine."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"trusted_proxies": "127.0.0.0/8"})

    async def test_failures_count_for_the_forwarded_address(self, alpha: Caller, running_api: str) -> None:
        async with httpx.AsyncClient(base_url=running_api, trust_env=False) as client:

            async def fail(forwarded: str) -> int:
                headers: Any = {"Authorization": f"Bearer {wrong_key()}", "X-Forwarded-For": forwarded}
                return (await client.get("/v1/me", headers=headers)).status_code

            assert [await fail(f"198.51.100.{n}, 203.0.113.7") for n in range(21)] == [401] * 20 + [429]
            assert await fail("203.0.113.8") == 401
            assert await fail("2001:db8::1") == 401
