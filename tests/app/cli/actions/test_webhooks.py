"""`ksefd webhook add` and its kin: what they ask of the service, and what they print."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.cli.actions import webhooks
from app.cli.actions.webhooks import changed_headers, header_fields
from app.cli.client.service_client import ServiceClient, ServiceRefused, ServiceUnreachable
from app.cli.exit_codes import DENIED, OK, REFUSED, UNREACHABLE, USAGE, UsageProblem
from app.cli.timestamps import parse_time
from tests.app.cli.conftest import Ksefd

ID = "whk_" + "1" * 32
DELIVERY = "dlv_" + "2" * 32
WEBHOOK: dict[str, Any] = {
    "id": ID, "url": "https://erp.example/ksef", "description": "księgowość", "events": ["upo.available"],
    "signing": "hmac", "public_keys": [], "ordering": "none", "max_concurrency": 10,
    "headers": {"Authorization": "***", "X-Env": "***"}, "created_at": "2026-11-22T12:00:00.000Z",
    "disabled_at": None, "disabled_reason": None, "failing_since": None,
}  # fmt: skip
ATTEMPT: dict[str, Any] = {
    "number": 1, "at": "2026-11-22T12:00:01.000Z", "milliseconds": 12, "status": 204, "outcome": "delivered", "answer": "",
}  # fmt: skip


def _delivery(state: str, *attempts: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": DELIVERY, "webhook": ID, "event": "evt_" + "3" * 32, "type": "webhook.test", "state": state, "reason": None,
        "created_at": "2026-11-22T12:00:00.000Z", "finished_at": None, "next_attempt_at": None, "attempts": list(attempts),
    }  # fmt: skip


class Service(ServiceClient):
    """Remembers what it was asked, and answers what a test put in."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:9", "x")
        self.asked: list[tuple[str, str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        self.failure: Exception | None = None

    def _answer(self, method: str, path: str, body: Any) -> dict[str, Any]:
        self.asked.append((method, path, body))
        if self.failure is not None:
            raise self.failure
        return self.answers.pop(0) if self.answers else WEBHOOK

    def get(self, path: str, parameters: Any = None) -> dict[str, Any]:
        return self._answer("GET", path, parameters)

    def post(self, path: str, body: Any = None) -> dict[str, Any]:
        return self._answer("POST", path, body)

    def patch(self, path: str, body: Any) -> dict[str, Any]:
        return self._answer("PATCH", path, body)

    def delete(self, path: str) -> None:
        self._answer("DELETE", path, None)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    with Service() as made:
        monkeypatch.setattr(webhooks, "connect", lambda *_: made)
        monkeypatch.setattr("time.sleep", lambda _: None)
        yield made


def test_adding_says_only_what_was_said_and_shows_the_secret(ksefd: Ksefd, service: Service) -> None:
    service.answers = [WEBHOOK | {"secret": "whsec_x", "public_key": None}]
    ran = ksefd("webhook", "add", "https://erp.example/ksef")
    assert ran.code == OK
    assert service.asked == [("POST", "/v1/webhooks", {"url": "https://erp.example/ksef"})]
    for words in (ID, "whsec_x", "upo.available", "księgowość", "Authorization: ***"):
        assert words in ran.out


def test_adding_with_everything(ksefd: Ksefd, service: Service) -> None:
    ran = ksefd(
        "webhook", "add", "https://erp.example/ksef", "--events", "upo.available, session.failed", "--events",
        "webhook.test", "--description", "d", "--signing", "ed25519", "--header", "Authorization: Bearer a:b", "--header",
        "X-Env:  test ", "--ordering", "session", "--max-concurrency", "3", "--json",
    )  # fmt: skip
    assert ran.json == WEBHOOK
    assert service.asked[0][2] == {
        "url": "https://erp.example/ksef", "events": ["upo.available", "session.failed", "webhook.test"],
        "description": "d", "signing": "ed25519", "headers": {"Authorization": "Bearer a:b", "X-Env": "test"},
        "ordering": "session", "max_concurrency": 3,
    }  # fmt: skip


def test_public_keys_are_shown_with_the_time_of_their_end(ksefd: Ksefd, service: Service) -> None:
    service.answers = [
        WEBHOOK
        | {
            "public_keys": [
                {"key": "whpk_b", "expires_at": None},
                {"key": "whpk_a", "expires_at": "2026-11-23T12:00:00Z"},
            ]
        },
        {"secret": None, "public_key": "whpk_c"},
    ]
    shown = ksefd("webhook", "show", ID).out
    assert "whpk_b" in shown
    assert "whpk_a until 2026-11-23 13:00:00+01:00" in shown
    assert "whpk_c" in ksefd("webhook", "rotate", ID, "--signing", "ed25519").out
    assert service.asked[1] == ("POST", f"/v1/webhooks/{ID}/rotate-secret", {"signing": "ed25519"})


def test_a_changed_header_keeps_the_others(ksefd: Ksefd, service: Service) -> None:
    ran = ksefd(
        "webhook", "update", ID, "--header", "x-env: prod", "--without-header", "authorization", "--header", "X-New: 1",
        "--all-events", "--address", "https://new.example/",
    )  # fmt: skip
    assert ran.code == OK
    assert service.asked[1] == (
        "PATCH", f"/v1/webhooks/{ID}",
        {"url": "https://new.example/", "headers": {"x-env": "prod", "X-New": "1"}, "events": None},
    )  # fmt: skip
    ksefd("webhook", "update", ID, "--header", "X-New: 1")
    assert service.asked[3][2] == {"headers": {"Authorization": "***", "X-Env": "***", "X-New": "1"}}
    ksefd("webhook", "update", ID, "--description", "")
    assert service.asked[4][2] == {"description": ""}


@pytest.mark.parametrize(
    "arguments",
    [
        ["update", ID],
        ["update", ID, "--all-events", "--events", "webhook.test"],
        ["update", ID, "--without-header", "X-None"],
        ["update", ID, "--header", "no colon"],
        ["show", "../secret"],
        ["show", DELIVERY],
        ["retry", ID],
        ["replay", ID, "--since", "then"],
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_changed(
    ksefd: Ksefd, service: Service, arguments: list[str]
) -> None:
    assert ksefd("webhook", *arguments).code == USAGE
    assert all(method == "GET" for method, _, _ in service.asked)


def test_switching_and_removing(ksefd: Ksefd, service: Service) -> None:
    assert "replay" in ksefd("webhook", "enable", ID).err
    assert ksefd("webhook", "disable", ID).err == ""
    assert ksefd("webhook", "remove", ID, "--json").json == {"removed": ID}
    assert service.asked == [
        ("PATCH", f"/v1/webhooks/{ID}", {"disabled": False}),
        ("PATCH", f"/v1/webhooks/{ID}", {"disabled": True}),
        ("DELETE", f"/v1/webhooks/{ID}", None),
    ]


def test_the_list_says_what_is_wrong(ksefd: Ksefd, service: Service) -> None:
    failing = WEBHOOK | {"failing_since": "2026-11-21T00:00:00.000Z", "events": None}
    disabled = WEBHOOK | {"disabled_at": "2026-11-20T00:00:00.000Z", "disabled_reason": "gone"}
    service.answers = [{"items": [WEBHOOK, failing, disabled], "next": None}] * 2
    out = " ".join(ksefd("webhook", "list").out.split())
    for words in ("enabled", "failing since", "disabled (gone)", "all"):
        assert words in out
    assert len(ksefd("webhook", "list", "--json").json["webhooks"]) == 3


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (_delivery("succeeded", ATTEMPT), OK),
        (_delivery("pending", ATTEMPT | {"status": 500, "outcome": "refused", "answer": "no"}), REFUSED),
        (_delivery("pending"), REFUSED),
    ],
)
def test_a_test_waits_for_its_first_attempt_and_tells_its_end(
    ksefd: Ksefd, service: Service, last: dict[str, Any], code: int
) -> None:
    started = _delivery("pending", ATTEMPT | {"status": None, "outcome": "started"})
    service.answers = [_delivery("pending"), _delivery("pending"), started, *[last] * 50]
    ran = ksefd("webhook", "test", ID, "--json")
    assert (ran.code, ran.json) == (code, last)
    assert service.asked[0] == ("POST", f"/v1/webhooks/{ID}/test", None)
    assert {path for _, path, _ in service.asked[1:]} == {f"/v1/deliveries/{DELIVERY}"}


def test_deliveries_are_listed_with_what_was_answered(ksefd: Ksefd, service: Service) -> None:
    service.answers = [{"items": [_delivery("succeeded", ATTEMPT), _delivery("pending")], "next": None}] * 2
    out = ksefd("webhook", "deliveries", ID, "--state", "succeeded", "--limit", "5").out
    assert "204 delivered" in out
    assert service.asked[0] == ("GET", f"/v1/webhooks/{ID}/deliveries", {"limit": 5, "state": "succeeded"})
    assert len(ksefd("webhook", "deliveries", ID, "--limit", "1", "--json").json["deliveries"]) == 1


def test_one_delivery_is_shown_and_tried_again(ksefd: Ksefd, service: Service) -> None:
    service.answers = [_delivery("failed", ATTEMPT | {"answer": "teapot"}), _delivery("pending")]
    assert "teapot" in ksefd("webhook", "delivery", DELIVERY).out
    assert "no attempt yet" in ksefd("webhook", "retry", DELIVERY).out
    assert service.asked[1] == ("POST", f"/v1/deliveries/{DELIVERY}/retry", None)


def test_a_replay_says_from_when(ksefd: Ksefd, service: Service) -> None:
    service.answers = [{"id": "rpl_1", "events": 7}] * 2
    ran = ksefd(
        "webhook", "replay", ID, "--since", "2026-11-22T13:00", "--until", "2026-11-22T13:00:00Z", "--events",
        "upo.available", "--all",
    )  # fmt: skip
    assert "7" in ran.out
    assert service.asked[0] == (
        "POST", f"/v1/webhooks/{ID}/replay",
        {"since": "2026-11-22T12:00:00+00:00", "until": "2026-11-22T13:00:00+00:00", "types": ["upo.available"], "all": True},
    )  # fmt: skip
    assert ksefd("webhook", "replay", ID, "--since", "evt_1", "--json").json == {"id": "rpl_1", "events": 7}
    assert service.asked[1][2] == {"since": "evt_1"}


def test_failures_have_their_exit_codes(ksefd: Ksefd, service: Service) -> None:
    service.failure = ServiceRefused("there is no webhook")
    assert ksefd("webhook", "show", ID).code == DENIED
    service.failure = ServiceUnreachable("away")
    assert ksefd("webhook", "list").code == UNREACHABLE


def test_headers_are_replaced_whatever_their_capitals() -> None:
    assert changed_headers({"A": "***", "B": "***"}, {"a": "1"}, ["b"]) == {"a": "1"}
    assert header_fields(["A: b: c"]) == {"A": "b: c"}
    with pytest.raises(UsageProblem) as refused:
        header_fields([": hidden"])
    assert "hidden" not in refused.value.detail


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T13:00", "2026-11-22T12:00:00+00:00"),
        ("2026-07-01", "2026-06-30T22:00:00+00:00"),
        ("2026-11-22T13:00:00Z", "2026-11-22T13:00:00+00:00"),
        ("90m", "2026-11-22T10:30:00+00:00"),
        ("7d", "2026-11-15T12:00:00+00:00"),
        ("30 s", "2026-11-22T11:59:30+00:00"),
    ],
)
def test_times_are_moments_or_how_long_ago(text: str, expected: str) -> None:
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    found = parse_time(text, option="--since", now=now)
    assert (found.isoformat(), found.utcoffset()) == (expected, timedelta(0))


@pytest.mark.parametrize("text", ["", "now", "1y", "999999w", "2026-13-01", "13:00"])
def test_what_is_no_time_names_the_option(text: str) -> None:
    with pytest.raises(UsageProblem, match=r"^--until"):
        parse_time(text, option="--until", now=datetime(2026, 11, 22, 12, 0, tzinfo=UTC))


def test_json_of_every_command_is_one_line(ksefd: Ksefd, service: Service) -> None:
    for arguments in (["show", ID], ["enable", ID], ["rotate", ID], ["update", ID, "--description", "d"]):
        ran = ksefd("webhook", *arguments, "--json")
        assert json.loads(ran.out) == WEBHOOK


def test_waiting_for_a_replay_ends_with_its_last_state(ksefd: Ksefd, service: Service) -> None:
    known = {
        "id": "rpl_" + "4" * 32,
        "webhook": ID,
        "events": 1_200,
        "until": "2026-11-22T12:00:00.000Z",
        "types": None,
    }
    states = [("running", 0), ("running", 500), ("running", 500), ("completed", 1_200)]
    service.answers = [known | {"state": state, "made": made} for state, made in states]
    ran = ksefd("webhook", "replay", ID, "--since", "1d", "--wait")
    assert ran.code == OK
    assert ran.err == "0 of 1,200 events scheduled\n500 of 1,200 events scheduled\n"
    assert "2026-11-22 13:00:00+01:00" in ran.out
    assert [path for _, path, _ in service.asked[1:]] == [f"/v1/replays/{known['id']}"] * 3
    service.answers = [known | {"state": state, "made": 3} for state in ("running", "stopped")]
    assert ksefd("webhook", "replay", ID, "--since", "1d", "--wait", "--json").code == REFUSED
