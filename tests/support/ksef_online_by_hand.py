"""Online sessions by hand: what `ksef_by_hand` does for packages."""

import base64
import secrets
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.ksef_by_hand import HandClient, Package, encrypt, poll, sha256


@dataclass
class OnlineSession:
    """An open online session of a client."""

    client: HandClient
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    iv: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    reference: str = ""

    def open_body(self) -> dict[str, Any]:
        """The request that opens it."""
        body = self.client.open_body(Package(b"-", key=self.key, iv=self.iv))
        return {"formCode": body["formCode"], "encryption": body["encryption"]}

    def open(self) -> "OnlineSession":
        """Open it; it must open."""
        answer = self.client.call("POST", "/sessions/online", json=self.open_body())
        assert answer.status_code == 201, answer.text
        self.reference = answer.json()["referenceNumber"]
        return self

    def send_body(self, document: bytes, **changes: Any) -> dict[str, Any]:
        """The request that sends a document; `changes` override its members."""
        encrypted = encrypt(document, self.key, self.iv)
        body = {
            "invoiceHash": sha256(document),
            "invoiceSize": len(document),
            "encryptedInvoiceHash": sha256(encrypted),
            "encryptedInvoiceSize": len(encrypted),
            "encryptedInvoiceContent": base64.b64encode(encrypted).decode(),
        }
        return {**body, **changes}

    def post(self, document: bytes, **changes: Any) -> httpx.Response:
        """Send a document."""
        path = f"/sessions/online/{self.reference}/invoices"
        return self.client.call("POST", path, json=self.send_body(document, **changes))

    def send(self, document: bytes, **changes: Any) -> dict[str, Any]:
        """Send a document that must be taken, and wait for what becomes of it."""
        answer = self.post(document, **changes)
        assert answer.status_code == 202, answer.text
        return self.outcome(answer.json()["referenceNumber"])

    def outcome(self, reference: str) -> dict[str, Any]:
        """An invoice's final status document."""
        path = f"/sessions/{self.reference}/invoices/{reference}"

        def ask() -> dict[str, Any]:
            body: dict[str, Any] = self.client.call("GET", path).json()
            return body

        return poll(ask, lambda body: int(body["status"]["code"]) >= 200)

    def close(self) -> httpx.Response:
        """Close it."""
        return self.client.call("POST", f"/sessions/online/{self.reference}/close")

    def finish(self) -> dict[str, Any]:
        """Close it and wait for its last status."""
        closed = self.close()
        assert closed.status_code == 204, closed.text
        return self.client.final_status(self.reference)


def refusal(answer: httpx.Response) -> int:
    """The code of a refused request."""
    assert answer.status_code == 400, answer.text
    return int(answer.json()["exception"]["exceptionDetailList"][0]["exceptionCode"])
