"""Requests for certificates, and certificates."""

from dataclasses import dataclass
from datetime import datetime

from sandbox.state.records.common import Identifier, Status


@dataclass(slots=True)
class Enrollment:
    """A request for a certificate. The outcome is known at once, but told only from `ready` on."""

    reference_number: str
    owner: Identifier
    requested: datetime
    ready: datetime
    outcome: Status
    serial_number: str | None = None


@dataclass(slots=True)
class KsefCertificate:
    """A certificate that the sandbox issued; it belongs to a subject, not to a context."""

    serial_number: str
    name: str
    type: str
    """Authentication or Offline."""
    owner: Identifier
    common_name: str
    der: bytes
    public_key_hash: str
    requested: datetime
    available: datetime
    """When the request for it is answered; nobody sees it before."""
    valid_from: datetime
    valid_to: datetime
    """May be earlier than the certificate itself says: test data shorten it."""
    revoked: bool = False
    last_use: datetime | None = None

    def status(self, now: datetime) -> str:
        """`Active`, `Revoked` or `Expired`; the passing `Blocked` lasts no time here."""
        if self.revoked:
            return "Revoked"
        return "Expired" if now >= self.valid_to else "Active"
