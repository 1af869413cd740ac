"""A client that others wrote and others use gets a batch through the sandbox."""

import socket
from typing import Any

import httpx
import pytest
from ksef_client import KsefClient, KsefClientOptions
from ksef_client.models import FormCode
from ksef_client.services.workflows import AuthCoordinator, BatchSessionWorkflow

from tests.support.ksef_by_hand import invoice, poll, random_nip, sha256, tar_package, zip_package
from tests.support.sandbox_process import SandboxHandle

HOST = "ksef.sandbox.test"


@pytest.fixture
def named_host(monkeypatch: pytest.MonkeyPatch, shared_sandbox: SandboxHandle) -> str:
    """The sandbox under a host name: that client refuses links to localhost."""
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        return real("127.0.0.1" if host in {HOST, HOST.encode()} else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return f"http://{HOST}:{shared_sandbox.port}"


@pytest.mark.parametrize("compression", ["Zip", "TarGz"])
def test_it_logs_in_with_a_token_and_sends_a_batch(
    named_host: str, shared_sandbox: SandboxHandle, compression: str
) -> None:
    nip = random_nip()
    made = httpx.post(f"{shared_sandbox.control_url}/tokens", json={"nip": nip}).json()
    options = KsefClientOptions(base_url=named_host, strict_presigned_url_validation=False)
    with KsefClient(options) as client:
        published = client.security.get_public_key_certificates()
        keys = {getattr(usage, "value", usage): item for item in published for usage in item.usage}
        login = AuthCoordinator(client.auth).authenticate_with_ksef_token(
            token=made["token"],
            public_certificate=keys["KsefTokenEncryption"].certificate,
            public_key_id=keys["KsefTokenEncryption"].public_key_id,
            context_identifier_type="Nip",
            context_identifier_value=nip,
            poll_interval_seconds=0.05,
        )
        build = zip_package if compression == "Zip" else tar_package
        sent = {f"{number}.xml": invoice(f"SDK/{number}", nip) for number in range(5)}
        reference = BatchSessionWorkflow(client.sessions, client.http_client).open_upload_and_close(
            form_code=FormCode(system_code="FA (3)", schema_version="1-0E", value="FA"),
            archive_bytes=build(sent),
            compression_type=compression,
            public_certificate=keys["SymmetricKeyEncryption"].certificate,
            public_key_id=keys["SymmetricKeyEncryption"].public_key_id,
            access_token=login.access_token,
        )

        def status() -> dict[str, Any]:
            answer = client.sessions.get_session_status(reference, access_token=login.access_token)
            return {"code": answer.status.code, "accepted": answer.successful_invoice_count}

        assert poll(status, lambda body: int(body["code"]) >= 200) == {"code": 200, "accepted": 5}
        listed = client.sessions.get_session_invoices(reference, access_token=login.access_token)
        assert {item.invoice_hash for item in listed.invoices} == {sha256(content) for content in sent.values()}
