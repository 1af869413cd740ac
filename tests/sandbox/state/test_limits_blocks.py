"""Limits beyond the windows: blocks that grow, the older contract, overrides, what is not metered."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.errors import TooManyRequests
from sandbox.main import RECORD_VARIABLE
from sandbox.options import ApiVersion
from sandbox.state.ratelimits import DEFAULT_LIMITS, RateLimiter, make_limiter
from tests.support.ksef_by_hand import HandClient, Package, invoice, zip_package
from tests.support.sandbox_process import SandboxHandle, running_sandbox

START = datetime(2026, 11, 22, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def refusal(limiter: RateLimiter, seconds: float, group: str = "g") -> int:
    """The wait that a refused request is told; the request must be refused."""
    with pytest.raises(TooManyRequests) as caught:
        limiter.book("context", "address", group, at(seconds))
    return caught.value.retry_after


def test_the_first_violation_costs_what_the_window_says_and_the_next_ones_more() -> None:
    limiter = RateLimiter({"g": (-1, 1, -1)}, growing=True)
    waits, now = [], 0.0
    for _ in range(8):
        limiter.book("context", "address", "g", at(now))
        waits.append(refusal(limiter, now))
        now += waits[-1]
    assert waits[:6] == [60, 120, 240, 480, 960, 1920]
    assert max(waits) <= 3600


def test_requests_on_their_way_when_the_block_began_do_not_lengthen_it() -> None:
    limiter = RateLimiter({"g": (-1, 1, -1)}, growing=True)
    limiter.book("context", "address", "g", START)
    assert [refusal(limiter, 0.1 * n) for n in range(5)] == [60] * 5
    assert refusal(limiter, 5) == 110


def test_an_hour_of_good_conduct_is_forgiven() -> None:
    limiter = RateLimiter({"g": (-1, 1, -1)}, growing=True)
    limiter.book("context", "address", "g", START)
    assert refusal(limiter, 0) == 60
    limiter.book("context", "address", "g", at(60))
    assert refusal(limiter, 60) == 120
    limiter.book("context", "address", "g", at(3700))
    assert refusal(limiter, 3700) == 60


def test_a_block_is_of_one_caller_and_one_group() -> None:
    limiter = RateLimiter({"g": (-1, 1, -1), "h": (-1, 1, -1)}, growing=True)
    limiter.book("context", "address", "g", START)
    refusal(limiter, 0)
    for context, address, group in (("other", "address", "g"), ("context", "other", "g"), ("context", "address", "h")):
        limiter.book(context, address, group, START)


LIMITS = st.tuples(*(st.sampled_from([-1, 1, 2, 5]) for _ in range(3)))
STEPS = st.lists(st.sampled_from([0.0, 0.3, 1.0, 2.0, 61.0, 700.0]), max_size=40)


@given(limits=LIMITS, steps=STEPS)
def test_whoever_waits_as_told_is_let_in_however_often_he_has_sinned(
    limits: tuple[int, int, int], steps: list[float]
) -> None:
    limiter = RateLimiter({"g": limits}, growing=True)
    now, waits = 0.0, []
    for step in steps:
        now += step
        try:
            limiter.book("context", "address", "g", at(now))
        except TooManyRequests as caught:
            waits.append(caught.retry_after)
            now += caught.retry_after
            limiter.book("context", "address", "g", at(now))
    assert all(1 <= wait <= 3600 for wait in waits)


@given(limits=LIMITS, steps=STEPS)
def test_growing_blocks_never_let_in_more_than_the_windows(limits: tuple[int, int, int], steps: list[float]) -> None:
    limiter = RateLimiter({"g": limits}, growing=True)
    let_in: list[float] = []
    now = 0.0
    for step in steps:
        now += step
        try:
            limiter.book("context", "address", "g", at(now))
        except TooManyRequests:
            continue
        let_in.append(now)
        for span, limit in zip((1, 60, 3600), limits, strict=True):
            assert limit < 0 or sum(now - time < span for time in let_in) <= limit


def test_before_2_8_closing_counted_as_opening() -> None:
    limiter = make_limiter(ApiVersion.V2_7, enforced=True)
    for group in ("batchSession", "batchSessionClose") * 5:
        limiter.book("context", "address", group, START)
    with pytest.raises(TooManyRequests):
        limiter.book("context", "address", "batchSessionClose", START)
    for group in ("onlineSession", "onlineSessionClose") * 5:
        limiter.book("context", "address", group, START)
    with pytest.raises(TooManyRequests):
        limiter.book("context", "address", "onlineSession", START)
    listed = limiter.limits_of("context")
    assert set(DEFAULT_LIMITS) - set(listed) == {
        "anonymous", "batchSessionClose", "global", "onlineSessionClose"
    }  # fmt: skip
    assert listed["collectiveIdentifier"] == (10, 60, 120)


def test_since_2_8_closing_has_a_limit_of_its_own() -> None:
    limiter = make_limiter(ApiVersion.V2_9, enforced=True)
    for _ in range(10):
        limiter.book("context", "address", "batchSession", START)
    for _ in range(20):
        limiter.book("context", "address", "batchSessionClose", START)
    for group in ("batchSession", "batchSessionClose"):
        refusal(limiter, 0, group)
    assert limiter.limits_of("context") == DEFAULT_LIMITS


def test_one_context_can_have_limits_of_its_own() -> None:
    limiter = make_limiter(ApiVersion.V2_9, enforced=True)
    limiter.override("context", {"other": (1, 2, 3)})
    limiter.book("context", "address", "other", START)
    refusal(limiter, 0, "other")
    for _ in range(10):
        limiter.book("neighbour", "address", "other", START)
    assert limiter.limits_of("context") == DEFAULT_LIMITS | {"other": (1, 2, 3)}
    limiter.restore_default("context")
    assert limiter.limits_of("context") == DEFAULT_LIMITS


@pytest.fixture(scope="module", params=["2.7", "2.9"])
def limited(request: pytest.FixtureRequest) -> Iterator[tuple[str, SandboxHandle]]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "2.9":
            # What the older version says is not held against the newer contract.
            patch.delenv(RECORD_VARIABLE, raising=False)
        with running_sandbox(limits="test", api=request.param, validate="off") as handle:
            httpx.post(f"{handle.control_url}/clock", json={"freeze": True}).raise_for_status()
            yield request.param, handle


def answers(client: HandClient, count: int, method: str, path: str, **more: Any) -> list[int]:
    return [client.call(method, path, **more).status_code for _ in range(count)]


def test_the_published_groups_are_those_of_the_version(limited: tuple[str, SandboxHandle]) -> None:
    version, handle = limited
    client = HandClient(handle.base_url).login()
    published = client.call("GET", "/rate-limits").json()
    assert ("batchSessionClose" in published, "anonymous" in published) == (version == "2.9", version == "2.9")
    assert published["batchSession"] == {"perSecond": 10, "perMinute": 20, "perHour": 60}
    assert ("collectiveIdentifier" in client.call("GET", "/limits/context").json()) == (version == "2.9")
    client.close()


def test_a_close_takes_from_the_quota_of_opening_only_in_the_older_version(limited: tuple[str, SandboxHandle]) -> None:
    version, handle = limited
    client = HandClient(handle.base_url).login()
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    body = client.open_body(package)
    opened = client.open(body)
    client.upload(opened, package)
    assert answers(client, 9, "POST", "/sessions/batch", json=body) == [201] * 9
    expected = 204 if version == "2.9" else 429
    assert client.close_session(opened["referenceNumber"]).status_code == expected
    client.close()


def test_links_of_storage_are_not_metered(limited: tuple[str, SandboxHandle]) -> None:
    _, handle = limited
    client = HandClient(handle.base_url).login()
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    opened = client.open(client.open_body(package))
    part = package.encrypted_parts()[0]
    assert {client.put(opened["partUploadRequests"][0], part).status_code for _ in range(70)} == {201}
    client.close()


def test_anonymous_calls_are_counted_by_address_alone(limited: tuple[str, SandboxHandle]) -> None:
    _, handle = limited
    with httpx.Client(base_url=handle.base_url) as http:
        httpx.post(f"{handle.control_url}/clock", json={"advance_seconds": 3700}).raise_for_status()
        codes = [http.post("/auth/challenge").status_code for _ in range(62)]
        assert codes == [200] * 60 + [429] * 2
        refused = http.get("/security/public-key-certificates")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        httpx.post(f"{handle.control_url}/clock", json={"advance_seconds": 1.5}).raise_for_status()
        assert http.post("/auth/challenge").status_code == 200


def test_a_repeated_offender_is_kept_out_for_longer(limited: tuple[str, SandboxHandle]) -> None:
    _, handle = limited
    httpx.post(f"{handle.control_url}/clock", json={"advance_seconds": 3700}).raise_for_status()
    client = HandClient(handle.base_url).login()
    waits = []
    for _ in range(3):
        assert answers(client, 10, "GET", "/limits/context") == [200] * 10
        refused = client.call("GET", "/limits/context")
        assert refused.status_code == 429
        waits.append(int(refused.headers["Retry-After"]))
        httpx.post(f"{handle.control_url}/clock", json={"advance_seconds": waits[-1]}).raise_for_status()
    # The third time it is the minute that is full, for some 57 seconds more, and the block four times that.
    assert (waits[0], waits[1], 200 < waits[2] <= 240) == (1, 2, True)
    client.close()
