"""KSeF certificates: asking for one, logging in with it, and everything that is refused."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from tests.support.ksef_by_hand import HandClient, PrivateKey, auth_request, make_certificate, random_nip, sign
from tests.support.ksef_certificates_by_hand import Enrollee, request, serial
from tests.support.ksef_online_by_hand import refusal
from tests.support.sandbox_process import SandboxHandle, running_sandbox


@pytest.fixture
def enrollee(client: HandClient) -> Enrollee:
    return Enrollee(client)


def test_an_authentication_certificate_logs_in_again_and_again(enrollee: Enrollee) -> None:
    certificate = enrollee.enroll()
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.content_commitment) == (True, False)
    # The chain of a certificate that the sandbox issued can be verified.
    started = enrollee.log_in_with(certificate, query="?verifyCertificateChain=true")
    enrollee.client.finish_login(started)
    sessions = enrollee.client.call("GET", "/auth/sessions").json()["items"]
    assert [item["authenticationMethod"] for item in sessions] == ["InternalCertificate", "QualifiedSeal"]
    listed = enrollee.client.call("POST", "/certificates/query", json={}).json()
    assert [item["certificateSerialNumber"] for item in listed["certificates"]] == [serial(certificate)]
    assert listed["certificates"][0]["lastUseDate"]
    # And renews itself: the data of the next request come from it.
    assert enrollee.enroll().subject == certificate.subject


def test_an_offline_certificate_commits_to_content_and_does_not_log_in(enrollee: Enrollee) -> None:
    certificate = enrollee.enroll(certificateType="Offline")
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.content_commitment) == (False, True)
    status = enrollee.client.login_status(enrollee.log_in_with(certificate))
    assert (status["code"], status["details"]) == (460, ["Niepoprawny certyfikat"])


def test_a_certificate_carries_its_owner_into_every_context_that_admits_him(
    enrollee: Enrollee, shared_sandbox: SandboxHandle
) -> None:
    certificate, other = enrollee.enroll(), random_nip()
    assert enrollee.client.login_status(enrollee.log_in_with(certificate, other))["code"] == 415
    wanted = {
        "contextIdentifier": {"type": "Nip", "value": other},
        "authorizedIdentifier": {"type": "Nip", "value": enrollee.client.nip},
        "permissions": [{"permissionType": "InvoiceWrite", "description": "for a test"}],
    }
    assert enrollee.client.http.post("/testdata/permissions", json=wanted).status_code == 200
    enrollee.client.finish_login(enrollee.log_in_with(certificate, other))
    # The same certificates are seen from there: they belong to the subject.
    found = enrollee.client.call("POST", "/certificates/query").json()["certificates"]
    assert [item["certificateSerialNumber"] for item in found] == [serial(certificate)]


def test_a_revoked_certificate_logs_in_no_more_and_is_revoked_once(enrollee: Enrollee) -> None:
    certificate = enrollee.enroll()
    path = f"/certificates/{serial(certificate)}/revoke"
    wanted = {"revocationReason": "KeyCompromise"}
    assert enrollee.client.call("POST", path, json=wanted).status_code == 204
    assert refusal(enrollee.client.call("POST", path)) == 25009
    status = enrollee.client.login_status(enrollee.log_in_with(certificate))
    assert (status["code"], status["details"]) == (460, ["Certyfikat odwołany"])
    found = enrollee.client.call("POST", "/certificates/query", json={"status": "Revoked"}).json()["certificates"]
    assert [item["status"] for item in found] == ["Revoked"]


@pytest.mark.parametrize("path", ["/certificates/0123456789ABCDEF/revoke", "/certificates/{}/revoke"])
def test_nobody_revokes_what_is_not_his(enrollee: Enrollee, another: Callable[[], HandClient], path: str) -> None:
    number = serial(enrollee.enroll())
    assert refusal(another().login().call("POST", path.format(number), json={})) == 25008


def test_a_certificate_made_to_look_like_an_issued_one_does_not_log_in(enrollee: Enrollee) -> None:
    real = enrollee.enroll()
    builder = x509.CertificateBuilder().subject_name(real.subject).issuer_name(real.issuer)
    builder = builder.public_key(enrollee.key.public_key()).serial_number(real.serial_number)
    builder = builder.not_valid_before(real.not_valid_before_utc).not_valid_after(real.not_valid_after_utc)
    forged = builder.sign(enrollee.key, hashes.SHA256())
    status = enrollee.client.login_status(enrollee.log_in_with(forged))
    assert (status["code"], status["details"]) == (460, ["Błąd weryfikacji łańcucha certyfikatów"])


@pytest.mark.parametrize(
    ("key", "digest", "rsa_padding"),
    [
        (rsa.generate_private_key(65537, 2048), hashes.SHA256(), None),
        (rsa.generate_private_key(65537, 2048), hashes.SHA512(), None),
        (
            rsa.generate_private_key(65537, 2048),
            hashes.SHA256(),
            padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH),
        ),
        (ec.generate_private_key(ec.SECP256R1()), hashes.SHA384(), None),
    ],
    ids=["RSA", "RSA SHA-512", "RSA-PSS", "P-256 SHA-384"],
)
def test_every_allowed_kind_of_request_is_granted(
    enrollee: Enrollee, key: PrivateKey, digest: hashes.HashAlgorithm, rsa_padding: padding.PSS | None
) -> None:
    enrollee.key = key
    csr = request(enrollee.names(), key, digest, rsa_padding)
    answer = enrollee.post(csr)
    assert answer.status_code == 202, answer.text
    assert enrollee.outcome(answer.json()["referenceNumber"])["status"]["code"] == 200


def _spoilt(csr: bytes) -> bytes:
    return csr[:-1] + bytes([csr[-1] ^ 1])


@pytest.mark.parametrize(
    ("csr", "code"),
    [
        (lambda names, key: b"no request", 25004),
        (lambda names, key: _spoilt(request(names, key)), 25004),
        (lambda names, key: request(names | {"commonName": "Inna nazwa"}, key), 25003),
        (lambda names, key: request({"commonName": names["commonName"]}, key), 25003),
        (lambda names, key: request(names, rsa.generate_private_key(65537, 3072)), 25010),
        (lambda names, key: request(names, ec.generate_private_key(ec.SECP384R1())), 25010),
        (lambda names, key: request(names, key, hashes.SHA224()), 25011),
        (lambda names, key: request(names, key, hashes.SHA3_256()), 25011),
    ],
    ids=["form", "signature", "other name", "name missing", "RSA 3072", "P-384", "SHA-224", "SHA3"],
)
def test_a_request_against_the_rules_is_refused(
    enrollee: Enrollee, csr: Callable[[dict[str, str], PrivateKey], bytes], code: int
) -> None:
    assert refusal(enrollee.post(csr(enrollee.names(), enrollee.key))) == code


@pytest.mark.parametrize(
    "changes",
    [
        {"certificateName": "abcd"},
        {"certificateName": "zły!znak"},
        {"certificateType": "Seal"},
        {"csr": "***"},
        {"validFrom": "tomorrow"},
        {"validFrom": "9999-01-01T00:00:00Z"},
        {"other": 1},
    ],
)
def test_a_body_against_the_contract_is_21405(enrollee: Enrollee, changes: dict[str, Any]) -> None:
    assert refusal(enrollee.post(**changes)) == 21405


def test_a_login_with_a_token_asks_for_nothing_and_revokes_nothing(
    enrollee: Enrollee, shared_sandbox: SandboxHandle
) -> None:
    csr, number = request(enrollee.names(), enrollee.key), serial(enrollee.enroll())
    client = enrollee.client
    made = httpx.post(f"{shared_sandbox.control_url}/tokens", json={"nip": client.nip}).json()
    client.finish_login(client.post_token(made["token"]))
    assert refusal(client.call("GET", "/certificates/enrollments/data")) == 25001
    assert refusal(enrollee.post(csr)) == 25002
    refused = client.call("POST", f"/certificates/{number}/revoke")
    assert (refused.status_code, refused.json()["reasonCode"]) == (403, "auth-method-not-allowed")


def test_a_key_certified_for_somebody_else_is_rejected_by_status(
    enrollee: Enrollee, another: Callable[[], HandClient]
) -> None:
    enrollee.enroll()
    second = Enrollee(another().login(), enrollee.key)
    outcome = second.outcome(second.post().json()["referenceNumber"])
    assert outcome["status"]["code"] == 400
    assert "inny podmiot" in outcome["status"]["details"][0]
    assert "certificateSerialNumber" not in outcome


def test_limits_are_told_and_kept(enrollee: Enrollee) -> None:
    client = enrollee.client
    assert client.call("GET", "/certificates/limits").json() == {
        "canRequest": True,
        "enrollment": {"remaining": 300, "limit": 300},
        "certificate": {"remaining": 100, "limit": 100},
    }
    wanted: dict[str, Any] = {"enrollment": {"maxEnrollments": 2}, "certificate": {"maxCertificates": 1}}
    assert client.call("POST", "/testdata/limits/subject/certificate", json=wanted).status_code == 200
    certificate = enrollee.enroll()
    told = client.call("GET", "/certificates/limits").json()
    assert (told["canRequest"], told["enrollment"]["remaining"], told["certificate"]["remaining"]) == (False, 1, 0)
    assert refusal(enrollee.post()) == 25007
    client.call("POST", f"/certificates/{serial(certificate)}/revoke")
    enrollee.enroll()
    assert refusal(enrollee.post()) == 25006
    assert client.call("DELETE", "/testdata/limits/subject/certificate").status_code == 200
    assert client.call("GET", "/limits/subject").json() == {
        "enrollment": {"maxEnrollments": 300},
        "certificate": {"maxCertificates": 100},
    }


def test_certificates_are_found_by_every_filter_and_page(enrollee: Enrollee) -> None:
    numbers = [serial(enrollee.enroll(certificateName=f"Numer {n:02}")) for n in range(11)]
    offline = serial(enrollee.enroll(certificateType="Offline", certificateName="Na fakturach"))

    def found(query: str = "", **wanted: Any) -> list[str]:
        body = enrollee.client.call("POST", f"/certificates/query{query}", json=wanted).json()
        assert body["hasMore"] == (len(body["certificates"]) == 10 and query == "")
        return [item["certificateSerialNumber"] for item in body["certificates"]]

    assert found() == [offline, *reversed(numbers[2:])]
    assert found("?pageOffset=1") == [numbers[1], numbers[0]]
    assert found("?pageSize=50", name="Numer 0") == list(reversed(numbers[:10]))
    assert found(type="Offline") == found(name="fakturach") == [offline]
    assert found(certificateSerialNumber=numbers[3]) == [numbers[3]]
    assert found(status="Expired") == []
    assert found(expiresAfter=(datetime.now(UTC) + timedelta(days=731)).isoformat()) == []
    for query in ("?pageSize=9", "?pageSize=51", "?pageOffset=-1"):
        assert refusal(enrollee.client.call("POST", f"/certificates/query{query}", json={})) == 21405


def test_only_own_certificates_are_handed_out(enrollee: Enrollee, another: Callable[[], HandClient]) -> None:
    number = serial(enrollee.enroll())
    client = another().login()
    wanted: dict[str, Any] = {"certificateSerialNumbers": [number]}
    assert client.call("POST", "/certificates/retrieve", json=wanted).json() == {"certificates": []}
    for numbers in ([], ["0123"], [number] * 11):
        wanted = {"certificateSerialNumbers": numbers}
        assert refusal(client.call("POST", "/certificates/retrieve", json=wanted)) == 21405


def test_an_enrollment_belongs_to_its_subject(enrollee: Enrollee, another: Callable[[], HandClient]) -> None:
    reference = enrollee.post().json()["referenceNumber"]
    assert another().login().call("GET", f"/certificates/enrollments/{reference}").status_code == 403
    unknown = "20260101-CE-0000000000-0000000000-00"
    assert refusal(enrollee.client.call("GET", f"/certificates/enrollments/{unknown}")) == 25005
    assert refusal(enrollee.client.call("GET", "/certificates/enrollments/short")) == 21405


def test_identifiers_come_in_their_normal_form(stranger: HandClient) -> None:
    person = {
        NameOID.GIVEN_NAME: "Jan",
        NameOID.SURNAME: "Testowy",
        NameOID.COMMON_NAME: "Jan Testowy",
        NameOID.COUNTRY_NAME: "PL",
        NameOID.SERIAL_NUMBER: f"NIP-{stranger.nip}",
    }
    document = auth_request(stranger.challenge()["challenge"], stranger.nip)
    stranger.finish_login(stranger.post_signed(sign(document, *make_certificate(person))))
    enrollee = Enrollee(stranger)
    assert enrollee.names()["serialNumber"] == f"TINPL-{stranger.nip}"
    assert enrollee.names()["givenName"] == "Jan"
    enrollee.enroll()


@pytest.mark.parametrize("days", [0.5, 300])
def test_a_certificate_is_valid_from_the_asked_day_and_logs_in_from_then_on(enrollee: Enrollee, days: float) -> None:
    start = datetime.now(UTC) + timedelta(days=days)
    certificate = enrollee.enroll(validFrom=start.isoformat())
    assert certificate.not_valid_before_utc == start.replace(microsecond=0)
    status = enrollee.client.login_status(enrollee.log_in_with(certificate))
    assert (status["code"], status["details"]) == (460, ["Nieważny certyfikat"])


def test_test_data_let_a_certificate_end_earlier_but_not_later(enrollee: Enrollee) -> None:
    certificate = enrollee.enroll()
    path = f"/testdata/certificates/{serial(certificate)}"
    later = certificate.not_valid_after_utc + timedelta(days=1)
    assert refusal(enrollee.client.call("PUT", path, json={"validTo": later.isoformat()})) == 21405
    earlier = datetime.now(UTC) - timedelta(seconds=1)
    assert enrollee.client.call("PUT", path, json={"validTo": earlier.isoformat()}).status_code == 200
    status = enrollee.client.login_status(enrollee.log_in_with(certificate))
    assert (status["code"], status["details"]) == (460, ["Nieważny certyfikat"])
    assert (
        refusal(
            enrollee.client.call("PUT", "/testdata/certificates/0123456789ABCDEF", json={"validTo": later.isoformat()})
        )
        == 25008
    )


def test_issuing_takes_time_can_fail_and_is_forgotten_after_thirty_days() -> None:
    with running_sandbox(processing_delay=60, validate="off") as handle, closing(HandClient(handle.base_url)) as client:
        enrollee = Enrollee(client.login())
        planned = {"operation": "enrollment", "status": 550}
        httpx.post(f"{handle.control_url}/outcomes", json=planned).raise_for_status()
        failing, good = (enrollee.post().json()["referenceNumber"] for _ in range(2))
        path = f"/certificates/enrollments/{good}"
        assert enrollee.client.call("GET", path).json()["status"]["code"] == 100
        assert enrollee.client.call("POST", "/certificates/query").json()["certificates"] == []
        _advance(handle, seconds=61)
        assert enrollee.outcome(failing)["status"]["code"] == 550
        certificate = enrollee.retrieve(enrollee.outcome(good)["certificateSerialNumber"])
        _advance(handle, days=30)
        client.finish_login(enrollee.log_in_with(certificate))
        gone = enrollee.client.call("GET", path)
        assert (gone.status_code, gone.headers["content-type"]) == (410, "application/problem+json")


def _advance(handle: SandboxHandle, **span: float) -> None:
    seconds = timedelta(**span).total_seconds()
    httpx.post(f"{handle.control_url}/clock", json={"advance_seconds": seconds}).raise_for_status()
