"""The control API: the ledger, the clock, faults, reset. It needs a sandbox of its own."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.ksef_by_hand import HandClient, Package, invoice, poll, zip_package
from tests.support.sandbox_process import SandboxHandle, running_sandbox


@pytest.fixture(scope="module")
def own() -> Iterator[SandboxHandle]:
    with running_sandbox() as handle:
        yield handle


@pytest.fixture
def client(owner: HandClient) -> HandClient:
    return owner


def fault(control: httpx.Client, **rule: Any) -> None:
    assert control.post("/faults", json=rule).status_code == 201


def opened(client: HandClient, number: str = "A") -> str:
    package = Package(zip_package({"a.xml": invoice(number, client.nip)}))
    session = client.open(client.open_body(package))
    client.upload(session, package)
    return str(session["referenceNumber"])


def error_code(answer: httpx.Response) -> int:
    return int(answer.json()["exception"]["exceptionDetailList"][0]["exceptionCode"])


def test_the_ledger_counts_what_was_accepted_and_what_was_tried_twice(
    client: HandClient, control: httpx.Client
) -> None:
    sent = {"a.xml": invoice("A", client.nip), "b.xml": invoice("B", client.nip), "c.xml": b"<x/>"}
    reference, _ = client.send_documents(sent)
    client.send_documents(sent)
    ledger = control.get("/ledger").json()
    assert (ledger["accepted"], ledger["distinct"], ledger["duplicate_attempts"]) == (2, 2, 2)
    assert [(item["status"], item["accepted"], item["rejected"]) for item in ledger["sessions"]] == [
        (200, 2, 1),
        (445, 0, 3),
    ]
    assert ledger["requests"]["batchSession"] == {"201": 2}
    assert ledger["requests"]["storage"] == {"201": 2}
    lines = [json.loads(line) for line in control.get("/ledger?full=1").text.splitlines()]
    listed = {item["ksefNumber"]: item["invoiceHash"] for item in client.invoices(reference) if "ksefNumber" in item}
    assert {line["ksef_number"]: line["invoice_hash"] for line in lines} == listed
    assert {line["number"] for line in lines} == {"A", "B"}
    assert {line["session"] for line in lines} == {reference}
    assert control.post("/reset").status_code == 204
    assert control.get("/ledger").json() == {
        "accepted": 0, "distinct": 0, "duplicate_attempts": 0, "sessions": [], "requests": {}
    }  # fmt: skip
    assert client.call("GET", "/auth/sessions").status_code == 401


def test_time_can_be_moved_past_every_deadline(client: HandClient, control: httpx.Client) -> None:
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    session = client.open(client.open_body(package))
    challenge = client.challenge()
    control.post("/clock", json={"advance_seconds": 16 * 60})
    assert client.call("GET", "/auth/sessions").status_code == 401
    client.access_token = client.call("POST", "/auth/token/refresh", token=client.refresh_token).json()["accessToken"][
        "token"
    ]
    late = client.http.post(
        "/auth/ksef-token",
        json={"challenge": challenge["challenge"], "contextIdentifier": {"type": "Nip", "value": client.nip}, "encryptedToken": "AAAA"},
    )  # fmt: skip
    assert error_code(late) == 21111
    control.post("/clock", json={"advance_seconds": 5 * 60})
    assert client.put(session["partUploadRequests"][0], package.encrypted_parts()[0]).status_code == 403
    control.post("/clock", json={"advance_seconds": 12 * 3600})
    client.access_token = client.call("POST", "/auth/token/refresh", token=client.refresh_token).json()["accessToken"][
        "token"
    ]
    assert client.status(session["referenceNumber"])["status"] == {
        "code": 440, "description": "Sesja anulowana", "details": ["Przekroczono czas wysyłki"]
    }  # fmt: skip
    assert error_code(client.close_session(session["referenceNumber"])) == 21208
    control.post("/clock", json={"advance_seconds": 7 * 86400})
    assert client.call("POST", "/auth/token/refresh", token=client.refresh_token).status_code == 401


def test_a_close_that_worked_can_come_back_as_502(client: HandClient, control: httpx.Client) -> None:
    fault(control, method="POST", path="/close$", times=1, answer_status=502)
    reference = opened(client)
    assert client.close_session(reference).status_code == 502
    assert client.final_status(reference)["status"]["code"] == 200
    assert error_code(client.close_session(reference)) == 21180


def test_a_close_that_did_not_happen_can_come_back_as_502(client: HandClient, control: httpx.Client) -> None:
    fault(control, method="POST", path="/close$", times=1, status=502)
    reference = opened(client)
    assert client.close_session(reference).status_code == 502
    assert client.status(reference)["status"]["code"] == 100
    assert client.close_session(reference).status_code == 204


@pytest.mark.parametrize(("cut", "code"), [("before", 100), ("after", 200)])
def test_a_connection_can_be_cut_on_either_side_of_the_work(
    client: HandClient, control: httpx.Client, cut: str, code: int
) -> None:
    fault(control, method="POST", path="/close$", times=1, cut=cut)
    reference = opened(client)
    with pytest.raises(httpx.TransportError):
        client.close_session(reference)
    if code == 200:
        poll(lambda: client.status(reference), lambda body: body["status"]["code"] == 200)
    assert client.status(reference)["status"]["code"] == code
    assert control.get("/ledger").json()["requests"]["batchSessionClose"] == {"0": 1}


def test_storage_can_answer_with_a_page_and_200(client: HandClient, control: httpx.Client) -> None:
    fault(
        control, method="PUT", path="/batch-parts/", times=1, status=200, body="<html></html>", content_type="text/html"
    )
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    session = client.open(client.open_body(package))
    answer = client.put(session["partUploadRequests"][0], package.encrypted_parts()[0])
    assert (answer.status_code, answer.text) == (200, "<html></html>")
    assert error_code(client.close_session(session["referenceNumber"])) == 21205


def test_rules_skip_count_and_are_cleared(client: HandClient, control: httpx.Client) -> None:
    fault(control, path="^/rate-limits$", skip=1, times=2, status=503)
    assert [client.call("GET", "/rate-limits").status_code for _ in range(4)] == [200, 503, 503, 200]
    (rule,) = control.get("/faults").json()["items"]
    assert rule["applied"] == 2
    fault(control, path="^/rate-limits$", status=500)
    assert control.delete("/faults").status_code == 204
    assert client.call("GET", "/rate-limits").status_code == 200


def test_a_rule_of_chance_repeats_with_its_seed(client: HandClient, control: httpx.Client) -> None:
    def run() -> list[int]:
        control.delete("/faults")
        fault(control, path="^/rate-limits$", probability=0.5, seed=7, status=503)
        return [client.call("GET", "/rate-limits").status_code for _ in range(20)]

    first = run()
    assert set(first) == {200, 503}
    assert run() == first


def test_a_delay_holds_the_answer_back(client: HandClient, control: httpx.Client) -> None:
    fault(control, path="^/rate-limits$", times=1, delay=0.3)
    assert client.call("GET", "/rate-limits").elapsed.total_seconds() >= 0.3


@pytest.mark.parametrize("rule", [{}, {"path": "("}, {"path": "x", "cut": "sideways"}, {"path": "x", "unknown": 1}])
def test_a_rule_that_cannot_be_understood_is_refused(control: httpx.Client, rule: dict[str, Any]) -> None:
    assert control.post("/faults", json=rule).status_code == 422


def test_a_warning_is_echoed_as_the_test_system_does(client: HandClient) -> None:
    answer = client.call("GET", "/rate-limits", headers={"X-Test-System-Warning": "[xml-002]: text"})
    assert answer.headers["X-System-Warning"] == "[xml-002]: text"


def test_an_unknown_path_is_404_without_a_body(client: HandClient) -> None:
    for path in ("/nothing", "/sessions/"):
        answer = client.call("GET", path)
        assert (answer.status_code, answer.content) == (404, b"")
