"""Faults of single requests: what KSeF, its firewall, its storage and the network do on bad days."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.ksef_by_hand import HandClient, Package, invoice, zip_package
from tests.support.sandbox_process import SandboxHandle, running_sandbox


@pytest.fixture(scope="module")
def own() -> Iterator[SandboxHandle]:
    with running_sandbox(validate="off") as handle:
        yield handle


@pytest.fixture
def client(owner: HandClient) -> HandClient:
    return owner


def fault(control: httpx.Client, **rule: Any) -> int:
    answer = control.post("/faults", json=rule)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def uploaded(client: HandClient) -> str:
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    opened = client.open(client.open_body(package))
    client.upload(opened, package)
    return str(opened["referenceNumber"])


def error_code(answer: httpx.Response) -> int:
    return int(answer.json()["exception"]["exceptionDetailList"][0]["exceptionCode"])


def test_the_first_closes_can_miss_a_part_that_is_there(client: HandClient, control: httpx.Client) -> None:
    fault(control, method="POST", path="/close$", times=2, error=21205, details=["part 1"])
    reference = uploaded(client)
    first, second = client.close_session(reference), client.close_session(reference)
    assert [first.status_code, error_code(first), error_code(second)] == [400, 21205, 21205]
    assert first.json()["exception"]["exceptionDetailList"][0]["details"] == ["part 1"]
    assert client.close_session(reference).status_code == 204


@pytest.mark.parametrize(("method", "path"), [("GET", "^/sessions/[^/]+$"), ("POST", "/close$")])
def test_a_session_can_be_unknown_for_a_while(
    client: HandClient, control: httpx.Client, method: str, path: str
) -> None:
    fault(control, method=method, path=path, times=1, error=21173)
    reference = uploaded(client)
    calls = {
        "GET": lambda: client.call("GET", f"/sessions/{reference}"),
        "POST": lambda: client.close_session(reference),
    }
    assert error_code(calls[method]()) == 21173
    assert calls[method]().is_success


def test_an_error_comes_in_the_shape_that_was_asked_for(client: HandClient, control: httpx.Client) -> None:
    fault(control, path="^/rate-limits$", error=21173)
    answer = client.call("GET", "/rate-limits", headers={"X-Error-Format": "problem-details"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["code"] == 21173


@pytest.mark.parametrize("status", [200, 403])
def test_the_firewall_can_answer_a_part_and_a_receipt_with_its_page(
    client: HandClient, control: httpx.Client, status: int
) -> None:
    fault(control, method="PUT", path="/batch-parts/", times=1, page="waf", status=status)
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    opened = client.open(client.open_body(package))
    upload = opened["partUploadRequests"][0]
    answer = client.put(upload, package.encrypted_parts()[0])
    assert answer.status_code == status
    assert "text/html" in answer.headers["content-type"]
    assert "_Incapsula_Resource" in answer.text
    client.upload(opened, package)
    assert client.close_session(opened["referenceNumber"]).status_code == 204
    link = client.final_status(opened["referenceNumber"])["upo"]["pages"][0]["downloadUrl"]
    fault(control, method="GET", path="/session-upo/", times=1, page="waf", status=status)
    page, receipt = httpx.get(link), httpx.get(link)
    assert (page.status_code, "_Incapsula_Resource" in page.text) == (status, True)
    assert receipt.headers["content-type"].startswith("application/xml")


def test_the_firewall_can_block_an_address(client: HandClient, control: httpx.Client) -> None:
    fault(control, path="^/sessions/batch$", times=1, page="blocked")
    answer = client.call("POST", "/sessions/batch", json={})
    body = answer.json()
    assert (answer.status_code, body["title"], set(body["security"])) == (
        403, "Request blocked", {"incidentId", "clientIp"}
    )  # fmt: skip
    assert "reasonCode" not in body


def test_too_many_requests_can_be_said_without_a_reason(client: HandClient, control: httpx.Client) -> None:
    fault(control, path="^/rate-limits$", times=2, page="too-many-requests", retry_after=77)
    plain = client.call("GET", "/rate-limits")
    problem = client.call("GET", "/rate-limits", headers={"X-Error-Format": "problem-details"})
    assert [plain.status_code, problem.status_code] == [429, 429]
    assert {plain.headers["Retry-After"], problem.headers["Retry-After"]} == {"77"}
    assert (plain.json()["status"]["code"], problem.json()["status"]) == (429, 429)


def test_a_link_can_expire_on_demand(client: HandClient, control: httpx.Client) -> None:
    fault(control, method="PUT", path="/batch-parts/", times=1, page="expired-link")
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    opened = client.open(client.open_body(package))
    answer = client.put(opened["partUploadRequests"][0], package.encrypted_parts()[0])
    assert (answer.status_code, answer.headers["x-ms-error-code"]) == (403, "AuthenticationFailed")
    client.upload(opened, package)


def test_half_a_json_document_can_look_whole(client: HandClient, control: httpx.Client) -> None:
    fault(control, path="^/rate-limits$", times=1, spoil="json")
    broken = client.call("GET", "/rate-limits")
    assert broken.status_code == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated|delimiter"):
        broken.json()
    assert client.call("GET", "/rate-limits").text.startswith(broken.text)


def test_an_answer_can_end_in_the_middle(client: HandClient, control: httpx.Client) -> None:
    fault(control, method="POST", path="^/sessions/batch$", times=1, cut="within")
    with pytest.raises(httpx.RemoteProtocolError):
        client.open(client.open_body(Package(b"content")))
    assert [item["status"] for item in control.get("/ledger").json()["sessions"]] == [100]


def test_an_answer_can_come_in_drops(client: HandClient, control: httpx.Client) -> None:
    fault(control, path="^/rate-limits$", times=1, spoil="slow", slow_seconds=0.5)
    with client.http.stream(
        "GET", "/rate-limits", headers={"Authorization": f"Bearer {client.access_token}"}
    ) as answer:
        pieces = list(answer.iter_raw())
    assert answer.status_code == 200
    assert len(pieces) > 5
    assert answer.elapsed.total_seconds() >= 0.4


def test_one_rule_can_be_taken_back(client: HandClient, control: httpx.Client) -> None:
    number = fault(control, path="^/rate-limits$", status=503)
    other = fault(control, path="^/limits/context$", status=503)
    assert control.delete(f"/faults/{number}").status_code == 204
    assert control.delete(f"/faults/{number}").status_code == 404
    assert [client.call("GET", path).status_code for path in ("/rate-limits", "/limits/context")] == [200, 503]
    assert [item["id"] for item in control.get("/faults").json()["items"]] == [other]


@pytest.mark.parametrize(
    "rule",
    [
        {"path": "x", "error": 12345},
        {"path": "x", "page": "unknown"},
        {"on": "session", "status": 200},
        {"on": "session", "at_open": True},
        {"on": "session", "hold_at": 150, "release_on_close": True},
        {"on": "session", "path": "x"},
        {"on": "invoice"},
        {"on": "invoice", "status": 550, "number": "("},
        {"on": "weather"},
        {"on": 5},
        [],
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(control: httpx.Client, rule: Any) -> None:
    assert control.post("/faults", json=rule).status_code == 422
    assert control.get("/faults").json()["items"] == []
