"""Latarnia: what it says is read with care; what it cannot say is an error, and soon."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx
import pytest

from app.ksef.errors import FrontLayerBlocked, KsefError, Outcome, ServerFailed, TransportFailed, Unreadable
from app.ksef.latarnia import Announcement, Latarnia, LatarniaStatus

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)
WORK = {
    "id": "K/2026/PRA/01",
    "category": "MAINTENANCE",
    "type": "MAINTENANCE_ANNOUNCEMENT",
    "title": "Prace serwisowe",
    "text": "x" * 100_000,
    "start": "2026-02-02T20:00:00Z",
    "end": "2026-02-03T02:00:00",
}


def _latarnia(answer: Callable[[httpx.Request], httpx.Response], **options: float) -> Latarnia:
    return Latarnia("https://latarnia.example/", httpx.AsyncClient(transport=httpx.MockTransport(answer)), **options)


def _says(status: Any, messages: Any = ()) -> Callable[[httpx.Request], httpx.Response]:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/status":
            return httpx.Response(200, json=status)
        return messages if isinstance(messages, httpx.Response) else httpx.Response(200, json=messages)

    return answer


async def test_maintenance_to_come_is_told_while_all_is_well() -> None:
    opinion = await _latarnia(_says({"status": "AVAILABLE"}, [WORK])).ask(NOW)
    assert opinion.status is LatarniaStatus.AVAILABLE
    start, end = datetime(2026, 2, 2, 20, tzinfo=UTC), datetime(2026, 2, 3, 2, tzinfo=UTC)
    assert opinion.announcements == (Announcement("MAINTENANCE", "Prace serwisowe", start, end),)


async def test_what_is_over_and_what_is_no_maintenance_is_left_out() -> None:
    over = WORK | {"end": "2026-02-01T11:59:59Z"}
    old_failure = WORK | {"category": "FAILURE"}
    opinion = await _latarnia(_says({"status": "AVAILABLE"}, [over, old_failure])).ask(NOW)
    assert opinion.announcements == ()


async def test_the_same_message_in_both_lists_is_told_once_and_many_are_cut() -> None:
    many = [WORK | {"title": f"{number}", "text": "short"} for number in range(50)]
    opinion = await _latarnia(_says({"status": "MAINTENANCE", "messages": [WORK]}, [WORK, *many])).ask(NOW)
    assert [one.title for one in opinion.announcements] == ["Prace serwisowe", "0", "1", "2", "3"]


@pytest.mark.parametrize(
    "messages", [httpx.Response(502), [1, None, {"category": 3, "start": 5, "end": "soon"}], {"not": "a list"}]
)
async def test_broken_messages_do_not_spoil_the_status(messages: Any) -> None:
    opinion = await _latarnia(_says({"status": "FAILURE", "messages": None}, messages)).ask(NOW)
    assert opinion.status is LatarniaStatus.FAILURE


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(502), ServerFailed),
        (httpx.Response(403, html="<html>AccessDenied</html>"), FrontLayerBlocked),
        (httpx.Response(200, html="<html>all is well</html>"), Unreadable),
        (httpx.Response(302, headers={"location": "https://elsewhere.example"}), Unreadable),
        (httpx.Response(200, json={"status": "SPLENDID"}), Unreadable),
        (httpx.Response(200, json={"status": ["AVAILABLE"]}), Unreadable),
        (httpx.Response(200, json=["AVAILABLE"]), Unreadable),
        (httpx.Response(200, content=b"{"), Unreadable),
        (httpx.Response(200, content=b"[" * 200_000), Unreadable),
        (httpx.Response(200, content=json.dumps({"status": "AVAILABLE", "x": "y" * 300_000})), Unreadable),
    ],
)
async def test_an_answer_that_says_nothing_is_an_error(answer: httpx.Response, kind: type[KsefError]) -> None:
    with pytest.raises(kind):
        await _latarnia(lambda _: answer).ask(NOW)


async def test_a_service_that_hangs_is_given_up_soon() -> None:
    async def hang(request: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    http = httpx.AsyncClient(transport=httpx.MockTransport(hang))
    with pytest.raises(TransportFailed) as caught:
        await Latarnia("https://latarnia.example", http, deadline_seconds=0.02).ask(NOW)
    assert caught.value.outcome is Outcome.UNKNOWN
