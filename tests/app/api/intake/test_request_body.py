"""Bounds on bodies: how slowly they may come, how many at a time, and what happens when an answer cannot be finished."""

import base64
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.http.errors import BadCursor, NotAcceptable
from app.api.http.negotiation import choose
from app.api.http.paging import one_page, read_cursor, write_cursor
from app.api.intake import admission, arrival
from app.store.store import Store
from tests.app.api.conftest import Caller, MovableClock, eventually, eventually_no_blobs
from tests.app.api.filled_store import fill

ZIP = {"Content-Type": "application/zip"}


async def test_a_body_that_stops_arriving_is_dropped(
    alpha: Caller, store: Store, running_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "IDLE_SECONDS", 0.2)
    stream = await anyio.connect_tcp("127.0.0.1", int(running_api.rpartition(":")[2]))
    await stream.send(
        b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\nContent-Length: 100\r\n"
        b"Authorization: Bearer " + alpha.key.encode() + b"\r\n\r\nPK"
    )
    with anyio.fail_after(60):
        answer = await stream.receive()
    assert answer.startswith(b"HTTP/1.1 408")
    await stream.aclose()
    await eventually_no_blobs(store, "uploads")
    assert await store.database.fetch_all("SELECT id FROM uploads") == []


async def test_one_tenants_slow_uploads_leave_room_for_others(
    alpha: Caller, beta: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "CONCURRENT_BODIES_OF_A_TENANT", 2)
    go_on = anyio.Event()
    answers: list[httpx.Response] = []

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        await go_on.wait()
        yield b"x"

    async def post() -> None:
        answers.append(await alpha.http.post("/v1/uploads", content=slow(), headers=ZIP))

    async def two_arrive() -> bool:
        me = (await alpha.http.get("/v1/me")).json()
        return bool(me["waiting"]["concurrent_uploads"] == {"used": 2, "most": 2})

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(post)
        tasks.start_soon(post)
        await eventually(two_arrive)
        refused = await alpha.http.post("/v1/uploads", content=b"PK", headers=ZIP)
        assert (refused.status_code, refused.json()["code"]) == (429, "tenant-limit")
        assert refused.json()["errors"] == [{"limit": "concurrent_uploads", "used": 2, "most": 2}]
        assert int(refused.headers["retry-after"]) > 0
        assert (await beta.http.post("/v1/uploads", content=b"PK", headers=ZIP)).status_code == 202
        go_on.set()
    assert [answer.status_code for answer in answers] == [202, 202]
    assert (await alpha.http.post("/v1/uploads", content=b"PK", headers=ZIP)).status_code == 202


@pytest.mark.slow
async def test_results_that_cannot_be_begun_are_a_problem_and_those_that_break_off_are_not_whole(
    alpha: Caller, store: Store, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.store.database_errors import DatabaseUnavailable
    from app.store.uploads.invoices import InvoiceStore

    filled = await fill(store, alpha.tenant, clock(), count=1_500)
    real = InvoiceStore.page
    calls = 0

    async def failing(self: InvoiceStore, *arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == fails_at:
            raise DatabaseUnavailable("the database does not answer")
        return await real(self, *arguments, **named)

    monkeypatch.setattr(InvoiceStore, "page", failing)
    fails_at = 1
    answer = await alpha.http.get(f"/v1/uploads/{filled.upload}/results")
    assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")
    calls, fails_at = 0, 2
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await alpha.http.get(f"/v1/uploads/{filled.upload}/results")


async def test_results_of_an_upload_without_invoices_are_an_empty_list(alpha: Caller, clock: MovableClock) -> None:
    clock.move(timedelta(seconds=1))
    link = (await alpha.http.post("/v1/uploads", content=b"PK", headers=ZIP)).json()["links"]["results"]
    assert (await alpha.http.get(link)).content == b""
    table = await alpha.http.get(link, headers={"Accept": "text/csv"})
    assert table.text.startswith('"id","state",')
    assert table.text.count("\r\n") == 1


async def test_a_upo_whose_bytes_are_lost_is_a_problem(alpha: Caller, store: Store, clock: MovableClock) -> None:
    filled = await fill(store, alpha.tenant, clock())
    await store.blobs.delete([key async for key in store.blobs.list_keys("upo")])
    for address in (f"/v1/sessions/{filled.session}/upo", f"/v1/invoices/{filled.invoices[0]}/upo"):
        answer = await alpha.http.get(address)
        assert (answer.status_code, answer.json()["code"]) == (500, "blob-missing")


@given(st.uuids())
def test_a_cursor_is_read_back_and_needs_no_quoting(value: UUID) -> None:
    written = write_cursor(value)
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", written)
    assert read_cursor(written) == value


@given(st.text(max_size=60))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    try:
        cursor = read_cursor(text)
    except BadCursor:
        return
    assert cursor is not None
    assert len(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))) == 16


@given(st.lists(st.uuids(), max_size=30, unique=True), st.integers(1, 40))
def test_pages_follow_each_other_without_gap_or_repeat(values: list[UUID], limit: int) -> None:
    ordered = sorted(values)
    seen: list[UUID] = []
    after: UUID | None = None
    while True:
        rest = [value for value in ordered if after is None or value > after]
        kept, following = one_page(rest[: limit + 1], limit, lambda value: value)
        seen += kept
        after = read_cursor(following)
        if after is None:
            break
    assert seen == ordered


@given(st.text(alphabet="abtexcsv/*;q=0.19, -", max_size=60))
def test_any_accept_header_gets_an_offer_or_a_refusal(header: str) -> None:
    offers = ("text/csv", "application/json")
    try:
        assert choose(header, offers) in offers
    except NotAcceptable:
        assert header.strip()
