"""`ksefd webhook listen`: receiving and verifying, pulling and forwarding; and `ksefd events`."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from app.cli.actions import event_pull, webhook_forward
from app.cli.actions.event_pull import about, pull
from app.cli.actions.webhook_forward import Forwarder
from app.cli.actions.webhook_receiver import MAX_BODY_BYTES, ReceivedDelivery, Receiver
from app.cli.actions.webhook_verify import Verifier
from app.cli.client.service_client import ServiceClient, ServiceRefused, ServiceUnreachable
from app.cli.exit_codes import DENIED, INTERRUPTED, UNREACHABLE, USAGE
from app.webhooks.signing import SigningSecret, signed_headers
from tests.app.cli.conftest import Ksefd

KEY = SigningSecret(bytes(range(32)))


def _event(number: int, **data: Any) -> dict[str, Any]:
    return {
        "id": f"evt_{number:032x}",
        "type": "invoices.accepted",
        "timestamp": "2026-11-22T12:00:00.000Z",
        "tenant": "ten_" + "0" * 32,
        "data": data or {"session": "ses_1", "invoices": [{"ksef_number": f"K-{number}"}, {"ksef_number": "other"}]},
    }


@contextmanager
def _receiving(key: str | None = KEY.text, **options: Any) -> Iterator[tuple[str, list[ReceivedDelivery]]]:
    heard: list[ReceivedDelivery] = []
    with Receiver(("127.0.0.1", 0), Verifier(key) if key else None, heard.append, **options) as receiver:
        thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{receiver.server_port}/hook", heard
        finally:
            receiver.shutdown()
            thread.join(10)


def _post(url: str, body: bytes, headers: dict[str, str]) -> int:
    return httpx.post(url, content=body, headers=headers, trust_env=False, timeout=10).status_code


# --- receiving ---


def test_what_is_genuine_is_taken_and_what_is_forged_is_refused() -> None:
    body = json.dumps(_event(1)).encode()
    headers = signed_headers([KEY], message_id="evt_1", body=body, now=datetime.now(UTC))
    with _receiving() as (url, heard):
        assert _post(url, body, headers) == 204
        assert _post(url, body, headers) == 204
        assert _post(url, body + b" ", headers) == 401
        assert _post(url, body, headers) == 204
    assert [(one.verdict.genuine, one.repeated) for one in heard] == [
        (True, False), (True, True), (False, False), (True, True),
    ]  # fmt: skip
    assert heard[0].event == _event(1)


def test_another_answer_can_be_tried_and_asks_for_the_same_again() -> None:
    body = json.dumps(_event(1)).encode()
    headers = signed_headers([KEY], message_id="evt_1", body=body, now=datetime.now(UTC))
    with _receiving(status=503) as (url, heard):
        assert [_post(url, body, headers), _post(url, body, headers)] == [503, 503]
    assert [one.repeated for one in heard] == [False, False]


def test_without_a_secret_everything_is_taken_and_nothing_is_called_genuine() -> None:
    with _receiving(None) as (url, heard):
        assert _post(url, b"not an event", {}) == 204
    assert (heard[0].verdict.reason, heard[0].event) == ("not verified", None)


def test_bodies_without_a_length_or_too_large_are_refused_unread() -> None:
    with _receiving() as (url, heard):
        port = int(url.split(":")[2].split("/")[0])
        for head, status in (
            (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", b"411"),
            (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"411"),
            (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1), b"413"),
        ):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(head)
                assert connection.recv(100).split(b" ")[1] == status
    assert heard == []


def test_the_command_verifies_prints_and_ends_with_ctrl_c() -> None:
    event = _event(7)
    body = json.dumps(event).encode()
    headers = signed_headers([KEY], message_id="evt_7", body=body, now=datetime.now(UTC))
    for options, expected in (
        (["--json"], None),
        (
            [],
            re.compile(
                r"2026-11-22 13:00:00\+01:00  invoices\.accepted   genuine  K-7 and 1 more, session ses_1  evt_0*7"
            ),
        ),
    ):
        with subprocess.Popen(
            [sys.executable, "-m", "app.cli.main", "webhook", "listen", "--port", "0", "--secret", KEY.text, *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                listening = process.stderr.readline()
                found = re.search(r"http://127\.0\.0\.1:\d+", listening)
                assert found is not None, listening
                assert _post(found[0], body, headers) == 204
                line = process.stdout.readline()
                assert _post(found[0], body, headers | {"webhook-id": "evt_8"}) == 401
                forged = process.stdout.readline()
                process.send_signal(signal.SIGINT)
                assert process.wait(20) == INTERRUPTED
            finally:
                process.kill()
        if expected is None:
            shape = json.loads(line)
            assert shape["event"] == event
            assert (shape["genuine"], shape["repeated"], shape["answered"]) == (True, False, 204)
            assert json.loads(forged)["genuine"] is False
        else:
            assert expected.match(line), line
            assert "answered 401: no signature fits" in forged


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "0", "--secret", "whsec_damaged!"],
        ["--port", "0", "--forward", "http://127.0.0.1:9/"],
        ["--secret", KEY.text],
        ["--forward", "ftp://x"],
        ["--forward", "http://127.0.0.1:9/", "--secret", "whpk_" + base64.b64encode(b"k" * 32).decode()],
        ["--since", "sometime"],
    ],
)
def test_what_does_not_fit_together_is_refused(ksefd: Ksefd, arguments: list[str]) -> None:
    ran = ksefd("webhook", "listen", *arguments, api_key="k", url="http://127.0.0.1:9")
    assert ran.code == USAGE, ran.err
    assert KEY.text not in ran.err


def test_a_taken_port_is_told(ksefd: Ksefd) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = ksefd("webhook", "listen", "--port", str(taken.getsockname()[1]))
    assert ran.code == USAGE
    assert "cannot listen" in ran.err


# --- pulling ---


class Feed(ServiceClient):
    """A service whose pages, or failures, a test gives."""

    def __init__(self, *answers: list[dict[str, Any]] | Exception) -> None:
        super().__init__("http://127.0.0.1:9", "x")
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def get(self, path: str, parameters: Any = None) -> dict[str, Any]:
        assert path == "/v1/events"
        self.asked.append(dict(parameters))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        cursor = answer[-1]["id"] if answer else parameters.get("cursor", "evt_0")
        # A full page of this feed is one of two.
        return {"items": answer, "next": cursor if len(answer) == 2 else None, "cursor": cursor}


def test_pulling_ends_with_the_last_page_and_goes_by_the_cursor() -> None:
    feed = Feed([_event(1), _event(2)], [_event(3)])
    assert [event["id"][-1] for event in pull(feed, {"types": "a,b"}, follow=False)] == ["1", "2", "3"]
    assert feed.asked == [
        {"limit": 100, "types": "a,b"},
        {"limit": 100, "types": "a,b", "cursor": _event(2)["id"]},
    ]


def test_following_waits_at_the_cursor_and_outlives_a_service_that_is_away() -> None:
    paused: list[float] = []
    asked_for = ServiceUnreachable("busy")
    asked_for.retry_after_seconds = 9.0
    gone = ServiceRefused("revoked")
    feed = Feed([_event(1)], [], ServiceUnreachable("away"), ServiceUnreachable("away"), asked_for, [_event(2)], gone)
    events = pull(feed, {"cursor": "now"}, follow=True, sleep=paused.append)
    assert [next(events)["id"][-1], next(events)["id"][-1]] == ["1", "2"]
    with pytest.raises(ServiceRefused):
        next(events)
    assert paused == [1.0, 2.0, 9.0]
    assert [asked.get("wait") for asked in feed.asked] == [None, *[50] * 6]
    assert [asked["cursor"] for asked in feed.asked] == ["now", *[_event(1)["id"]] * 5, _event(2)["id"]]


@pytest.mark.parametrize("follow", [True, False])
def test_a_service_that_never_answered_is_a_failure_at_once(follow: bool) -> None:
    with pytest.raises(ServiceUnreachable):
        next(pull(Feed(ServiceUnreachable("away")), {}, follow=follow))


def _use(monkeypatch: pytest.MonkeyPatch, feed: Feed) -> Feed:
    for module in (event_pull, webhook_forward):
        monkeypatch.setattr(module, "connect", lambda *_: feed)
    return feed


def test_events_are_printed_as_lines_or_as_json(ksefd: Ksefd, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = _use(monkeypatch, Feed([_event(1), _event(2)], []))
    ran = ksefd("events", "--since", "2026-11-22T13:00", "--types", "invoices.accepted, upo.available", "--json")
    assert [json.loads(line)["id"] for line in ran.out.splitlines()] == [_event(1)["id"], _event(2)["id"]]
    assert feed.asked[0] == {
        "limit": 100, "since": "2026-11-22T12:00:00+00:00", "types": "invoices.accepted,upo.available",
    }  # fmt: skip
    _use(monkeypatch, Feed([_event(1)]))
    (line,) = ksefd("events", "--after", "evt_0").out.splitlines()
    assert line.startswith("2026-11-22 13:00:00+01:00  invoices.accepted   K-1 and 1 more, session ses_1  evt_")


def test_failures_have_their_exit_codes(ksefd: Ksefd, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, Feed(ServiceRefused("unknown key")))
    assert ksefd("events").code == DENIED
    _use(monkeypatch, Feed(ServiceUnreachable("away")))
    assert ksefd("webhook", "listen").code == UNREACHABLE
    assert ksefd("events", "--since", "13 o'clock").code == USAGE


def test_events_are_forwarded_signed_once_each(ksefd: Ksefd, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ServiceRefused("that will do")
    feed = _use(monkeypatch, Feed([_event(1), _event(2, nazwa="Zażółć")], [], gone))
    with _receiving() as (url, heard):
        ran = ksefd("webhook", "listen", "--forward", url, "--secret", KEY.text, "--json")
    assert ran.code == DENIED
    assert [(one.event, one.verdict.genuine) for one in heard] == [(_event(1), True), (_event(2, nazwa="Zażółć"), True)]
    shapes = [json.loads(line) for line in ran.out.splitlines()]
    assert [shape["forwarded"]["status"] for shape in shapes] == [204, 204]
    assert feed.asked[0]["cursor"] == "now"


def test_a_secret_is_made_and_shown_when_none_is_given(ksefd: Ksefd, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(monkeypatch, Feed([_event(1)], ServiceRefused("that will do")))
    with _receiving(None) as (url, heard):
        ran = ksefd("webhook", "listen", "--forward", url)
    found = re.search(r"whsec_\S+", ran.err)
    assert found is not None
    Verifier(found[0])
    assert len(heard) == 1
    assert "204 in " in ran.out


def test_a_receiver_that_is_away_is_told_and_not_waited_for() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with Forwarder(f"http://127.0.0.1:{unused.getsockname()[1]}/", None) as forwarder:
            forwarded = forwarder.forward(_event(1))
    assert (forwarded.taken, forwarded.status) == (False, None)
    assert forwarded.reason


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            {"session": "ses_1", "invoices": [{"id": "inv_1", "number": "FV/1", "ksef_number": None}]},
            "FV/1, session ses_1",
        ),
        ({"id": "upl_1", "state": "completed", "counts": {}}, "upl_1, completed"),
        ({"state": "away", "reason": "no answer"}, "away, no answer"),
        ({"webhook": "whk_1", "message": "A test."}, "whk_1, A test."),
        ({"session": "ses_1", "upo": []}, "ses_1"),
        ({"of_a_later_version": 1}, '{"of_a_later_version": 1}'),
        (None, ""),
    ],
)
def test_a_line_says_what_an_event_is_about(data: Any, words: str) -> None:
    assert about({"data": data}) == words
