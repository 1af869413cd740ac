"""The API while the database is away: an answer at once, and again as soon as it is back."""

import time
from collections.abc import Iterator

import anyio
import pytest

from app.settings import Settings
from app.store import connection
from tests.app.api.conftest import Caller
from tests.support.lossy_proxy import LossyProxy, Mode, lossy_proxy

INVOICE = b"<Faktura/>"


@pytest.fixture
def proxy(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LossyProxy]:
    monkeypatch.setattr(connection, "CHECK_SECONDS", 0.5)
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 2.0)
    with lossy_proxy(database) as between:
        yield between
        between.become(Mode.PASSES)


@pytest.fixture
def settings(settings: Settings, proxy: LossyProxy) -> Settings:
    return settings.model_copy(update={"database_url": proxy.url})


async def _ask(alpha: Caller, method: str, path: str) -> tuple[int, float]:
    started = time.monotonic()
    headers = {"Content-Type": "application/xml"} if method == "POST" else None
    answer = await alpha.http.request(method, path, content=INVOICE if headers else None, headers=headers)
    if answer.status_code == 503:
        assert answer.json()["code"] == "database-unavailable"
        assert 0 < int(answer.headers["retry-after"]) <= 60
    return answer.status_code, time.monotonic() - started


@pytest.mark.parametrize("mode", [Mode.REFUSES, Mode.SWALLOWS, Mode.DROPS_ANSWERS])
async def test_calls_get_503_at_once_while_the_database_is_away(alpha: Caller, proxy: LossyProxy, mode: Mode) -> None:
    assert (await _ask(alpha, "GET", "/v1/uploads"))[0] == 200
    # Longer than a connection is lent without a check.
    await anyio.sleep(1.1)
    proxy.become(mode)
    for method, path in (
        ("GET", "/v1/uploads"),
        ("GET", "/v1/invoices"),
        ("POST", "/v1/invoices"),
        ("GET", "/v1/sessions"),
    ):
        status, seconds = await _ask(alpha, method, path)
        assert (status, seconds < 1.5) == (503, True), f"{method} {path}: {status} after {seconds:.1f} s"
    assert (await alpha.http.get("/livez")).status_code == 200
    proxy.become(Mode.PASSES)
    back = time.monotonic()
    while (await _ask(alpha, "GET", "/v1/uploads"))[0] != 200:
        await anyio.sleep(0.05)
    # An attempt to connect that was swallowed has to end first.
    assert time.monotonic() - back < (1 if mode is Mode.REFUSES else 4)
    assert [(await _ask(alpha, "GET", "/v1/uploads"))[0] for _ in range(8)] == [200] * 8
