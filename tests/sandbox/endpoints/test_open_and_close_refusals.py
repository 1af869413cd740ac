"""Requests that must not open or close a batch session."""

import base64
import secrets
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.ksef_by_hand import HandClient, Package, invoice, sha256, zip_package

Change = Callable[[dict[str, Any]], None]


def codes(answer: httpx.Response) -> list[int]:
    return [item["exceptionCode"] for item in answer.json()["exception"]["exceptionDetailList"]]


def setting(path: str, value: Any) -> Change:
    """A change that sets one member, given as `a.b.0.c`."""
    *folders, last = path.split(".")

    def change(body: dict[str, Any]) -> None:
        place: Any = body
        for step in folders:
            place = place[int(step) if step.isdigit() else step]
        place[last] = value

    return change


def without(path: str) -> Change:
    *folders, last = path.split(".")

    def change(body: dict[str, Any]) -> None:
        place: Any = body
        for step in folders:
            place = place[int(step) if step.isdigit() else step]
        del place[last]

    return change


def many_parts(body: dict[str, Any]) -> None:
    part = body["batchFile"]["fileParts"][0]
    body["batchFile"]["fileParts"] = [{**part, "ordinalNumber": number} for number in range(1, 52)]


def repeated_part(body: dict[str, Any]) -> None:
    body["batchFile"]["fileParts"] *= 2


HASH = sha256(b"x")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param(setting("formCode.systemCode", "FA(3)"), 21405, id="no space in the system code"),
        pytest.param(setting("formCode.schemaVersion", "1-1E"), 21405, id="schema version"),
        pytest.param(setting("formCode.value", "FA_RR"), 21405, id="form value"),
        pytest.param(without("formCode"), 21405, id="no form code"),
        pytest.param(setting("batchFile.fileSize", 0), 21405, id="empty file"),
        pytest.param(setting("batchFile.fileSize", 5_000_000_001), 21405, id="more than 5 GB"),
        pytest.param(setting("batchFile.fileSize", "12"), 21405, id="size as text"),
        pytest.param(setting("batchFile.fileHash", HASH[:-1]), 21405, id="43 characters of hash"),
        pytest.param(setting("batchFile.fileHash", "*" * 44), 21405, id="hash not in Base64"),
        pytest.param(setting("batchFile.fileHash", base64.b64encode(bytes(33)).decode()), 21405, id="33 bytes of hash"),
        pytest.param(setting("batchFile.compressionType", "Rar"), 21405, id="unknown compression"),
        pytest.param(setting("batchFile.compressionType", "zip"), 21405, id="compression in lower case"),
        pytest.param(setting("batchFile.fileParts", []), 21405, id="no parts"),
        pytest.param(setting("batchFile.fileParts.0.ordinalNumber", 0), 21405, id="parts from zero"),
        pytest.param(setting("batchFile.fileParts.0.ordinalNumber", 2), 21405, id="parts from two"),
        pytest.param(setting("batchFile.fileParts.0.fileSize", 0), 21405, id="empty part"),
        pytest.param(setting("batchFile.fileParts.0.fileHash", "short"), 21405, id="part hash"),
        pytest.param(setting("batchFile.fileParts.0.fileSize", 100_000_001), 21157, id="part above 100 MB"),
        pytest.param(setting("batchFile.fileParts.0.fileName", "a"), 21405, id="member that is not in the contract"),
        pytest.param(repeated_part, 21405, id="part number twice"),
        pytest.param(many_parts, 21161, id="51 parts"),
        pytest.param(setting("encryption.initializationVector", base64.b64encode(bytes(12)).decode()), 21405, id="short IV"),
        pytest.param(setting("encryption.initializationVector", "?"), 21405, id="IV not in Base64"),
        pytest.param(setting("encryption.encryptedSymmetricKey", "?"), 21405, id="key not in Base64"),
        pytest.param(setting("encryption.publicKeyId", HASH), 21470, id="unknown public key"),
        pytest.param(setting("encryption.publicKeyId", "short"), 21405, id="public key id too short"),
        pytest.param(setting("offlineMode", "yes"), 21405, id="offline mode as text"),
    ],
)  # fmt: skip
def test_a_request_against_the_contract_does_not_open_a_session(client: HandClient, change: Change, code: int) -> None:
    body = client.open_body(Package(b"content"))
    change(body)
    answer = client.call("POST", "/sessions/batch", json=body)
    assert answer.status_code == 400
    assert codes(answer) == [code]
    assert answer.json()["exception"]["exceptionDetailList"][0]["details"]


def test_every_fault_of_a_request_is_told_at_once(client: HandClient) -> None:
    body = client.open_body(Package(b"content"))
    many_parts(body)
    setting("batchFile.fileParts.0.fileSize", 200_000_000)(body)
    setting("formCode.value", "FB")(body)
    answer = client.call("POST", "/sessions/batch", json=body)
    assert sorted(codes(answer)) == [21157, 21161, 21405]
    problem = client.call("POST", "/sessions/batch", json=body, headers={"X-Error-Format": "problem-details"})
    assert problem.headers["content-type"] == "application/problem+json"
    assert sorted(item["code"] for item in problem.json()["errors"]) == [21157, 21161, 21405]


def test_the_key_for_tokens_is_not_a_key_for_packages(client: HandClient) -> None:
    body = client.open_body(Package(b"content"))
    body["encryption"]["publicKeyId"] = client.public_key("KsefTokenEncryption")[0]
    assert codes(client.call("POST", "/sessions/batch", json=body)) == [21470]


def test_a_body_that_is_not_json_is_unreadable(client: HandClient) -> None:
    headers = {"Content-Type": "application/json"}
    assert codes(client.call("POST", "/sessions/batch", content=b"{", headers=headers)) == [21001]
    assert (
        client.call("POST", "/sessions/batch", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    )


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_without_a_token_there_is_no_session(stranger: HandClient, method: str) -> None:
    for token in ("", "nonsense", "a.b.c"):
        answer = stranger.call(method, "/sessions/batch" if method == "POST" else "/sessions", token=token)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_refresh_token_does_not_open_sessions(client: HandClient) -> None:
    answer = client.call("POST", "/sessions/batch", token=client.refresh_token, json=client.open_body(Package(b"x")))
    assert answer.status_code == 401


def test_close_names_every_part_that_has_not_arrived(client: HandClient) -> None:
    package = Package(secrets.token_bytes(2000), part_bytes=700)
    opened = client.open(client.open_body(package))
    uploads = {item["ordinalNumber"]: item for item in opened["partUploadRequests"]}
    client.put(uploads[2], package.encrypted_parts()[1])
    answer = client.close_session(opened["referenceNumber"])
    assert codes(answer) == [21205]
    details = answer.json()["exception"]["exceptionDetailList"][0]["details"]
    assert [detail.count("'1'") + detail.count("'3'") for detail in details] == [1, 1]


def test_close_compares_sizes_and_takes_a_part_sent_again(client: HandClient) -> None:
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    opened = client.open(client.open_body(package))
    (upload,) = opened["partUploadRequests"]
    client.put(upload, package.encrypted_parts()[0] + bytes(16))
    assert codes(client.close_session(opened["referenceNumber"])) == [21157]
    client.upload(opened, package)
    assert client.close_session(opened["referenceNumber"]).status_code == 204
    assert client.final_status(opened["referenceNumber"])["status"]["code"] == 200


def test_a_session_is_closed_once(client: HandClient) -> None:
    reference, _ = client.send_documents({"a.xml": invoice("A", client.nip)})
    answer = client.close_session(reference)
    assert codes(answer) == [21180]
    assert "200" in answer.json()["exception"]["exceptionDetailList"][0]["details"][0]


def test_an_unknown_session_cannot_be_closed_or_read(client: HandClient) -> None:
    unknown = "20260101-SB-AAAAAAAAAA-AAAAAAAAAA-AA"
    assert codes(client.close_session(unknown)) == [21173]
    assert codes(client.call("GET", f"/sessions/{unknown}")) == [21173]
    assert codes(client.call("GET", "/sessions/what-is-this")) == [21405]


def test_nobody_closes_the_session_of_somebody_else(client: HandClient, another: Callable[[], HandClient]) -> None:
    package = Package(zip_package({"a.xml": invoice("A", client.nip)}))
    opened = client.open(client.open_body(package))
    client.upload(opened, package)
    assert another().login().close_session(opened["referenceNumber"]).status_code == 403
    assert client.status(opened["referenceNumber"])["status"]["code"] == 100


def test_close_refuses_a_form_content_type(client: HandClient) -> None:
    opened = client.open(client.open_body(Package(b"x")))
    path = f"/sessions/batch/{opened['referenceNumber']}/close"
    assert client.call("POST", path, data={"a": "b"}).status_code == 415
