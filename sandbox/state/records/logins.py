"""Records of challenges, logins and KSeF tokens."""

from dataclasses import dataclass, field
from datetime import datetime

from sandbox.state.records.common import Identifier, Status


@dataclass(slots=True)
class Challenge:
    """A challenge, valid for ten minutes and for one login."""

    value: str
    made: datetime
    used: bool = False


@dataclass(slots=True)
class AuthOperation:
    """One login: from the signed request or token to the revocation of its refresh token."""

    reference_number: str
    context: Identifier
    subject: Identifier
    method: str
    started: datetime
    ready: datetime
    outcome: Status
    permissions: frozenset[str]
    document_hash: str | None = None
    """Base64 SHA-256 of the signed request as received; a receipt quotes it."""
    names: dict[str, str] = field(default_factory=dict)
    """Subject of the signing certificate by the contract's names (`commonName`, ...); a certificate request must
    repeat it. Empty after a login with a token."""
    token_reference: str | None = None
    allowed_ips: tuple[str, ...] = ()
    redeemed: bool = False
    revoked: bool = False
    last_refresh: datetime | None = None
    refresh_until: datetime | None = None


@dataclass(slots=True)
class KsefToken:
    """A KSeF token; its secret is stored, because the sandbox has no real secrets."""

    reference_number: str
    secret: str
    context: Identifier
    author: Identifier
    description: str
    permissions: frozenset[str]
    created: datetime
    active_from: datetime
    revoked: bool = False
    last_use: datetime | None = None

    def status(self, now: datetime) -> str:
        """Return `Pending`, `Active` or `Revoked`."""
        if self.revoked:
            return "Revoked"
        return "Active" if now >= self.active_from else "Pending"
