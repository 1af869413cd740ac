"""KSeF tokens: making them, logging in with them, and every way that this fails."""

import base64
import secrets
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from lxml import etree

from tests.support.ksef_by_hand import HandClient, invoice, poll, random_nip
from tests.support.sandbox_process import SandboxHandle

UPO = "{http://upo.schematy.mf.gov.pl/KSeF/v4-3}"


@pytest.fixture
def token(stranger: HandClient, shared_sandbox: SandboxHandle) -> dict[str, str]:
    """A token of the stranger's NIP, made by the control API."""
    answer = httpx.post(f"{shared_sandbox.control_url}/tokens", json={"nip": stranger.nip})
    assert answer.status_code == 201
    made: dict[str, str] = answer.json()
    return made


def test_a_token_logs_in_and_the_receipt_names_it(stranger: HandClient, token: dict[str, str]) -> None:
    stranger.finish_login(stranger.post_token(token["token"]))
    _, final = stranger.send_documents({"a.xml": invoice("A", stranger.nip)})
    receipt = etree.fromstring(httpx.get(final["upo"]["pages"][0]["downloadUrl"]).content)
    assert receipt.findtext(f".//{UPO}NumerReferencyjnyTokenaKSeF") == token["reference_number"]
    assert receipt.find(f".//{UPO}SkrotDokumentuUwierzytelniajacego") is None


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"timestamp_ms": 1}, "Nieprawidłowy czas tokena"),
        ({"encryptedToken": "***"}, "Nieprawidłowe kodowanie tokena"),
        ({"encryptedToken": base64.b64encode(secrets.token_bytes(256)).decode()}, "Nieprawidłowe szyfrowanie tokena"),
        ({"contextIdentifier": {"type": "Nip", "value": random_nip()}}, "Token nie może być użyty w kontekście"),
    ],
    ids=["time", "coding", "encryption", "context"],
)
def test_a_login_that_fails_says_why(
    stranger: HandClient, token: dict[str, str], changes: dict[str, Any], detail: str
) -> None:
    status = stranger.login_status(stranger.post_token(token["token"], **changes))
    assert status["code"] == 450
    assert status["details"][0].startswith(detail)


def test_an_unknown_token_is_450(stranger: HandClient) -> None:
    status = stranger.login_status(stranger.post_token("20260101-EC-0000000000-0000000000-00|nip-1|00"))
    assert (status["code"], status["details"]) == (450, ["Nieprawidłowy token"])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"publicKeyId": base64.b64encode(bytes(32)).decode()}, 21470),
        ({"publicKeyId": "short"}, 21405),
        ({"challenge": "20260101-CR-AAAAAAAAAA-AAAAAAAAAA-AA"}, 21111),
        ({"contextIdentifier": {"type": "Nip", "value": "123"}}, 21405),
        ({"contextIdentifier": {"type": "nip", "value": "5265877635"}}, 21405),
        ({"authorizationPolicy": {"allowedIps": {"ip4Addresses": ["1.2.3"]}}}, 21405),
    ],
)
def test_a_request_against_the_contract_is_refused(
    stranger: HandClient, token: dict[str, str], changes: dict[str, Any], code: int
) -> None:
    answer = stranger.post_token(token["token"], **changes)
    assert answer.status_code == 400
    assert answer.json()["exception"]["exceptionDetailList"][0]["exceptionCode"] == code


def test_a_token_works_when_active_and_dies_when_revoked(client: HandClient, another: Callable[[], HandClient]) -> None:
    wanted = {"permissions": ["InvoiceWrite"], "description": "for a test"}
    made = client.call("POST", "/tokens", json=wanted)
    assert made.status_code == 202
    token, reference = made.json()["token"], made.json()["referenceNumber"]
    assert client.login_status(client.post_token(token))["details"] == ["Token nieaktywny"]
    poll(lambda: client.call("GET", f"/tokens/{reference}").json(), lambda body: body["status"] == "Active")
    user = another()
    user.nip = client.nip
    user.finish_login(user.post_token(token))
    assert user.call("GET", "/permissions/attachments/status").status_code == 403
    assert [item["referenceNumber"] for item in client.call("GET", "/tokens").json()["tokens"]] == [reference]
    refused = user.call("POST", "/tokens", json=wanted)
    assert refused.json()["reasonCode"] == "auth-method-not-allowed"
    assert user.call("DELETE", f"/tokens/{reference}").status_code == 204
    answer = user.call("POST", "/auth/token/refresh", token=user.refresh_token)
    assert answer.json()["exception"]["exceptionDetailList"][0]["exceptionCode"] == 21301
    assert client.login_status(client.post_token(token))["details"] == ["Token unieważniony"]


def test_nobody_grants_what_they_lack(client: HandClient) -> None:
    wanted = {"permissions": ["EnforcementOperations"], "description": "for a test"}
    answer = client.call("POST", "/tokens", json=wanted)
    assert answer.json()["exception"]["exceptionDetailList"][0]["exceptionCode"] == 26001


@pytest.mark.parametrize("wanted", [{"permissions": [], "description": "for a test"}, {"permissions": ["InvoiceRead"], "description": "x"}, {"permissions": ["Everything"], "description": "for a test"}])  # fmt: skip
def test_a_token_is_not_made_against_the_contract(client: HandClient, wanted: dict[str, Any]) -> None:
    assert client.call("POST", "/tokens", json=wanted).status_code == 400


def test_tokens_of_another_company_stay_hidden(client: HandClient, another: Callable[[], HandClient]) -> None:
    made = client.call("POST", "/tokens", json={"permissions": ["InvoiceRead"], "description": "for a test"}).json()
    other = another().login()
    assert other.call("GET", f"/tokens/{made['referenceNumber']}").status_code == 403
    assert other.call("GET", "/tokens").json()["tokens"] == []
