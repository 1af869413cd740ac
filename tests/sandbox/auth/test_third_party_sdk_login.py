"""A client that others wrote and others use logs in: by signature, by token, and with what it made in KSeF."""

import base64
from collections.abc import Callable

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from ksef_client.exceptions import KsefApiError
from ksef_client.models import GenerateTokenRequest, TokenPermissionType

from tests.support.ksef_by_hand import PrivateKey, poll, random_nip, seal_certificate
from tests.support.sandbox_process import SandboxHandle
from tests.support.third_party_sdk import Sdk, key_pair_of


def rsa_key() -> PrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def elliptic_key() -> PrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize("make_key", [rsa_key, elliptic_key])
@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_it_logs_in_with_its_own_xades_signature(sdk: Sdk, make_key: Callable[[], PrivateKey], version: str) -> None:
    login = sdk.login_by_seal(random_nip(), make_key(), auth_request_schema_version=version)
    status = sdk.client.auth.get_auth_status(login.reference_number, login.authentication_token)
    assert status.status.code == 200
    assert status.is_token_redeemed
    renewed = sdk.client.auth.refresh_access_token(login.refresh_token)
    assert sdk.client.limits.get_context_limits(renewed.access_token.token).batch_session.max_invoices == 50


def test_its_signature_with_a_key_that_is_not_the_certificates_is_refused(sdk: Sdk) -> None:
    nip = random_nip()
    certificate, _ = seal_certificate(nip)
    with pytest.raises(KsefApiError) as refused:
        sdk.login_by_pair(nip, key_pair_of(certificate, elliptic_key()))
    assert refused.value.status_code == 400
    assert "9105" in str(refused.value.exception_response) + str(refused.value.response_body)


def test_it_logs_in_with_a_token(sdk: Sdk, shared_sandbox: SandboxHandle) -> None:
    nip = random_nip()
    made = httpx.post(f"{shared_sandbox.control_url}/tokens", json={"nip": nip}).json()
    login = sdk.login_by_token(nip, made["token"])
    listed = sdk.client.auth.get_active_sessions(access_token=login.access_token)
    assert [item.reference_number for item in listed.items if item.is_current] == [login.reference_number]


def test_a_token_that_it_made_logs_in_until_it_is_revoked(sdk: Sdk) -> None:
    nip = random_nip()
    owner = sdk.login_by_seal(nip).access_token
    wanted = GenerateTokenRequest(description="nocna wysyłka", permissions=[TokenPermissionType.INVOICEWRITE])
    made = sdk.client.tokens.generate_token(wanted, access_token=owner)

    def state() -> dict[str, str]:
        return {"status": sdk.client.tokens.get_token_status(made.reference_number, access_token=owner).status.value}

    assert poll(state, lambda answer: answer["status"] != "Pending") == {"status": "Active"}
    assert sdk.login_by_token(nip, made.token).access_token
    listed = sdk.client.tokens.list_tokens(access_token=owner)
    assert [item.description for item in listed.tokens] == ["nocna wysyłka"]
    sdk.client.tokens.revoke_token(made.reference_number, access_token=owner)
    poll(state, lambda answer: answer["status"] == "Revoked")
    with pytest.raises(RuntimeError, match="450"):
        sdk.login_by_token(nip, made.token)


def test_the_pair_of_tokens_is_redeemed_once(sdk: Sdk) -> None:
    login = sdk.login_by_seal(random_nip())
    with pytest.raises(KsefApiError) as refused:
        sdk.client.auth.redeem_token(login.authentication_token)
    assert "21301" in str(refused.value.exception_response) + str(refused.value.response_body)


def test_published_keys_are_certificates_that_it_reads(sdk: Sdk) -> None:
    for usage in ("KsefTokenEncryption", "SymmetricKeyEncryption"):
        assert len(base64.b64decode(sdk.public_key(usage)["public_key_id"])) == 32
