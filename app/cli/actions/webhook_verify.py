"""Verification of a delivery by its Standard Webhooks signature, `v1` (HMAC-SHA256) or `v1a` (ed25519).

It shares no code with the module that signs, so that each tests the other.
Source: the Standard Webhooks specification, "Verifying webhook authenticity".
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from app.cli.exit_codes import UsageProblem

TOLERANCE: Final = timedelta(minutes=5)
"""The largest difference between a delivery's timestamp and our clock, in both directions."""

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the prefix of a secret, not a secret
PUBLIC_KEY_PREFIX: Final = "whpk_"

_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of a verification: genuine, or the reason why not."""

    genuine: bool
    reason: str


class Verifier:
    """Verifies with one key: a secret (`whsec_...`) or a public key (`whpk_...`). Printing it shows nothing."""

    def __init__(self, key: str) -> None:
        """Read the key. Raises UsageProblem when the text is neither."""
        self._secret: bytes | None = None
        self._public: Ed25519PublicKey | None = None
        try:
            if key.startswith(SECRET_PREFIX):
                self._secret = _decoded(key.removeprefix(SECRET_PREFIX))
            elif key.startswith(PUBLIC_KEY_PREFIX):
                self._public = Ed25519PublicKey.from_public_bytes(_decoded(key.removeprefix(PUBLIC_KEY_PREFIX)))
        except ValueError as error:
            raise UsageProblem("--secret: its Base64 is damaged; copy it whole") from error
        if not self._secret and self._public is None:
            raise UsageProblem("--secret: give the secret (whsec_...) or the public key (whpk_...) of the webhook")

    @property
    def secret(self) -> bytes:
        """The bytes of the secret. Raises UsageProblem when the key is a public one."""
        if not self._secret:
            raise UsageProblem("--secret: a public key (whpk_...) cannot sign; give a secret (whsec_...)")
        return self._secret

    def verify(self, headers: Mapping[str, str], body: bytes, *, now: datetime) -> Verdict:
        """Verify a delivery by its headers (names in lower case) and its body as it arrived."""
        missing = [name for name in _HEADERS if not headers.get(name)]
        if missing:
            return Verdict(False, f"no header {missing[0]}")
        message_id, timestamp, signatures = (headers[name] for name in _HEADERS)
        if not (timestamp.isascii() and timestamp.isdigit()) or len(timestamp) > 12:
            return Verdict(False, "webhook-timestamp is no number of seconds")
        signed = f"{message_id}.{timestamp}.".encode() + body
        if not any(self._fits(signature, signed) for signature in signatures.split()):
            return Verdict(False, "no signature fits: another key, or the body was changed")
        # The time is checked after the signature: without a valid signature it may not be the sender's.
        late = now.timestamp() - int(timestamp)
        if abs(late) > TOLERANCE.total_seconds():
            return Verdict(
                False, f"genuine, but {abs(late):.0f} seconds {'old' if late > 0 else 'ahead of this clock'}"
            )
        return Verdict(True, "genuine")

    def _fits(self, signature: str, signed: bytes) -> bool:
        version, _, text = signature.partition(",")
        try:
            given = _decoded(text)
        except ValueError:
            return False
        if version == "v1" and self._secret is not None:
            return hmac.compare_digest(hmac.digest(self._secret, signed, hashlib.sha256), given)
        if version == "v1a" and self._public is not None:
            try:
                self._public.verify(given, signed)
            except InvalidSignature:
                return False
            return True
        return False


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
