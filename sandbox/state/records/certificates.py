"""Records of certificate requests and certificates."""

from dataclasses import dataclass
from datetime import datetime

from sandbox.state.records.common import Identifier, Status


@dataclass(slots=True)
class Enrollment:
    """A request for a certificate. Its outcome is known at once, but shown only from `ready` on."""

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
    """The time from which the certificate is visible, the end of its request's processing."""
    valid_from: datetime
    valid_to: datetime
    """The end of validity; test data can make it earlier than in the certificate itself."""
    revoked: bool = False
    last_use: datetime | None = None

    def status(self, now: datetime) -> str:
        """Return `Active`, `Revoked` or `Expired`; the temporary `Blocked` does not occur here."""
        if self.revoked:
            return "Revoked"
        return "Expired" if now >= self.valid_to else "Active"
