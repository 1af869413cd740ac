"""The SDK `ksef-client`, as its users have it, pointed at a sandbox. Nothing of it is replaced or patched.

It gets the sandbox's address and one of its own options: its strict check of storage links wants https, which the
sandbox does not speak. It refuses links to loopback addresses in any case, so the sandbox is called by a host name
that only this process resolves.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from ksef_client import KsefClient, KsefClientOptions
from ksef_client.models import FormCode
from ksef_client.services import AuthCoordinator, AuthResult, XadesKeyPair

from tests.support.ksef_by_hand import PrivateKey, seal_certificate
from tests.support.sandbox_process import SandboxHandle

HOST = "ksef.sandbox.test"
FA3 = FormCode(system_code="FA (3)", schema_version="1-0E", value="FA")
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Sdk:
    """A client of the SDK and what most tests ask of it."""

    client: KsefClient

    def public_key(self, usage: str) -> dict[str, Any]:
        """The published key of a usage, as arguments of the SDK's own functions."""
        for item in self.client.security.get_public_key_certificates():
            if usage in {getattr(name, "value", name) for name in item.usage}:
                return {"public_certificate": item.certificate, "public_key_id": item.public_key_id}
        raise AssertionError(f"no key for {usage}")

    def login_by_token(self, nip: str, token: str) -> AuthResult:
        """Log in with a KSeF token."""
        return AuthCoordinator(self.client.auth).authenticate_with_ksef_token(
            token=token,
            context_identifier_type="Nip",
            context_identifier_value=nip,
            poll_interval_seconds=_POLL_SECONDS,
            **self.public_key("KsefTokenEncryption"),
        )

    def login_by_seal(self, nip: str, key: PrivateKey | None = None, **options: Any) -> AuthResult:
        """Log in with a signature that the SDK makes itself (with xmlsec), as the owner of a NIP."""
        return self.login_by_pair(nip, key_pair_of(*seal_certificate(nip, key)), **options)

    def login_by_pair(self, nip: str, pair: XadesKeyPair, **options: Any) -> AuthResult:
        """Log in with a certificate and its key."""
        return AuthCoordinator(self.client.auth).authenticate_with_xades_key_pair(
            key_pair=pair,
            context_identifier_type="Nip",
            context_identifier_value=nip,
            subject_identifier_type="certificateSubject",
            poll_interval_seconds=_POLL_SECONDS,
            **options,
        )


def key_pair_of(certificate: Any, key: PrivateKey) -> XadesKeyPair:
    """A certificate and its key, as the SDK takes them."""
    return XadesKeyPair(
        certificate_pem=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        private_key_pem=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )


@contextmanager
def third_party_sdk(sandbox: SandboxHandle, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sdk]:
    """The SDK with nothing but the address of a sandbox, which has a host name for as long as this lasts."""
    real = socket.getaddrinfo

    def resolve(host: Any, *args: Any, **kwargs: Any) -> Any:
        return real("127.0.0.1" if host in {HOST, HOST.encode()} else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    options = KsefClientOptions(base_url=f"http://{HOST}:{sandbox.port}", strict_presigned_url_validation=False)
    with KsefClient(options) as client:
        yield Sdk(client)
