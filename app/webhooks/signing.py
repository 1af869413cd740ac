"""Standard Webhooks signatures, which prove that a delivery is from this service: `v1` (HMAC-SHA256) and `v1a` (ed25519).

Source: the Standard Webhooks specification 1.0.0, "Signature scheme" and "Webhook headers"; the tests verify with its
reference library, and `v1a`, which the library lacks, directly with ed25519.
"""

import base64
import hashlib
import hmac
import secrets as randomness
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET_BYTES: Final = 32
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a prefix, not a secret
PUBLIC_KEY_PREFIX: Final = "whpk_"

ROTATION_OVERLAP: Final = timedelta(hours=24)
"""How long the old key signs beside the new one after a rotation."""

MAX_KEYS: Final = 5
"""Keys of one endpoint that sign at the same time: each adds a signature to a header that must stay short."""


class Signing(StrEnum):
    """The kind of signature of an endpoint's deliveries."""

    HMAC = "hmac"
    """With a shared secret, so the receiver could sign, too."""
    ED25519 = "ed25519"
    """With a private key of the service; the receiver has the public key."""


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """A secret shared with one receiver. Its repr shows neither secret nor key."""

    key: bytes = field(repr=False)
    expires_at: datetime | None = None

    @property
    def text(self) -> str:
        """The form that the receiver gets: `whsec_` and Base64."""
        return SECRET_PREFIX + _base64(self.key)

    def sign(self, content: bytes) -> str:
        """Sign: `v1,` and the Base64 of HMAC-SHA256."""
        return "v1," + _base64(hmac.digest(self.key, content, hashlib.sha256))


@dataclass(frozen=True, slots=True)
class SigningKeyPair:
    """An ed25519 key of one endpoint, by its 32 secret bytes. Its repr shows neither secret nor key."""

    key: bytes = field(repr=False)
    expires_at: datetime | None = None
    _private: Ed25519PrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_private", Ed25519PrivateKey.from_private_bytes(self.key))

    @property
    def public_text(self) -> str:
        """The form that the receiver gets: `whpk_` and Base64 of the public key's 32 bytes."""
        return PUBLIC_KEY_PREFIX + _base64(self._private.public_key().public_bytes_raw())

    def sign(self, content: bytes) -> str:
        """Sign: `v1a,` and the Base64 of the signature."""
        return "v1a," + _base64(self._private.sign(content))


SigningKey = SigningSecret | SigningKeyPair


def new_key(signing: Signing) -> SigningKey:
    """Generate a random key."""
    key = randomness.token_bytes(SECRET_BYTES)
    return SigningSecret(key) if signing is Signing.HMAC else SigningKeyPair(key)


def stored_form(key: SigningKey) -> dict[str, Any]:
    """Return the form that is stored encrypted. Older rows have no `signing`: they are all secrets."""
    signing = Signing.HMAC if isinstance(key, SigningSecret) else Signing.ED25519
    expires = key.expires_at.isoformat() if key.expires_at else None
    return {"signing": signing.value, "key": _base64(key.key), "expires_at": expires}


def from_stored_form(shape: Mapping[str, Any]) -> SigningKey:
    """Return the key of a stored form."""
    kind = SigningSecret if shape.get("signing", Signing.HMAC.value) == Signing.HMAC.value else SigningKeyPair
    expires = shape["expires_at"]
    return kind(base64.b64decode(shape["key"]), datetime.fromisoformat(expires) if expires else None)


def rotated(keys: Sequence[SigningKey], new: SigningKey, *, now: datetime) -> tuple[SigningKey, ...]:
    """Return the keys after a rotation, the new one first.

    The previous key expires after the overlap; keys that already expire keep their time.
    """
    end = now + ROTATION_OVERLAP
    older = tuple(replace(key, expires_at=key.expires_at or end) for key in in_force(keys, now=now))
    return (new, *older)[:MAX_KEYS]


def in_force(keys: Sequence[SigningKey], *, now: datetime) -> tuple[SigningKey, ...]:
    """Return the keys that sign now, newest first."""
    return tuple(key for key in keys if key.expires_at is None or key.expires_at > now)


def signed_headers(keys: Sequence[SigningKey], *, message_id: str, body: bytes, now: datetime) -> dict[str, str]:
    """Return the three Standard Webhooks headers; with several keys in force, one signature for each, newest first.

    The signed content is the id, the seconds since 1970 and the body, joined by dots.
    """
    timestamp = int(now.timestamp())
    content = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    signatures = [key.sign(content) for key in in_force(keys, now=now)]
    if not signatures:
        raise ValueError("an endpoint without a key in force cannot sign")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
