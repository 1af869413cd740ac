"""A backlog of one tenant on the virtual clock: everything is sent, nothing too early, and KSeF is asked seldom.

`python -m benchmarks.quota_run` is the long version, which fills hours of the limit.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from app.checking.service import CheckService
from app.ksef.limits import RateLimit
from app.settings import Settings
from app.store.store import Store
from benchmarks.quota_run import (
    GOAL_REQUESTS,
    QuotaRun,
    SharedClock,
    dispatch_backlog,
    least_seconds,
    pack_backlog,
    read_result,
)
from tests.support.sandbox_process import SandboxHandle, running_sandbox
from workers.runtime import worker_context

LIMIT = RateLimit(10, 20, 60)
SESSIONS = 25


@pytest.fixture
def strict() -> Iterator[SandboxHandle]:
    with running_sandbox(limits="production", processing_delay=5.0) as handle:
        yield handle


@pytest.mark.slow
async def test_a_backlog_is_sent_as_fast_as_production_lets_it_with_few_questions_and_no_429(
    settings: Settings, store: Store, pool: CheckService, strict: SandboxHandle
) -> None:
    origin = strict.control_url.removesuffix("/_sandbox")
    clock = SharedClock(origin)
    chosen = settings.model_copy(update={"ksef_url": strict.base_url, "session_max_invoices": 2})
    async with worker_context(chosen, store, pool, clock) as context:
        packed = await pack_backlog(context, SESSIONS, invoices_each=2)
        turned_back = await dispatch_backlog(context, clock, packed)
    clock.close()
    run = read_result(origin, SESSIONS, LIMIT, turned_back=turned_back)
    assert (run.completed, run.invoices_carried, run.too_many) == (SESSIONS, 2 * SESSIONS, 0)
    assert turned_back > 0, "the limit of a minute was never met"
    assert run.requests["batchSession"] == run.requests["batchSessionClose"] == SESSIONS
    assert run.asking_a_session <= GOAL_REQUESTS
    # Nobody waited for more than the limit of a minute: its margin, the queue's two seconds, and the work itself.
    assert run.least_seconds <= run.first_to_last_open_seconds <= run.least_seconds + 20


def test_the_least_time_is_that_of_sliding_windows() -> None:
    moments = least_seconds(101, LIMIT)
    assert (moments[9], moments[10], moments[20]) == (0, 1, 60)
    assert moments[60] == 3600
    assert moments[100] == pytest.approx(3720)
    for span, most in ((1, 10), (60, 20), (3600, 60)):
        assert all(later - earlier >= span for earlier, later in zip(moments, moments[most:], strict=False))


def _run(**other: Any) -> QuotaRun:
    facts: dict[str, Any] = {
        "sessions": 100, "completed": 100, "invoices_carried": 2_000, "hour_limit": 60, "turned_back": 1,
        "first_to_last_open_seconds": 3_700.0, "least_seconds": 3_661.0, "sessions_an_hour": 58.0,
        "virtual_hours": 1.1, "too_many": 0,
    }  # fmt: skip
    return QuotaRun(**(facts | other), requests={"sessionMisc": 500, "other": 9})


@pytest.mark.parametrize(
    ("other", "met"),
    [({}, True), ({"sessions_an_hour": 56.9}, False), ({"too_many": 1}, False), ({"completed": 99}, False)],
)
def test_a_run_meets_its_goals_only_when_all_of_them_are_met(other: dict[str, float], met: bool) -> None:
    assert _run(**other).met is met
