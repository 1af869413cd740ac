"""Request limits: as a property of the counter, and over HTTP."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import TooManyRequests
from sandbox.state.ratelimits import DEFAULT_LIMITS, RateLimiter
from tests.support.ksef_by_hand import HandClient, Package
from tests.support.sandbox_process import SandboxHandle, running_sandbox

START = datetime(2026, 11, 22, tzinfo=UTC)
LIMITS = st.tuples(*(st.integers(min_value=-1, max_value=6) for _ in range(3)))
STEPS_MS = st.lists(st.sampled_from([0, 200, 700, 1_000, 20_000, 61_000, 1_800_000]), max_size=60)
"""Milliseconds: sums of floats would differ from the limiter's times in the last digit, just where a window ends."""


@given(limits=LIMITS, steps=STEPS_MS)
def test_no_window_ever_holds_more_than_its_limit(limits: tuple[int, int, int], steps: list[int]) -> None:
    limiter = RateLimiter({"g": limits})
    let_in: list[int] = []
    now = 0
    for step in steps:
        now += step
        fits = all(
            limit < 0 or sum(now - time < span for time in let_in) < limit
            for span, limit in zip((1_000, 60_000, 3_600_000), limits, strict=True)
        )
        try:
            limiter.book("context", "address", "g", START + timedelta(milliseconds=now))
        except TooManyRequests:
            assert not fits
        else:
            assert fits
            let_in.append(now)


@given(limits=LIMITS.filter(lambda item: 0 not in item), count=st.integers(min_value=1, max_value=8))
def test_whoever_waits_as_told_is_let_in(limits: tuple[int, int, int], count: int) -> None:
    limiter = RateLimiter({"g": limits})
    now = START
    for _ in range(count):
        try:
            limiter.book("context", "address", "g", now)
        except TooManyRequests as refusal:
            now += timedelta(seconds=refusal.retry_after)
            limiter.book("context", "address", "g", now)


def test_contexts_addresses_and_groups_are_counted_apart() -> None:
    limiter = RateLimiter({"g": (1, 1, 1), "h": (1, 1, 1)})
    for context, address, group in (("a", "1", "g"), ("b", "1", "g"), ("a", "2", "g"), ("a", "1", "h")):
        limiter.book(context, address, group, START)
    with pytest.raises(TooManyRequests):
        limiter.book("a", "1", "g", START)


@pytest.fixture(scope="module")
def limited() -> Iterator[SandboxHandle]:
    with running_sandbox(limits="production") as handle:
        yield handle


def test_the_limits_of_production_are_enforced_and_published(limited: SandboxHandle) -> None:
    client = HandClient(limited.base_url).login()
    published = client.call("GET", "/rate-limits").json()
    assert {group: tuple(values.values()) for group, values in published.items()} == DEFAULT_LIMITS
    # On a busy machine these requests may take longer than the windows last, so the time is stopped.
    httpx.post(f"{limited.control_url}/clock", json={"freeze": True}).raise_for_status()
    body = client.open_body(Package(b"content"))
    answers = [client.call("POST", "/sessions/batch", json=body) for _ in range(25)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert [answer.status_code for answer in answers].count(201) <= 20
    first = refused[0]
    assert 1 <= int(first.headers["Retry-After"]) <= 60
    assert first.json()["status"]["code"] == 429
    problem = client.call("POST", "/sessions/batch", json=body, headers={"X-Error-Format": "problem-details"})
    assert problem.status_code == 429
    assert problem.headers["content-type"] == "application/problem+json"
    other = HandClient(limited.base_url).login()
    assert other.call("POST", "/sessions/batch", json=other.open_body(Package(b"x"))).status_code == 201
    client.close()
    other.close()
