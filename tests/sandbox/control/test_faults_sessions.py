"""Scripts of sessions, orders for single invoices, and keys that change."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support.ksef_by_hand import HandClient, Package, invoice, poll, zip_package
from tests.support.ksef_contract import KsefContract
from tests.support.sandbox_process import SandboxHandle, running_sandbox


@pytest.fixture(scope="module")
def own() -> Iterator[SandboxHandle]:
    with running_sandbox(validate="off") as handle:
        yield handle


@pytest.fixture
def control(control: httpx.Client) -> httpx.Client:
    assert control.post("/clock", json={"freeze": True}).status_code == 200
    return control


@pytest.fixture
def client(own: SandboxHandle, control: httpx.Client, contract: KsefContract | None) -> Iterator[HandClient]:
    """Whatever a script does, an answer stays one that the contract allows."""
    client = HandClient(own.base_url)
    if contract is not None:
        client.http.event_hooks = {"response": [contract.check]}
    yield client.login()
    client.close()


def script(control: httpx.Client, **rule: Any) -> None:
    answer = control.post("/faults", json={"on": "session", **rule})
    assert answer.status_code == 201, answer.text


def advance(control: httpx.Client, seconds: float) -> None:
    assert control.post("/clock", json={"advance_seconds": seconds}).status_code == 200


def closed(client: HandClient, count: int = 1) -> str:
    package = Package(zip_package({f"{n}.xml": invoice(f"A/{n}", client.nip) for n in range(count)}))
    opened = client.open(client.open_body(package))
    client.upload(opened, package)
    assert client.close_session(opened["referenceNumber"]).status_code == 204
    return str(opened["referenceNumber"])


def true_code(control: httpx.Client, reference: str) -> int:
    return int(control.get(f"/sessions/{reference}").json()["status"]["code"])


@pytest.mark.parametrize("code", [405, 415, 420, 430, 435, 440, 500])
def test_a_session_can_fail_in_every_way_and_accepts_nothing(
    client: HandClient, control: httpx.Client, code: int
) -> None:
    script(control, status=code, details=["because"], times=1)
    final = client.final_status(closed(client))
    assert (final["status"]["code"], final["status"]["details"]) == (code, ["because"])
    assert "upo" not in final
    assert control.get("/ledger").json()["accepted"] == 0
    assert client.final_status(closed(client))["status"]["code"] == 200


def test_a_session_can_refuse_every_single_invoice(client: HandClient, control: httpx.Client) -> None:
    script(control, status=445, times=1)
    reference = closed(client, 3)
    final = client.final_status(reference)
    assert (final["status"]["code"], final["failedInvoiceCount"]) == (445, 3)
    assert {item["status"]["code"] for item in client.invoices(reference, "/failed")} == {450}


def test_a_key_can_be_found_bad_right_after_opening(client: HandClient, control: httpx.Client) -> None:
    script(control, status=415, at_open=True)
    opened = client.open(client.open_body(Package(b"content")))
    assert client.status(opened["referenceNumber"])["status"]["code"] == 415
    assert client.close_session(opened["referenceNumber"]).status_code == 400


def test_a_script_is_for_the_sessions_of_one_context(
    client: HandClient, control: httpx.Client, own: SandboxHandle
) -> None:
    other = HandClient(own.base_url).login()
    script(control, status=500, nip=other.nip)
    assert client.final_status(closed(client))["status"]["code"] == 200
    assert other.final_status(closed(other))["status"]["code"] == 500
    other.close()


@pytest.mark.parametrize("code", [100, 150])
def test_a_session_can_be_stuck_for_a_time_of_the_sandbox(client: HandClient, control: httpx.Client, code: int) -> None:
    script(control, hold_at=code, hold_seconds=600)
    reference = closed(client)
    advance(control, 590)
    assert [client.status(reference)["status"]["code"] for _ in range(3)] == [code] * 3
    advance(control, 20)
    assert client.final_status(reference)["status"]["code"] == 200


@pytest.mark.parametrize("code", [100, 150])
def test_a_session_can_be_stuck_until_it_is_released(client: HandClient, control: httpx.Client, code: int) -> None:
    script(control, hold_at=code)
    reference = closed(client)
    advance(control, 700)
    assert true_code(control, reference) == code
    assert control.post(f"/sessions/{reference}/release").status_code == 204
    assert client.final_status(reference)["status"]["code"] == 200
    assert control.post(f"/sessions/{reference}/release").status_code == 204


def test_a_lost_close_shows_100_until_it_is_repeated(client: HandClient, control: httpx.Client) -> None:
    """KSeF's worst habit: the close answers 502, the session stays open, another close sets it going, once."""
    script(control, hold_at=100, release_on_close=True)
    control.post("/faults", json={"method": "POST", "path": "/close$", "times": 1, "answer_status": 502})
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    opened = client.open(client.open_body(package))
    client.upload(opened, package)
    reference = opened["referenceNumber"]
    unchecked = httpx.post(
        f"{client.base_url}/sessions/batch/{reference}/close",
        headers={"Authorization": f"Bearer {client.access_token}"},
    )
    assert unchecked.status_code == 502
    assert client.status(reference)["status"]["code"] == 100
    assert client.close_session(reference).status_code == 204
    assert client.final_status(reference)["status"]["code"] == 200
    assert control.get("/ledger").json()["accepted"] == 1


def test_a_session_held_at_100_dies_when_its_time_is_over(client: HandClient, control: httpx.Client) -> None:
    script(control, hold_at=100)
    reference = closed(client)
    advance(control, 12 * 3600 + 1)
    refreshed = client.call("POST", "/auth/token/refresh", token=client.refresh_token)
    client.access_token = refreshed.json()["accessToken"]["token"]
    assert client.status(reference)["status"]["code"] == 440
    control.post(f"/sessions/{reference}/release")
    assert client.status(reference)["status"]["code"] == 440
    assert control.get("/ledger").json()["accepted"] == 0


def test_processing_can_take_as_long_as_wanted_in_no_time(client: HandClient, control: httpx.Client) -> None:
    script(control, processing_seconds=800)
    references = [closed(client) for _ in range(3)]
    advance(control, 799)
    assert {true_code(control, reference) for reference in references} == {150}
    advance(control, 2)
    codes = sorted(client.final_status(reference)["status"]["code"] for reference in references)
    assert codes == [200, 445, 445]


def test_statuses_can_flip_before_they_settle(client: HandClient, control: httpx.Client) -> None:
    script(control, shown=[150, 100, 150])
    reference = closed(client)
    poll(lambda: {"code": true_code(control, reference)}, lambda body: body["code"] == 200)
    looks = [client.status(reference) for _ in range(4)]
    assert [look["status"]["code"] for look in looks] == [150, 100, 150, 200]
    assert ["upo" in look for look in looks] == [False, False, False, True]
    assert "validUntil" in looks[1]
    assert control.get(f"/sessions/{reference}").json()["looks"] == 4


def test_the_receipt_can_be_late_and_the_count_of_failures_null(client: HandClient, control: httpx.Client) -> None:
    script(control, looks_without_upo=2, null_failed_count=True)
    reference = closed(client)
    poll(lambda: {"code": true_code(control, reference)}, lambda body: body["code"] == 200)
    looks = [client.status(reference) for _ in range(3)]
    assert ["upo" in look for look in looks] == [False, False, True]
    assert [look["failedInvoiceCount"] for look in looks] == [None, None, None]
    assert [look["successfulInvoiceCount"] for look in looks] == [1, 1, 1]


def test_a_duplicate_can_name_its_own_session(client: HandClient, control: httpx.Client) -> None:
    first = closed(client)
    client.final_status(first)
    script(control, duplicates_name_this_session=True)
    second = closed(client)
    client.final_status(second)
    (row,) = client.invoices(second)
    assert row["status"]["extensions"]["originalSessionReferenceNumber"] == second
    assert row["status"]["extensions"]["originalKsefNumber"] == client.invoices(first)[0]["ksefNumber"]


def test_a_script_can_be_given_to_a_session_that_is_open(client: HandClient, control: httpx.Client) -> None:
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    opened = client.open(client.open_body(package))
    client.upload(opened, package)
    reference = opened["referenceNumber"]
    assert control.post(f"/sessions/{reference}/script", json={"status": 435}).status_code == 204
    assert client.close_session(reference).status_code == 204
    assert client.final_status(reference)["status"]["code"] == 435
    assert control.post(f"/sessions/{reference}/script", json={}).status_code == 409
    assert control.post("/sessions/nothing/script", json={}).status_code == 404


@pytest.mark.parametrize("code", [405, 410, 415, 430, 435, 450, 500, 550])
def test_single_invoices_can_get_any_code(client: HandClient, control: httpx.Client, code: int) -> None:
    rule = {"on": "invoice", "status": code, "number": "^A/[13]$", "details": ["ordered"], "times": 2}
    assert control.post("/faults", json=rule).status_code == 201
    reference = closed(client, 4)
    final = client.final_status(reference)
    assert (final["successfulInvoiceCount"], final["failedInvoiceCount"]) == (2, 2)
    failed = client.invoices(reference, "/failed")
    assert [(item["status"]["code"], item["status"]["details"]) for item in failed] == [(code, ["ordered"])] * 2
    again = closed(client, 4)
    assert client.final_status(again)["successfulInvoiceCount"] == 2
    assert {item["status"]["code"] for item in client.invoices(again, "/failed")} == {440}


def key_ids(client: HandClient, usage: str = "SymmetricKeyEncryption") -> list[str]:
    listed = client.http.get("/security/public-key-certificates").json()
    chosen = sorted((item for item in listed if usage in item["usage"]), key=lambda item: item["validFrom"])
    return [item["publicKeyId"] for item in chosen]


@pytest.fixture
def rotate(control: httpx.Client) -> Callable[..., list[str]]:
    def change(rotation: str, usage: str = "SymmetricKeyEncryption") -> list[str]:
        answer = control.post("/keys", json={"usage": usage, "rotation": rotation})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["public_key_ids"])

    return change


def test_a_planned_rotation_takes_both_keys_until_the_old_one_is_withdrawn(
    client: HandClient, rotate: Callable[..., list[str]]
) -> None:
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    old_body = client.open_body(package)
    nameless = {**old_body, "encryption": {**old_body["encryption"]}}
    del nameless["encryption"]["publicKeyId"]
    (before,) = key_ids(client)
    assert rotate("planned")[0] == before
    assert set(key_ids(client)) == {before, rotate("recertified")[-1]}
    opened = client.open(old_body)
    assert client.status(opened["referenceNumber"])["status"]["code"] == 100
    lost = client.open(nameless)
    assert client.status(lost["referenceNumber"])["status"]["code"] == 415
    (left,) = rotate("withdraw")
    assert left != before
    refused = client.call("POST", "/sessions/batch", json=old_body)
    assert refused.json()["exception"]["exceptionDetailList"][0]["exceptionCode"] == 21470
    _, final = client.send(package)
    assert final["status"]["code"] == 200


def test_an_emergency_leaves_the_old_key_without_effect(client: HandClient, rotate: Callable[..., list[str]]) -> None:
    body = client.open_body(Package(b"content"))
    (before,) = key_ids(client)
    (after,) = rotate("emergency")
    assert key_ids(client) == [after] != [before]
    refused = client.call("POST", "/sessions/batch", json=body)
    assert refused.json()["exception"]["exceptionDetailList"][0]["exceptionCode"] == 21470


def test_another_certificate_may_hold_the_same_key(client: HandClient, rotate: Callable[..., list[str]]) -> None:
    def listed() -> dict[str, str]:
        items = client.http.get("/security/public-key-certificates").json()
        return {item["publicKeyId"]: item["certificateId"] for item in items if "KsefTokenEncryption" in item["usage"]}

    before = listed()
    rotate("recertified", "KsefTokenEncryption")
    after = listed()
    assert before.keys() == after.keys()
    assert before != after


def test_a_token_sealed_for_a_withdrawn_key_is_refused(
    client: HandClient, control: httpx.Client, rotate: Callable[..., list[str]]
) -> None:
    token = control.post("/tokens", json={"nip": client.nip}).json()["token"]
    (before,) = key_ids(client, "KsefTokenEncryption")
    rotate("emergency", "KsefTokenEncryption")
    refused = client.post_token(token, publicKeyId=before)
    assert refused.json()["exception"]["exceptionDetailList"][0]["exceptionCode"] == 21470
    assert client.login_status(client.post_token(token))["code"] == 200
