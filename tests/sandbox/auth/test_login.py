"""Logging in: what is let in and what is refused."""

import base64
from collections.abc import Callable

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier

from tests.support.ksef_by_hand import (
    SEAL,
    HandClient,
    PrivateKey,
    SignatureShape,
    auth_request,
    make_certificate,
    random_nip,
    seal_certificate,
    sign,
)
from tests.support.sandbox_process import SandboxHandle

ORGANIZATION = ObjectIdentifier("2.5.4.97")
PERSON = {
    NameOID.GIVEN_NAME: "Jan",
    NameOID.SURNAME: "Testowy",
    NameOID.COMMON_NAME: "Jan Testowy",
    NameOID.COUNTRY_NAME: "PL",
}


def code(answer: httpx.Response) -> int:
    assert answer.status_code == 400, answer.text
    return int(answer.json()["exception"]["exceptionDetailList"][0]["exceptionCode"])


def signed(
    client: HandClient,
    shape: SignatureShape | None = None,
    certificate: tuple[x509.Certificate, PrivateKey] | None = None,
    document: str | None = None,
) -> bytes:
    document = document or auth_request(client.challenge()["challenge"], client.nip)
    return sign(document, *(certificate or seal_certificate(client.nip)), shape)


@pytest.mark.parametrize("version", ["2.0", "2.1"])
@pytest.mark.parametrize("enveloping", [False, True], ids=["enveloped", "enveloping"])
def test_both_schemas_and_both_packagings_log_in(stranger: HandClient, version: str, enveloping: bool) -> None:
    document = auth_request(stranger.challenge()["challenge"], stranger.nip, version=version)
    body = signed(stranger, SignatureShape(enveloping=enveloping), document=document)
    stranger.finish_login(stranger.post_signed(body))
    assert stranger.call("GET", "/auth/sessions").status_code == 200


@pytest.mark.parametrize(
    "key",
    [
        lambda: rsa.generate_private_key(65537, 2048),
        lambda: ec.generate_private_key(ec.SECP384R1()),
        lambda: ec.generate_private_key(ec.SECP521R1()),
    ],
    ids=["RSA", "P-384", "P-521"],
)
def test_other_kinds_of_keys_log_in(stranger: HandClient, key: Callable[[], PrivateKey]) -> None:
    certificate = make_certificate({**SEAL, ORGANIZATION: f"VATPL-{stranger.nip}"}, key())
    stranger.finish_login(stranger.post_signed(signed(stranger, certificate=certificate)))


@pytest.mark.parametrize(
    ("shape", "detail"),
    [
        (SignatureShape(certificate_property=False), "SigningCertificate"),
        (SignatureShape(certificate_digest=base64.b64encode(bytes(32)).decode()), "certyfikatu"),
        (SignatureShape(signing_time="2099-01-01T00:00:00Z"), "przyszłości"),
        (SignatureShape(signing_time="2026-01-01T00:00:00"), "strefy"),
        (SignatureShape(target="#other"), "Target"),
        (SignatureShape(properties_type="http://example.org"), "Type"),
        (SignatureShape(der_value=True), "R||S"),
        (SignatureShape(declare_transforms=False), "#props"),
    ],
    ids=["no certificate", "other certificate", "future", "no zone", "target", "type", "DER", "canonicalisation"],
)
def test_a_signature_outside_the_profile_is_9105(stranger: HandClient, shape: SignatureShape, detail: str) -> None:
    answer = stranger.post_signed(signed(stranger, shape))
    assert code(answer) == 9105
    assert detail in answer.json()["exception"]["exceptionDetailList"][0]["details"][0]


def test_a_document_changed_after_signing_is_9105(stranger: HandClient) -> None:
    body = signed(stranger)
    assert (
        code(stranger.post_signed(body.replace(stranger.nip.encode() + b"</Nip>", random_nip().encode() + b"</Nip>")))
        == 9105
    )
    assert code(stranger.post_signed(body.replace(b"<ContextIdentifier>", b"<ContextIdentifier> "))) == 9105
    assert code(stranger.post_signed(body.replace(b"<x:SigningTime>20", b"<x:SigningTime>19"))) == 9105


def test_a_signature_by_another_key_is_9105(stranger: HandClient) -> None:
    certificate, _ = seal_certificate(stranger.nip)
    _, other = seal_certificate(stranger.nip)
    assert code(stranger.post_signed(signed(stranger, certificate=(certificate, other)))) == 9105


def test_a_document_that_wraps_the_signed_one_is_refused(stranger: HandClient) -> None:
    """Signature wrapping: the signature stays good, but what stands at the root is not what was signed."""
    body = signed(stranger, SignatureShape(enveloping=True)).decode()
    victim = auth_request(stranger.challenge()["challenge"], random_nip())
    wrapped = victim.replace("</AuthTokenRequest>", f"{body}</AuthTokenRequest>")
    assert code(stranger.post_signed(wrapped.encode())) == 9105


def test_no_signature_two_signatures_and_nonsense_have_codes_of_their_own(stranger: HandClient) -> None:
    document = auth_request(stranger.challenge()["challenge"], stranger.nip)
    assert code(stranger.post_signed(document.encode())) == 9102
    once = signed(stranger, document=document).decode()
    signature = once[once.index("<ds:Signature ") : once.index("</ds:Signature>") + len("</ds:Signature>")]
    assert code(stranger.post_signed(once.replace(signature, signature * 2).encode())) == 9103
    assert code(stranger.post_signed(b"<broken")) == 21001
    assert code(stranger.post_signed(b"<a>\xff</a>")) == 21217
    assert code(stranger.post_signed(b"<!DOCTYPE a><a/>")) == 9101
    answer = stranger.http.post("/auth/xades-signature", json={})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("<Challenge>", "<Chalenge>"),
        ("auth/token/2.0", "auth/token/3.0"),
        ("certificateSubject", "certificateOwner"),
        ("</SubjectIdentifierType>", "</SubjectIdentifierType><Extra/>"),
        ("<Nip>", "<Nip>1"),
        ("<Nip>", "<Nip> "),
        ("<ContextIdentifier>", "<ContextIdentifier><PeppolId>PPL123456</PeppolId>"),
        ("<ContextIdentifier>", "text<ContextIdentifier>"),
    ],
)
def test_a_request_against_its_schema_is_21401(stranger: HandClient, old: str, new: str) -> None:
    document = auth_request(stranger.challenge()["challenge"], stranger.nip).replace(old, new)
    if old == "<Challenge>":
        document = document.replace("</Challenge>", "</Chalenge>")
    assert code(stranger.post_signed(signed(stranger, document=document))) == 21401


def test_the_order_of_elements_matters(stranger: HandClient) -> None:
    challenge = f"<Challenge>{stranger.challenge()['challenge']}</Challenge>"
    document = auth_request("X", stranger.nip).replace("<Challenge>X</Challenge>", "")
    document = document.replace("</AuthTokenRequest>", f"{challenge}</AuthTokenRequest>")
    assert code(stranger.post_signed(signed(stranger, document=document))) == 21401


def test_a_challenge_is_good_once_and_only_if_it_was_given(stranger: HandClient) -> None:
    body = signed(stranger)
    assert stranger.post_signed(body).status_code == 202
    assert code(stranger.post_signed(body)) == 21111
    unknown = auth_request("20260101-CR-AAAAAAAAAA-AAAAAAAAAA-AA", stranger.nip)
    assert code(stranger.post_signed(signed(stranger, document=unknown))) == 21111


@pytest.mark.parametrize(
    "attributes",
    [
        SEAL,
        {**SEAL, ORGANIZATION: "5265877635"},
        {**SEAL, ORGANIZATION: "VATPL-5265877635", NameOID.GIVEN_NAME: "Jan", NameOID.SURNAME: "Testowy"},
        PERSON,
        {**PERSON, NameOID.SERIAL_NUMBER: "5265877635"},
        {**{k: v for k, v in PERSON.items() if k != NameOID.SURNAME}, NameOID.SERIAL_NUMBER: "TINPL-5265877635"},
        {k: v for k, v in {**SEAL, ORGANIZATION: "VATPL-5265877635"}.items() if k != NameOID.COUNTRY_NAME},
    ],
    ids=["no NIP", "no prefix", "seal of a person", "person without number", "bare number", "no surname", "no country"],
)
def test_a_certificate_that_does_not_say_whose_it_is_is_21115(
    stranger: HandClient, attributes: dict[ObjectIdentifier, str]
) -> None:
    assert code(stranger.post_signed(signed(stranger, certificate=make_certificate(attributes)))) == 21115


def test_a_weak_key_is_21115(stranger: HandClient) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    certificate = make_certificate({**SEAL, ORGANIZATION: f"VATPL-{stranger.nip}"}, weak)
    assert code(stranger.post_signed(signed(stranger, certificate=certificate))) == 21115


def test_an_expired_certificate_and_an_untrusted_chain_end_460(stranger: HandClient) -> None:
    expired = make_certificate({**SEAL, ORGANIZATION: f"VATPL-{stranger.nip}"}, days=10, age=20)
    assert stranger.login_status(stranger.post_signed(signed(stranger, certificate=expired)))["code"] == 460
    answer = stranger.post_signed(signed(stranger), "?verifyCertificateChain=true")
    assert stranger.login_status(answer)["code"] == 460


def test_the_context_of_another_company_is_415_until_it_grants_something(
    stranger: HandClient, shared_sandbox: SandboxHandle
) -> None:
    mine = random_nip()
    certificate = seal_certificate(mine)
    started = stranger.post_signed(signed(stranger, certificate=certificate))
    assert stranger.login_status(started)["code"] == 415
    redeemed = stranger.call("POST", "/auth/token/redeem", token=started.json()["authenticationToken"]["token"])
    assert code(redeemed) == 21301
    grant = {"nip": stranger.nip, "subject_type": "Nip", "subject": mine, "permissions": ["InvoiceRead"]}
    assert httpx.post(f"{shared_sandbox.control_url}/grants", json=grant).status_code == 204
    stranger.finish_login(stranger.post_signed(signed(stranger, certificate=certificate)))
    refused = stranger.call("GET", "/sessions", params={"sessionType": "Batch"})
    assert refused.status_code == 403
    assert refused.json()["reasonCode"] == "missing-permissions"
    assert refused.json()["security"]["presentPermissions"] == ["InvoiceRead"]


def test_a_person_with_the_companys_number_logs_in(stranger: HandClient) -> None:
    certificate = make_certificate({**PERSON, NameOID.SERIAL_NUMBER: f"TINPL-{stranger.nip}"})
    stranger.finish_login(stranger.post_signed(signed(stranger, certificate=certificate)))


@pytest.mark.parametrize(
    ("allowed", "status"),
    [
        ("<Ip4Address>127.0.0.1</Ip4Address>", 200),
        ("<Ip4Range>127.0.0.0-127.0.0.9</Ip4Range>", 200),
        ("<Ip4Mask>127.0.0.0/8</Ip4Mask>", 200),
        ("<Ip4Address>10.0.0.1</Ip4Address>", 403),
        ("<Ip4Mask>10.0.0.0/8</Ip4Mask>", 403),
    ],
)
def test_a_policy_of_addresses_is_kept(stranger: HandClient, allowed: str, status: int) -> None:
    policy = f"<AuthorizationPolicy><AllowedIps>{allowed}</AllowedIps></AuthorizationPolicy>"
    document = auth_request(stranger.challenge()["challenge"], stranger.nip, version="2.1", policy=policy)
    started = stranger.post_signed(signed(stranger, document=document))
    body = started.json()
    token = body["authenticationToken"]["token"]
    answer = stranger.call("GET", f"/auth/{body['referenceNumber']}", token=token)
    assert answer.status_code == status
    assert status == 200 or answer.json()["reasonCode"] == "ip-not-allowed"


@pytest.mark.parametrize(
    "allowed",
    [
        "<Ip4Address>127.0.0.300</Ip4Address>",
        "<Ip4Mask>127.0.0.0/33</Ip4Mask>",
        "<Ip4Mask>127.0.0.0/8</Ip4Mask><Ip4Address>127.0.0.1</Ip4Address>",
        "<Ip4Address>127.0.0.1</Ip4Address>" * 11,
    ],
)
def test_a_policy_against_its_schema_is_21401(stranger: HandClient, allowed: str) -> None:
    policy = f"<AuthorizationPolicy><AllowedIps>{allowed}</AllowedIps></AuthorizationPolicy>"
    document = auth_request(stranger.challenge()["challenge"], stranger.nip, version="2.1", policy=policy)
    assert code(stranger.post_signed(signed(stranger, document=document))) == 21401


def test_tokens_are_redeemed_once(stranger: HandClient) -> None:
    started = stranger.post_signed(signed(stranger))
    stranger.finish_login(started)
    again = stranger.call("POST", "/auth/token/redeem", token=started.json()["authenticationToken"]["token"])
    assert code(again) == 21301
    assert stranger.call("POST", "/auth/token/redeem").status_code == 401


def test_logging_out_ends_refreshing_but_not_the_access_token(client: HandClient) -> None:
    refreshed = client.call("POST", "/auth/token/refresh", token=client.refresh_token)
    assert refreshed.status_code == 200
    (current,) = client.call("GET", "/auth/sessions").json()["items"]
    assert current["isCurrent"]
    assert client.call("DELETE", "/auth/sessions/current").status_code == 204
    assert code(client.call("POST", "/auth/token/refresh", token=client.refresh_token)) == 21301
    assert client.call("GET", "/auth/sessions").json()["items"] == []


def test_another_login_can_be_ended_by_its_number(client: HandClient) -> None:
    first = client.refresh_token
    client.login()
    others = [item for item in client.call("GET", "/auth/sessions").json()["items"] if not item["isCurrent"]]
    assert client.call("DELETE", f"/auth/sessions/{others[0]['referenceNumber']}").status_code == 204
    assert code(client.call("POST", "/auth/token/refresh", token=first)) == 21301
    assert client.call("POST", "/auth/token/refresh", token=client.refresh_token).status_code == 200


def test_limits_can_be_read(client: HandClient) -> None:
    assert client.call("GET", "/limits/subject").status_code == 200
    assert client.call("GET", "/rate-limits").json()["batchSession"]["perHour"] == -1
