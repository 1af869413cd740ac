"""What is left of KSeF's limits: in `/v1/me` for one tenant, in the metrics for the fullest."""

from datetime import datetime, timedelta
from typing import Any

from app.ksef.limits import DEFAULT_RATE_LIMITS, ContextLimits, RateLimit, RateLimits
from app.store.ksef.quota import EVERYTHING
from app.store.store import Store
from tests.app.api.conftest import Caller, MovableClock

CONTEXT = ContextLimits(5_000, 1_000_000, 3_000_000)


async def _me(caller: Caller) -> dict[str, Any]:
    answer: dict[str, Any] = (await caller.http.get("/v1/me")).raise_for_status().json()
    return answer


async def _open(store: Store, tenant_id: int, times: int, now: datetime) -> None:
    for _ in range(times):
        await store.quota.book(tenant_id, "batchSession", DEFAULT_RATE_LIMITS["batchSession"], now=now)


async def test_a_tenant_sees_what_is_left_of_its_own_quota(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    assert (await _me(alpha))["quota"]["batchSession"] == {"second": 10, "minute": 20, "hour": 60}
    await _open(store, alpha.tenant.id, 7, clock())
    assert (await _me(alpha))["quota"]["batchSession"] == {"second": 3, "minute": 13, "hour": 53}
    clock.move(timedelta(seconds=30))
    assert (await _me(alpha))["quota"]["batchSession"] == {"second": 10, "minute": 13, "hour": 53}
    assert (await _me(beta))["quota"]["batchSession"]["hour"] == 60
    clock.move(timedelta(hours=1, seconds=2))
    assert (await _me(alpha))["quota"]["batchSession"]["hour"] == 60


async def test_what_ksef_said_of_the_limits_counts(alpha: Caller, store: Store, clock: MovableClock) -> None:
    said = RateLimits({"batchSession": RateLimit(10, 20, 30), "sessionMisc": RateLimit(5, None, None)})
    await store.limits.save(alpha.tenant.id, said, CONTEXT, now=clock())
    await _open(store, alpha.tenant.id, 2, clock())
    me = await _me(alpha)
    assert me["limits"]["session_max_invoices"] == 5_000
    assert me["quota"]["batchSession"] == {"second": 8, "minute": 18, "hour": 28}
    assert me["quota"]["batchSessionClose"] == me["quota"]["batchSession"], "counted together before API 2.8"
    assert me["quota"]["sessionMisc"] == {"second": 5, "minute": None, "hour": None}


async def test_a_pause_is_shown_with_its_end(alpha: Caller, store: Store, clock: MovableClock) -> None:
    pause = timedelta(minutes=30)
    await store.quota.block(alpha.tenant.id, "sessionMisc", pause, reason="429", now=clock())
    await store.quota.block(alpha.tenant.id, EVERYTHING, pause * 2, reason="blocked", now=clock())
    quota = (await _me(alpha))["quota"]
    assert datetime.fromisoformat(quota["sessionMisc"]["blocked_until"]) - clock() <= pause
    assert datetime.fromisoformat(quota["blocked_until"]) - clock() > pause
    clock.move(pause * 2)
    quota = (await _me(alpha))["quota"]
    assert "blocked_until" not in quota
    assert "blocked_until" not in quota["sessionMisc"]


async def test_the_metrics_tell_of_the_fullest_tenant(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    await _open(store, alpha.tenant.id, 3, clock())
    await _open(store, beta.tenant.id, 5, clock())
    page = (await alpha.http.get("/metrics")).text
    assert 'ksefd_ksef_quota_remaining{group="batchSession",window="hour"} 55.0' in page
    assert 'ksefd_ksef_quota_remaining{group="sessionMisc",window="minute"} 120.0' in page
    assert page.count("# TYPE ksefd_ksef_quota_remaining gauge") == 1
