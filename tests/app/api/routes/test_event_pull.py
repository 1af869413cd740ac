"""Pulling events over HTTP: waiting for them, and streams that go on where they broke off."""

import json
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from app.api.event_watcher import MAX_WAITING_OF_A_TENANT, EventWatcher
from app.api.http.sse import EventStream, frame
from app.domain.ids import parse_public_id
from app.settings import Settings
from app.store.events.feed import BEGINNING
from app.store.events.outbox import EventType
from app.store.store import Store
from tests.app.api.conftest import Caller, MovableClock, eventually
from tests.support.api_process import api_process
from tests.support.server_sent_events import EventSource, Told
from tests.support.visible_events import events_are_visible


async def _tell(
    store: Store, caller: Caller, clock: MovableClock, *words: str, event: EventType = EventType.UPLOAD_COMPLETED
) -> None:
    for word in words:
        async with store.database.transaction() as connection:
            await store.outbox.add(
                connection,
                event,
                tenant_id=caller.tenant.id,
                data={"words": word, "lines": "a\nb\r\u2028c\x85\u2029d"},
                now=clock(),
            )
    await events_are_visible(store)


async def _page(caller: Caller, **parameters: Any) -> dict[str, Any]:
    answer = await caller.http.get("/v1/events", params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    page: dict[str, Any] = answer.json()
    return page


def _words(items: list[dict[str, Any]]) -> list[str]:
    return [item["data"]["words"] for item in items]


# --- pages ---


async def test_an_empty_page_has_a_cursor_from_which_nothing_is_missed(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    page = await _page(alpha)
    assert page == {"items": [], "next": None, "cursor": "evt_" + "0" * 32}
    await _tell(store, alpha, clock, "one", "two")
    page = await _page(alpha, cursor=page["cursor"])
    assert (_words(page["items"]), page["next"]) == (["one", "two"], None)
    assert page["cursor"] == page["items"][-1]["id"]
    again = await _page(alpha, cursor=page["cursor"])
    assert (again["items"], again["next"], again["cursor"]) == ([], None, page["cursor"])


async def test_a_cursor_steps_over_what_a_filter_left_out(alpha: Caller, store: Store, clock: MovableClock) -> None:
    await _tell(store, alpha, clock, "one")
    await _tell(store, alpha, clock, "other", event=EventType.SESSION_FAILED)
    everything = (await _page(alpha))["items"]
    page = await _page(alpha, types="upload.completed")
    assert (_words(page["items"]), page["cursor"]) == (["one"], everything[-1]["id"])
    await _tell(store, alpha, clock, "two")
    assert _words((await _page(alpha, types="upload.completed", cursor=page["cursor"]))["items"]) == ["two"]


async def test_since_leaves_out_what_was_before(alpha: Caller, store: Store, clock: MovableClock) -> None:
    await _tell(store, alpha, clock, "old")
    clock.move(timedelta(hours=1))
    await _tell(store, alpha, clock, "new", "newer")
    page = await _page(alpha, since=clock().isoformat(), limit=1)
    assert _words(page["items"]) == ["new"]
    assert _words((await _page(alpha, cursor=page["next"]))["items"]) == ["newer"]
    answer = await alpha.http.get("/v1/events", params={"since": "2026-11-22T09:00:00"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")


async def test_an_event_whose_transaction_ends_late_is_not_stepped_over(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    feed = store.feed

    async def add(connection: Any, words: str) -> None:
        await store.outbox.add(
            connection, EventType.WEBHOOK_TEST, tenant_id=alpha.tenant.id, data={"words": words}, now=clock()
        )

    await _tell(store, alpha, clock, "zero")
    start = (await feed.page(alpha.tenant.id, after=BEGINNING)).cursor
    async with store.database.transaction() as slow:
        await add(slow, "slow")
        async with store.database.transaction() as fast:
            await add(fast, "fast")
        page = await feed.page(alpha.tenant.id, after=start)
        assert (page.rows, page.cursor) == ([], start)
        assert await feed.newest([alpha.tenant.id]) == {alpha.tenant.id: start}
        # A webhook may tell of the fast one now; a cursor of its id is ahead of what may be shown, and stays there.
        ahead = (await store.database.fetch_all("SELECT id FROM events ORDER BY sequence DESC LIMIT 1"))[0]["id"]
        early = await feed.cursor_of(alpha.tenant.id, ahead)
        assert (await feed.page(alpha.tenant.id, after=early)).cursor == early
    await events_are_visible(store)
    page = await feed.page(alpha.tenant.id, after=start)
    assert [json.loads(row["data"])["words"] for row in page.rows] == ["slow", "fast"]


# --- waiting ---


async def test_a_request_that_waits_is_answered_when_something_happens(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    await _tell(store, alpha, clock, "old")
    cursor = (await _page(alpha))["cursor"]
    pages: dict[str, dict[str, Any]] = {}

    async def wait(name: str, caller: Caller, **parameters: Any) -> None:
        pages[name] = await _page(caller, **parameters)

    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(20):
            tasks.start_soon(lambda: wait("alpha", alpha, wait=60, cursor=cursor))
            tasks.start_soon(lambda: wait("types", alpha, wait=60, cursor=cursor, types="session.failed"))
            tasks.start_soon(lambda: wait("beta", beta, wait=60))
            await anyio.sleep(0.3)
            assert pages == {}
            await _tell(store, alpha, clock, "new")
            while set(pages) != {"alpha"}:
                await anyio.sleep(0.02)
            assert _words(pages["alpha"]["items"]) == ["new"]
            await _tell(store, alpha, clock, "failed", event=EventType.SESSION_FAILED)
            while set(pages) != {"alpha", "types"}:
                await anyio.sleep(0.02)
            assert _words(pages["types"]["items"]) == ["failed"]
            await _tell(store, beta, clock, "for beta")
            while "beta" not in pages:
                await anyio.sleep(0.02)
    assert _words(pages["beta"]["items"]) == ["for beta"]


async def test_a_request_that_waits_in_vain_gets_an_empty_page(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    await _tell(store, alpha, clock, "one")
    cursor = (await _page(alpha))["cursor"]
    assert await _page(alpha, wait=1, cursor=cursor) == {"items": [], "next": None, "cursor": cursor}
    answer = await alpha.http.get("/v1/events", params={"cursor": cursor}, headers={"Prefer": "respond-async, wait=1"})
    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=1")
    assert answer.json()["items"] == []
    answer = await alpha.http.get("/v1/events", headers={"Prefer": "wait=999999"})
    assert _words(answer.json()["items"]) == ["one"], "what is there is given at once"
    assert answer.headers["preference-applied"] == "wait=60"
    answer = await alpha.http.get("/v1/events", params={"wait": 61})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request")


async def test_a_tenant_has_so_many_seats_and_clients_that_go_give_theirs_back(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    refused = {"wait": "1"}

    async def keep_a_seat() -> None:
        # The question below may sit on the last one for a second.
        while (await alpha.http.get("/v1/events", params={"wait": "60"}, timeout=70)).status_code == 503:
            await anyio.sleep(0.05)

    async with anyio.create_task_group() as tasks:
        for _ in range(MAX_WAITING_OF_A_TENANT):
            tasks.start_soon(keep_a_seat)

        async def is_full() -> bool:
            return (await alpha.http.get("/v1/events", params=refused)).status_code == 503

        await eventually(is_full)
        answer = await alpha.http.get("/v1/events/stream")
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        assert answer.headers["retry-after"]
        assert (await alpha.http.get("/v1/events")).status_code == 200, "who does not wait needs no seat"
        assert (await beta.http.get("/v1/events", params={"wait": 1})).status_code == 200
        tasks.cancel_scope.cancel()

    async def has_room() -> bool:
        return (await alpha.http.get("/v1/events", params=refused)).status_code == 200

    await eventually(has_room)


async def test_a_key_that_is_revoked_while_it_waits_gets_nothing(
    alpha: Caller, store: Store, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[httpx.Response] = []
    waits: list[int] = []
    real = EventWatcher.wait_beyond

    async def counted(self: EventWatcher, tenant_id: int, *arguments: Any, **named: Any) -> bool:
        waits.append(tenant_id)
        return await real(self, tenant_id, *arguments, **named)

    async def waits_already() -> bool:
        return bool(waits)

    monkeypatch.setattr(EventWatcher, "wait_beyond", counted)

    async def wait() -> None:
        answers.append(await alpha.http.get("/v1/events", params={"wait": "60"}, timeout=70))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await eventually(waits_already)
        await _revoke(store, alpha, clock)
        await _tell(store, alpha, clock, "secret")
    assert [answer.status_code for answer in answers] == [401]


async def _revoke(store: Store, caller: Caller, clock: MovableClock) -> None:
    (key,) = await store.tenants.keys(caller.tenant.id)
    await store.tenants.revoke_key(caller.tenant.id, parse_public_id("key", key.id), now=clock())
    clock.move(timedelta(seconds=4))


# --- streams ---


@asynccontextmanager
async def _streaming(source: EventSource, caller: Caller, **parameters: str) -> AsyncIterator[AsyncIterator[Told]]:
    with anyio.fail_after(30):
        async with source.connect(caller.http, "/v1/events/stream", **parameters) as events:
            yield events


async def _reading_on(events: AsyncIterator[Told], condition: Callable[[], Awaitable[bool]]) -> None:
    """Read on, past blocks that are no events, until a condition holds; an event would be a mistake."""

    async def read() -> None:
        raise AssertionError(f"{await anext(events)} was not expected")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await eventually(condition)
        tasks.cancel_scope.cancel()


async def _next(events: AsyncIterator[Told], count: int) -> list[Told]:
    return [await anext(events) for _ in range(count)]


async def test_a_stream_tells_what_happens_from_now_on_with_the_bytes_of_the_list(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    await _tell(store, alpha, clock, "old")
    source = EventSource()
    async with _streaming(source, alpha) as events:
        await _tell(store, alpha, clock, "one", "two")
        told = await _next(events, 2)
    items = (await _page(alpha))["items"]
    assert [json.loads(one.data) for one in told] == items[1:]
    assert [(one.id, one.type) for one in told] == [(item["id"], item["type"]) for item in items[1:]]
    assert source.retry == 3000


async def test_a_stream_goes_on_after_the_last_event_id(alpha: Caller, store: Store, clock: MovableClock) -> None:
    source = EventSource()
    async with _streaming(source, alpha):
        pass
    # Nothing was told yet; still the stream said where it stood.
    async with alpha.http.stream("GET", "/v1/events/stream") as answer:
        lines = answer.aiter_lines()
        for _ in range(3):
            source.line(await anext(lines))
    assert source.last_event_id == "evt_" + "0" * 32
    await _tell(store, alpha, clock, "one", "two", "three")
    async with _streaming(source, alpha) as events:
        assert [json.loads(told.data)["data"]["words"] for told in await _next(events, 2)] == ["one", "two"]
    async with _streaming(source, alpha) as events:
        (told,) = await _next(events, 1)
        assert json.loads(told.data)["data"]["words"] == "three"
        await _tell(store, alpha, clock, "four")
        assert json.loads((await anext(events)).data)["data"]["words"] == "four"


async def test_a_stream_of_some_types_or_since_a_time_leaves_out_the_rest_and_moves_on(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    await _tell(store, alpha, clock, "early", event=EventType.SESSION_FAILED)
    clock.move(timedelta(minutes=1))
    await _tell(store, alpha, clock, "other")
    await _tell(store, alpha, clock, "one", event=EventType.SESSION_FAILED)
    await _tell(store, alpha, clock, "another")
    newest = str((await _page(alpha))["cursor"])
    source = EventSource()
    async with _streaming(source, alpha, types="session.failed", since=clock().isoformat()) as events:
        told = await anext(events)
        assert (told.type, json.loads(told.data)["data"]["words"]) == ("session.failed", "one")

        async def moved() -> bool:
            return source.last_event_id == newest

        await _reading_on(events, moved)


@pytest.mark.parametrize(
    ("parameters", "headers", "code"),
    [
        ({"cursor": "evt_" + "1" * 32}, {}, "bad-cursor"),
        ({}, {"Last-Event-ID": "17"}, "bad-cursor"),
        ({"types": "invoices.lost"}, {}, "invalid-request"),
        ({"since": "yesterday"}, {}, "invalid-request"),
    ],
)
async def test_a_stream_that_cannot_be_is_a_problem_and_not_a_stream(
    alpha: Caller, parameters: dict[str, str], headers: dict[str, str], code: str
) -> None:
    answer = await alpha.http.get("/v1/events/stream", params=parameters, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_nobody_streams_without_a_key_or_from_another_tenants_event(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock, running_api: str
) -> None:
    await _tell(store, alpha, clock, "secret")
    cursor = (await _page(alpha))["cursor"]
    answer = await beta.http.get("/v1/events/stream", headers={"Last-Event-ID": cursor})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-cursor")
    async with httpx.AsyncClient(base_url=running_api, trust_env=False) as stranger:
        assert (await stranger.get("/v1/events/stream")).status_code == 401
        assert (await stranger.get("/v1/events", params={"wait": "5"})).status_code == 401


async def test_a_revoked_key_ends_its_stream(
    alpha: Caller, store: Store, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.routes.events.RECHECK_SECONDS", 0.05)
    source = EventSource()
    async with _streaming(source, alpha) as events:
        await _tell(store, alpha, clock, "one")
        await anext(events)
        await _revoke(store, alpha, clock)
        await _tell(store, alpha, clock, "secret")
        assert [told async for told in events] == []
    with pytest.raises(httpx.HTTPStatusError) as refused:
        async with _streaming(source, alpha):
            pass
    assert refused.value.response.status_code == 401


async def test_a_silent_stream_says_that_it_lives(
    alpha: Caller, monkeypatch: pytest.MonkeyPatch, store: Store, clock: MovableClock
) -> None:
    monkeypatch.setattr("app.api.routes.events.RECHECK_SECONDS", 0.02)
    monkeypatch.setattr("app.api.http.sse.HEARTBEAT_SECONDS", 0.05)
    source = EventSource()
    async with _streaming(source, alpha) as events:

        async def spoke() -> bool:
            return source.comments >= 3

        await _reading_on(events, spoke)
        answer = await alpha.http.get("/v1/events/stream", params={"types": "x"})
        assert answer.headers["content-type"].startswith("application/problem+json")


async def test_proxies_are_told_to_pass_a_stream_on_as_it_comes(alpha: Caller) -> None:
    async with alpha.http.stream("GET", "/v1/events/stream") as answer:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"


async def test_a_reader_that_does_not_read_holds_up_the_stream_and_is_cut() -> None:
    """What is made ahead of a reader is one piece, and in the end the connection is broken off rather than closed."""
    made: list[int] = []
    ended: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            for number in range(1000):
                made.append(number)
                yield frame("evt_1", "x", b"{}")
        finally:
            ended.append("pieces")

    taken: list[Any] = []

    async def send(message: Any) -> None:
        taken.append(message)
        if len(taken) == 4:
            await anyio.sleep_forever()

    async def receive() -> Any:
        await anyio.sleep_forever()

    rest: Any = pieces()
    scope = {"type": "http", "asgi": {"spec_version": "2.3"}, "ksefd": {"abort": lambda: ended.append("connection")}}
    with pytest.raises(Exception) as raised, anyio.fail_after(60):  # noqa: PT011 - its class is checked
        await EventStream(await anext(rest), rest, stuck_seconds=0.05)(scope, receive, send)
    assert type(raised.value).__name__ == "ClientDisconnect"
    assert made == [0, 1, 2]
    assert ended == ["connection", "pieces"]


# --- a process of its own ---


@pytest.mark.slow
async def test_a_stream_over_killed_processes_gives_each_event_once_and_in_order(
    settings: Settings, store: Store, tmp_path: Path, clock: MovableClock
) -> None:
    tenant = await store.tenants.add(
        nip="5260250274",
        name="A",
        credential_kind="ksef_token",
        credential={"token": "t"},
        compression="zip",
        now=clock(),
    )
    _, key = await store.tenants.add_key(tenant.id, label="t", now=clock())
    total = 60
    heard: list[int] = []
    source = EventSource()

    async def write() -> None:
        for number in range(total):
            async with store.database.transaction() as connection:
                await store.outbox.add(
                    connection, EventType.WEBHOOK_TEST, tenant_id=tenant.id, data={"n": number}, now=clock()
                )
            await anyio.sleep(0.02)

    async def listen(url: str, until: int) -> None:
        async with (
            httpx.AsyncClient(
                base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=120, trust_env=False
            ) as http,
            source.connect(http, "/v1/events/stream", since="2000-01-01T00:00:00Z") as events,
        ):
            async for told in events:
                heard.append(json.loads(told.data)["data"]["n"])
                if len(heard) >= until:
                    return

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            for until in (10, 30):
                with api_process(tmp_path, settings) as (process, url):
                    await listen(url, until)
                    process.send_signal(signal.SIGKILL)
            with api_process(tmp_path, settings) as (_, url):
                await listen(url, total)
    assert heard == list(range(total))


@pytest.mark.slow
async def test_a_process_that_is_asked_to_stop_lets_those_who_wait_go_at_once(
    settings: Settings, store: Store, tmp_path: Path, clock: MovableClock
) -> None:
    tenant = await store.tenants.add(
        nip="5260250274",
        name="A",
        credential_kind="ksef_token",
        credential={"token": "t"},
        compression="zip",
        now=clock(),
    )
    _, key = await store.tenants.add_key(tenant.id, label="t", now=clock())
    answers: list[httpx.Response] = []
    with anyio.fail_after(40), api_process(tmp_path, settings) as (process, url):
        async with (
            httpx.AsyncClient(
                base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=70, trust_env=False
            ) as http,
            anyio.create_task_group() as tasks,
        ):

            async def wait() -> None:
                answers.append(await http.get("/v1/events", params={"wait": 60}))

            async def stream() -> None:
                answers.append(await http.get("/v1/events/stream"))

            tasks.start_soon(wait)
            tasks.start_soon(stream)
            await anyio.sleep(0.5)
            with anyio.fail_after(15):
                process.send_signal(signal.SIGTERM)
                while len(answers) < 2:
                    await anyio.sleep(0.05)
        with anyio.fail_after(15):
            while process.poll() is None:
                await anyio.sleep(0.05)
    assert process.returncode == 0
    assert [answer.status_code for answer in answers] == [200, 200]
    log = (tmp_path / "api.log").read_text()
    assert "Traceback" not in log
    assert "graceful shutdown exceeded" not in log


async def test_a_client_that_hangs_up_is_not_an_error(
    settings: Settings, store: Store, tmp_path: Path, clock: MovableClock
) -> None:
    tenant = await store.tenants.add(
        nip="5260250274",
        name="A",
        credential_kind="ksef_token",
        credential={"token": "t"},
        compression="zip",
        now=clock(),
    )
    _, key = await store.tenants.add_key(tenant.id, label="t", now=clock())
    log = tmp_path / "api.log"

    def lines() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in log.read_text().splitlines() if '"path": "/v1/events' in line]
        return [line for line in found if line["event"] == "request_served"]

    with api_process(tmp_path, settings) as (_, url):
        for path in ("/v1/events?wait=60", "/v1/events/stream"):
            with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
                await anyio.sleep(0.3)

        async def both() -> bool:
            return len(lines()) == 2

        await eventually(both)
    assert [(line["path"], line["status"]) for line in lines()] == [("/v1/events", None), ("/v1/events/stream", 200)]
    assert {(line["tenant"], line["key"], line["client"]) for line in lines()} == {(tenant.public_id, "t", "127.0.0.1")}
    assert "Traceback" not in log.read_text()


async def test_a_cursor_outlives_its_event_only_if_nothing_was_missed(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    await _tell(store, alpha, clock, "one", "two")
    first, newest = (item["id"] for item in (await _page(alpha))["items"])
    clock.move(timedelta(days=400))
    assert await store.deliveries.remove_old_for_job(before=clock()) == 1
    assert (await _page(alpha, cursor=newest))["items"] == []
    answer = await alpha.http.get("/v1/events", params={"cursor": first})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad-cursor")
    await _tell(store, alpha, clock, "three")
    assert _words((await _page(alpha, cursor=newest))["items"]) == ["three"]
    assert _words((await _page(alpha))["items"]) == ["two", "three"]
