"""Proof that a delivery is ours: Standard Webhooks signatures, `v1` (HMAC-SHA256) and `v1a` (ed25519).

Source: the Standard Webhooks specification 1.0.0, "Signature scheme" and "Webhook headers"; the tests verify with its
reference library, and `v1a`, which that does not know, with ed25519 by hand.
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
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the prefix that tells what the text is, not a secret
PUBLIC_KEY_PREFIX: Final = "whpk_"

ROTATION_OVERLAP: Final = timedelta(hours=24)
"""How long the old key goes on signing beside the new one."""

MAX_KEYS: Final = 5
"""Keys of one endpoint that sign at the same time: each adds a signature to a header that must stay short."""


class Signing(StrEnum):
    """How an endpoint's deliveries are signed."""

    HMAC = "hmac"
    """With a secret that both sides have: whoever can verify could also sign."""
    ED25519 = "ed25519"
    """With a key that only we have; the receiver has its public half."""


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """A secret shared with one receiver. Printing it shows nothing."""

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
    """An ed25519 key of one endpoint, by its 32 secret bytes. Printing it shows nothing."""

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
    """Make a key by chance."""
    key = randomness.token_bytes(SECRET_BYTES)
    return SigningSecret(key) if signing is Signing.HMAC else SigningKeyPair(key)


def stored_form(key: SigningKey) -> dict[str, Any]:
    """Give the shape that is stored, encrypted. Older rows have no `signing`: they are all secrets."""
    signing = Signing.HMAC if isinstance(key, SigningSecret) else Signing.ED25519
    expires = key.expires_at.isoformat() if key.expires_at else None
    return {"signing": signing.value, "key": _base64(key.key), "expires_at": expires}


def from_stored_form(shape: Mapping[str, Any]) -> SigningKey:
    """Undo `stored_form`."""
    kind = SigningSecret if shape.get("signing", Signing.HMAC.value) == Signing.HMAC.value else SigningKeyPair
    expires = shape["expires_at"]
    return kind(base64.b64decode(shape["key"]), datetime.fromisoformat(expires) if expires else None)


def rotated(keys: Sequence[SigningKey], new: SigningKey, *, now: datetime) -> tuple[SigningKey, ...]:
    """Put a new key first. The one before it expires after the overlap; those already expiring keep their time."""
    end = now + ROTATION_OVERLAP
    older = tuple(replace(key, expires_at=key.expires_at or end) for key in in_force(keys, now=now))
    return (new, *older)[:MAX_KEYS]


def in_force(keys: Sequence[SigningKey], *, now: datetime) -> tuple[SigningKey, ...]:
    """Give the keys that sign now, newest first."""
    return tuple(key for key in keys if key.expires_at is None or key.expires_at > now)


def signed_headers(keys: Sequence[SigningKey], *, message_id: str, body: bytes, now: datetime) -> dict[str, str]:
    """Give the three Standard Webhooks headers; with several keys in force, one signature for each, newest first.

    What is signed: the id, the seconds since 1970 and the body, joined by dots.
    """
    timestamp = int(now.timestamp())
    content = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    signatures = [key.sign(content) for key in in_force(keys, now=now)]
    if not signatures:
        raise ValueError("an endpoint without a key in force cannot be signed for")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
