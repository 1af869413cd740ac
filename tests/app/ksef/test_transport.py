"""What goes out with a call, what is told to metrics, and how calls end that have no answer."""

import logging

import anyio
import httpx
import pytest

from app.ksef.answers import SystemWarning
from app.ksef.errors import Outcome, TransportFailed, Unauthenticated, Unreadable
from app.ksef.transport import Call, KsefTransport, LimitGroup, make_http_client
from tests.app.ksef.fake_ksef import FakeKsef, json_answer

GET = Call(LimitGroup.SESSION_MISC, "GET", "/sessions/{referenceNumber}", frozenset({200}))
POST = Call(LimitGroup.BATCH_SESSION_CLOSE, "POST", "/close", frozenset({204}))


async def test_every_call_asks_for_problem_documents_and_carries_its_token(ksef: FakeKsef) -> None:
    ksef.on("GET", "/sessions/a/b?c", json_answer(200, {}))
    ksef.on("GET", "/sessions/x", json_answer(200, {}))
    await ksef.transport.send(GET, path={"referenceNumber": "x"}, token="secret", query=(("pageSize", "10"),))
    request = ksef.seen[0]
    assert str(request.url) == "https://ksef.example/v2/sessions/x?pageSize=10"
    assert request.headers["x-error-format"] == "problem-details"
    assert request.headers["accept"] == "application/json"
    assert request.headers["authorization"] == "Bearer secret"
    await ksef.transport.send(GET, path={"referenceNumber": "a/b?c"})
    assert ksef.seen[1].url.raw_path == b"/v2/sessions/a%2Fb%3Fc"
    assert "authorization" not in ksef.seen[1].headers


async def test_a_post_without_a_body_has_length_zero_and_no_content_type(ksef: FakeKsef) -> None:
    ksef.on("POST", "/close", httpx.Response(204))
    await ksef.transport.send(POST)
    assert ksef.seen[0].headers["content-length"] == "0"
    assert "content-type" not in ksef.seen[0].headers
    assert "transfer-encoding" not in ksef.seen[0].headers


async def test_every_request_is_recorded_also_one_without_an_answer(ksef: FakeKsef) -> None:
    ksef.on("POST", "/close", httpx.Response(204), httpx.Response(401), httpx.ReadTimeout("slow"))
    await ksef.transport.send(POST)
    with pytest.raises(Unauthenticated):
        await ksef.transport.send(POST, attempt=2)
    with pytest.raises(TransportFailed) as caught:
        await ksef.transport.send(POST)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert isinstance(caught.value.__cause__, httpx.ReadTimeout)
    assert [(r.group, r.method, r.path_template, r.status, r.attempt) for r in ksef.records] == [
        (LimitGroup.BATCH_SESSION_CLOSE, "POST", "/close", "204", 1),
        (LimitGroup.BATCH_SESSION_CLOSE, "POST", "/close", "401", 2),
        (LimitGroup.BATCH_SESSION_CLOSE, "POST", "/close", "none", 1),
    ]
    assert all(record.seconds >= 0 for record in ksef.records)


async def test_a_call_that_stays_silent_ends_at_its_deadline_and_is_unknown(ksef: FakeKsef) -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await anyio.sleep_forever()
        raise AssertionError

    ksef.on("POST", "/close", never)
    impatient = KsefTransport("https://ksef.example/v2", ksef.http, deadline_seconds=0.02)
    with pytest.raises(TransportFailed) as caught:
        await impatient.send(POST)
    assert caught.value.outcome is Outcome.UNKNOWN


async def test_a_204_that_is_a_friendly_web_page_is_not_taken_for_done(ksef: FakeKsef) -> None:
    ksef.on("POST", "/close", httpx.Response(200, html="<html>hello</html>"))
    with pytest.raises(Unreadable) as caught:
        await ksef.transport.send(POST)
    assert caught.value.outcome is Outcome.UNKNOWN


async def test_a_web_page_with_status_200_is_not_an_answer(ksef: FakeKsef) -> None:
    ksef.on("GET", "/sessions/x", httpx.Response(200, content=b"<html>_Incapsula_Resource</html>"))
    with pytest.raises(Unreadable):
        await ksef.transport.send(GET, path={"referenceNumber": "x"})


async def test_a_body_without_end_is_not_read_to_its_end(ksef: FakeKsef, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.ksef.transport.MAX_JSON_BYTES", 1000)
    ksef.on("GET", "/sessions/x", httpx.Response(200, content=b" " * 5000))
    with pytest.raises(Unreadable, match="longer than 1000"):
        await ksef.transport.send(GET, path={"referenceNumber": "x"})


async def test_warnings_reach_the_operator_from_good_and_bad_answers(ksef: FakeKsef) -> None:
    ksef.on(
        "POST",
        "/close",
        httpx.Response(204, headers={"X-System-Warning": "[sig-001]: change it"}),
        httpx.Response(401, headers=[("X-System-Warning", "[a]: b"), ("X-System-Warning", "[c]: d")]),
    )
    await ksef.transport.send(POST)
    with pytest.raises(Unauthenticated):
        await ksef.transport.send(POST)
    assert ksef.warnings == [
        ("POST /close", SystemWarning("sig-001", "change it")),
        ("POST /close", SystemWarning("a", "b")),
        ("POST /close", SystemWarning("c", "d")),
    ]


async def test_the_client_keeps_no_cookies_follows_nothing_and_logs_no_links(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with make_http_client() as http:
        reply = httpx.Response(302, headers={"Location": "https://evil.example/", "Set-Cookie": "visid_incap_1=a"})
        http._transport = httpx.MockTransport(lambda _: reply)
        http._mounts = {}
        await http.get("https://ksef.example/storage?sig=secret")
        second = await http.get("https://ksef.example/storage?sig=secret")
        assert second.status_code == 302
        assert "cookie" not in second.request.headers
        assert not list(http.cookies.jar)
    assert "secret" not in caplog.text
