"""Access, refresh and authentication tokens: JWT with HS256, written and read only by this module.

Clients must treat them as opaque; the claims have KSeF's names, so that a decoded token resembles KSeF's.
"""

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

_HEADER = {"alg": "HS256", "typ": "JWT"}


class InvalidToken(Exception):
    """The token was not issued here, was changed, or has expired."""


def encode_token(claims: dict[str, Any], secret: bytes) -> str:
    """Sign the claims."""
    signed = f"{_encode(json.dumps(_HEADER).encode())}.{_encode(json.dumps(claims).encode())}"
    return f"{signed}.{_encode(_sign(signed, secret))}"


def decode_token(token: str, secret: bytes, now: float) -> dict[str, Any]:
    """Return the claims of a genuine token that has not expired; raises InvalidToken otherwise."""
    signed, _, signature = token.rpartition(".")
    try:
        given = _decode(signature)
        if not hmac.compare_digest(given, _sign(signed, secret)):
            raise InvalidToken("signature")
        header, _, body = signed.partition(".")
        if json.loads(_decode(header)) != _HEADER:
            raise InvalidToken("header")
        claims = json.loads(_decode(body))
    except (ValueError, binascii.Error) as error:
        raise InvalidToken("form") from error
    if not isinstance(claims, dict) or claims["exp"] <= now:
        raise InvalidToken("expired")
    return claims


def _sign(text: str, secret: bytes) -> bytes:
    return hmac.new(secret, text.encode("utf-8"), hashlib.sha256).digest()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
