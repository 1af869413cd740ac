"""Proof that a delivery is ours: Standard Webhooks signatures (scheme v1, HMAC-SHA256).

Source: the Standard Webhooks specification, "Signature scheme"; the tests verify with its reference library.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

SECRET_BYTES: Final = 32
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the prefix that tells what the text is, not a secret

ROTATION_OVERLAP: Final = timedelta(hours=24)
"""How long the old secret goes on signing beside the new one."""

MAX_SECRETS: Final = 5
"""Secrets of one endpoint that sign at the same time: each adds a signature to a header that must stay short."""


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """A secret shared with one receiver. Printing it shows nothing."""

    key: bytes
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"SigningSecret(***, expires_at={self.expires_at!r})"

    @property
    def text(self) -> str:
        """The form that the receiver gets: `whsec_` and Base64."""
        return SECRET_PREFIX + base64.b64encode(self.key).decode()

    def as_dict(self) -> dict[str, Any]:
        """Give the shape that is stored, encrypted."""
        expires = self.expires_at.isoformat() if self.expires_at else None
        return {"key": base64.b64encode(self.key).decode(), "expires_at": expires}

    @classmethod
    def from_dict(cls, shape: Mapping[str, Any]) -> "SigningSecret":
        """Undo `as_dict`."""
        expires = shape["expires_at"]
        return cls(base64.b64decode(shape["key"]), datetime.fromisoformat(expires) if expires else None)


def rotated(secrets: Sequence[SigningSecret], new: SigningSecret, *, now: datetime) -> tuple[SigningSecret, ...]:
    """Put a new secret first. The one before it expires after the overlap; those already expiring keep their time."""
    end = now + ROTATION_OVERLAP
    older = tuple(SigningSecret(secret.key, secret.expires_at or end) for secret in in_force(secrets, now=now))
    return (new, *older)[:MAX_SECRETS]


def in_force(secrets: Sequence[SigningSecret], *, now: datetime) -> tuple[SigningSecret, ...]:
    """Give the secrets that sign now, newest first."""
    return tuple(secret for secret in secrets if secret.expires_at is None or secret.expires_at > now)


def sign(secret: SigningSecret, *, message_id: str, timestamp: int, body: bytes) -> str:
    """Sign one message: `v1,` and the Base64 of HMAC-SHA256 over id, timestamp (seconds since 1970) and body."""
    mac = hmac.new(secret.key, f"{message_id}.{timestamp}.".encode(), hashlib.sha256)
    mac.update(body)
    return "v1," + base64.b64encode(mac.digest()).decode()


def signed_headers(secrets: Sequence[SigningSecret], *, message_id: str, body: bytes, now: datetime) -> dict[str, str]:
    """Give the three Standard Webhooks headers; with several secrets in force, one signature for each, newest first."""
    timestamp = int(now.timestamp())
    signatures = [
        sign(secret, message_id=message_id, timestamp=timestamp, body=body) for secret in in_force(secrets, now=now)
    ]
    if not signatures:
        raise ValueError("an endpoint without a secret in force cannot be signed for")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
