"""Certificate requests by hand, and logging in with what comes of them."""

import base64
from dataclasses import dataclass, field
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from tests.support.ksef_by_hand import HandClient, PrivateKey, auth_request, poll, sign

OIDS = {
    "commonName": NameOID.COMMON_NAME,
    "surname": NameOID.SURNAME,
    "givenName": NameOID.GIVEN_NAME,
    "serialNumber": NameOID.SERIAL_NUMBER,
    "countryName": NameOID.COUNTRY_NAME,
    "organizationName": NameOID.ORGANIZATION_NAME,
    "organizationIdentifier": ObjectIdentifier("2.5.4.97"),
}


def request(
    names: dict[str, str],
    key: PrivateKey,
    digest: hashes.HashAlgorithm | None = None,
    rsa_padding: padding.PSS | None = None,
) -> bytes:
    """A PKCS#10 request, DER."""
    subject = x509.Name([x509.NameAttribute(OIDS[member], value) for member, value in names.items()])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    made = builder.sign(key, digest or hashes.SHA256(), rsa_padding=rsa_padding)  # type: ignore[arg-type]  # tests of refused digests, too
    return made.public_bytes(serialization.Encoding.DER)


@dataclass
class Enrollee:
    """A logged-in client that asks for certificates."""

    client: HandClient
    key: PrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def names(self) -> dict[str, str]:
        """What a request must contain."""
        body: dict[str, str] = self.client.call("GET", "/certificates/enrollments/data").json()
        return body

    def post(self, der: bytes | None = None, **changes: Any) -> httpx.Response:
        """Ask for a certificate; `changes` override members of the request."""
        body = {
            "certificateName": "Certyfikat testowy",
            "certificateType": "Authentication",
            "csr": base64.b64encode(der if der is not None else request(self.names(), self.key)).decode(),
        }
        return self.client.call("POST", "/certificates/enrollments", json=body | changes)

    def outcome(self, reference: str) -> dict[str, Any]:
        """A request's final status document."""

        def ask() -> dict[str, Any]:
            body: dict[str, Any] = self.client.call("GET", f"/certificates/enrollments/{reference}").json()
            return body

        return poll(ask, lambda body: int(body["status"]["code"]) != 100)

    def enroll(self, **changes: Any) -> x509.Certificate:
        """Get a certificate."""
        answer = self.post(**changes)
        assert answer.status_code == 202, answer.text
        outcome = self.outcome(answer.json()["referenceNumber"])
        assert outcome["status"]["code"] == 200, outcome
        return self.retrieve(outcome["certificateSerialNumber"])

    def retrieve(self, number: str) -> x509.Certificate:
        """The certificate of that number."""
        wanted = {"certificateSerialNumbers": [number]}
        body = self.client.call("POST", "/certificates/retrieve", json=wanted).json()
        return x509.load_der_x509_certificate(base64.b64decode(body["certificates"][0]["certificate"]))

    def log_in_with(self, certificate: x509.Certificate, context: str | None = None, query: str = "") -> httpx.Response:
        """Start a login with a certificate of this key."""
        document = auth_request(self.client.challenge()["challenge"], context or self.client.nip)
        return self.client.post_signed(sign(document, certificate, self.key), query)


def serial(certificate: x509.Certificate) -> str:
    """The number as KSeF writes it."""
    return f"{certificate.serial_number:016X}"
