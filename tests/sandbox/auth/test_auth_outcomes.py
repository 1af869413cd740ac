"""Every way in which a login can end, and how long it can be asked about."""

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID, ObjectIdentifier

from tests.support.ksef_by_hand import (
    HandClient,
    auth_request,
    make_certificate,
    random_nip,
    seal_certificate,
    sign,
)
from tests.support.ksef_online_by_hand import refusal
from tests.support.sandbox_process import SandboxHandle, running_sandbox

PERSON = {
    NameOID.GIVEN_NAME: "Jan",
    NameOID.SURNAME: "Testowy",
    NameOID.COMMON_NAME: "Jan Testowy",
    NameOID.COUNTRY_NAME: "PL",
}


def start(client: HandClient, context: str = "", query: str = "") -> httpx.Response:
    document = auth_request(client.challenge()["challenge"], client.nip)
    if context:
        document = document.replace(f"<Nip>{client.nip}</Nip>", context)
    return client.post_signed(sign(document, *seal_certificate(client.nip)), query)


def test_the_control_api_orders_how_logins_end() -> None:
    with running_sandbox(validate="off") as handle, closing(HandClient(handle.base_url)) as client:
        for status, detail in ((500, None), (550, "Spróbuj ponownie"), (460, "Certyfikat zawieszony")):
            ordered = {"operation": "login", "status": status, "details": ["Certyfikat zawieszony"][: status == 460]}
            httpx.post(f"{handle.control_url}/outcomes", json=ordered).raise_for_status()
            told = client.login_status(start(client))
            assert told["code"] == status
            assert detail is None or detail in told["details"][0]
        client.login()
        for wrong in ({"operation": "login", "status": 200}, {"operation": "other", "status": 500}, {}):
            assert httpx.post(f"{handle.control_url}/outcomes", json=wrong).status_code == 422


def test_a_login_can_be_asked_about_for_seven_days() -> None:
    with running_sandbox(validate="off") as handle, closing(HandClient(handle.base_url)) as client:
        old = start(client)
        assert client.login_status(old)["code"] == 200
        _advance(handle, days=7, seconds=1)
        token = start(client).json()["authenticationToken"]["token"]
        gone = client.call("GET", f"/auth/{old.json()['referenceNumber']}", token=token)
        assert (gone.status_code, gone.headers["content-type"]) == (410, "application/problem+json")
        assert gone.json()["title"] == "Gone"
        unknown = client.call("GET", "/auth/20260101-AU-0000000000-0000000000-00", token=token)
        assert refusal(unknown) == 21304


def test_a_login_is_asked_about_with_its_own_token_only(stranger: HandClient) -> None:
    first, second = start(stranger), start(stranger)
    token = second.json()["authenticationToken"]["token"]
    assert refusal(stranger.call("GET", f"/auth/{first.json()['referenceNumber']}", token=token)) == 21304


def test_revoking_one_login_leaves_the_others(client: HandClient) -> None:
    first = client.refresh_token
    client.login()
    listed = client.call("GET", "/auth/sessions").json()["items"]
    assert [item["isCurrent"] for item in listed] == [True, False]
    assert client.call("DELETE", f"/auth/sessions/{listed[1]['referenceNumber']}").status_code == 204
    assert refusal(client.call("POST", "/auth/token/refresh", token=first)) == 21301
    assert client.call("POST", "/auth/token/refresh", token=client.refresh_token).status_code == 200
    assert len(client.call("GET", "/auth/sessions").json()["items"]) == 1
    assert refusal(client.call("DELETE", "/auth/sessions/20260101-AU-0000000000-0000000000-00")) == 21405


def test_a_login_that_was_not_told_to_succeed_gives_no_tokens(stranger: HandClient) -> None:
    failed = start(stranger, f"<Nip>{random_nip()}</Nip>")
    assert stranger.login_status(failed)["code"] == 415
    token = failed.json()["authenticationToken"]["token"]
    answer = stranger.call("POST", "/auth/token/redeem", token=token)
    assert refusal(answer) == 21301
    detail = answer.json()["exception"]["exceptionDetailList"][0]["details"][0]
    assert detail == "Status uwierzytelniania (415) nie pozwala na pobranie tokenów."


def test_a_seal_is_no_fingerprint(stranger: HandClient) -> None:
    document = auth_request(stranger.challenge()["challenge"], stranger.nip)
    document = document.replace("certificateSubject", "certificateFingerprint")
    assert refusal(stranger.post_signed(sign(document, *seal_certificate(stranger.nip)))) == 21406


def test_a_person_without_a_polish_number_comes_by_fingerprint(
    stranger: HandClient, shared_sandbox: SandboxHandle
) -> None:
    certificate, key = make_certificate(PERSON | {NameOID.SERIAL_NUMBER: "IDDE-123456"})
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex().upper()
    wanted = {
        "contextIdentifier": {"type": "Nip", "value": stranger.nip},
        "authorizedIdentifier": {"type": "Fingerprint", "value": fingerprint},
        "permissions": [{"permissionType": "InvoiceWrite", "description": "for a test"}],
    }
    assert stranger.http.post("/testdata/permissions", json=wanted).status_code == 200
    document = auth_request(stranger.challenge()["challenge"], stranger.nip)
    assert refusal(stranger.post_signed(sign(document, certificate, key))) == 21115
    document = document.replace("certificateSubject", "certificateFingerprint")
    stranger.finish_login(stranger.post_signed(sign(document, certificate, key)))
    limits = stranger.call("GET", "/certificates/limits").json()
    assert (limits["enrollment"]["limit"], limits["certificate"]["limit"]) == (12, 6)


def test_a_peppol_provider_must_be_the_one_in_its_certificate(stranger: HandClient) -> None:
    assert refusal(start(stranger, "<PeppolId>PPL123456</PeppolId>")) == 21117
    provider = {
        NameOID.COMMON_NAME: "PPL123456",
        NameOID.COUNTRY_NAME: "PL",
        NameOID.ORGANIZATION_NAME: "A provider",
        ObjectIdentifier("2.5.4.97"): f"VATPL-{stranger.nip}",
    }
    document = auth_request(stranger.challenge()["challenge"], stranger.nip)
    document = document.replace(f"<Nip>{stranger.nip}</Nip>", "<PeppolId>PPL123456</PeppolId>")
    assert stranger.login_status(stranger.post_signed(sign(document, *make_certificate(provider))))["code"] == 415


def test_a_nip_with_a_wrong_checksum_is_21117_where_checksums_count(another: Callable[[], HandClient]) -> None:
    with (
        running_sandbox(validate="off", enforce_identifiers=True) as handle,
        closing(HandClient(handle.base_url)) as client,
    ):
        wrong = client.nip[:-1] + str((int(client.nip[-1]) + 1) % 10)
        assert refusal(start(client, f"<Nip>{wrong}</Nip>")) == 21117
        assert refusal(start(client, f"<InternalId>{wrong}-12345</InternalId>")) == 21117
    assert another().login_status(start(another(), f"<Nip>{wrong}</Nip>"))["code"] == 415


@pytest.mark.parametrize("query", ["?verifyCertificateChain=yes", "?verifyCertificateChain="])
def test_a_query_against_the_contract_is_refused(stranger: HandClient, query: str) -> None:
    assert refusal(start(stranger, query=query)) == 21405


def test_bytes_in_another_encoding_are_21217(stranger: HandClient) -> None:
    assert refusal(stranger.post_signed("<AuthTokenRequest>ł</AuthTokenRequest>".encode("iso-8859-2"))) == 21217


def _advance(handle: SandboxHandle, **span: float) -> None:
    seconds = timedelta(**span).total_seconds()
    httpx.post(f"{handle.control_url}/clock", json={"advance_seconds": seconds}).raise_for_status()
