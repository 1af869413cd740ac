"""Pre-signed links in Azure's style: a link is valid without a token, unchanged byte for byte, until it expires."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import quote, unquote

VERSION = "2025-01-05"
_BACKDATED = timedelta(minutes=15)
_FORMAT = "%Y-%m-%dT%H:%M:%SZ"

Permission = Literal["r", "w"]


def sign_link(path: str, permission: Permission, now: datetime, expires: datetime, secret: bytes) -> str:
    """Return the path with its signed query string. Its Base64 is percent-encoded, so re-encoding would break it."""
    return f"{path}?{_query(path, permission, now - _BACKDATED, expires, secret)}"


def link_fault(path: str, raw_query: str, permission: Permission, now: datetime, secret: bytes) -> str | None:
    """Return the fault of a used link, or None."""
    fields = dict(item.partition("=")[::2] for item in raw_query.split("&"))
    try:
        start = _time(fields["st"])
        expires = _time(fields["se"])
    except (KeyError, ValueError):
        return "Signature fields are missing or malformed."
    expected = _query(path, permission, start, expires, secret)
    if not hmac.compare_digest(raw_query.encode(), expected.encode()):
        return "Signature did not match."
    if not start <= now <= expires:
        return "Signature not valid in the specified time frame."
    return None


def _query(path: str, permission: Permission, start: datetime, expires: datetime, secret: bytes) -> str:
    times = f"{start.astimezone(UTC):{_FORMAT}}", f"{expires.astimezone(UTC):{_FORMAT}}"
    text = "\n".join((VERSION, *times, "b", permission, path))
    signature = base64.b64encode(hmac.new(secret, text.encode(), hashlib.sha256).digest()).decode("ascii")
    st, se, sig = (quote(value, safe="") for value in (*times, signature))
    return f"sv={VERSION}&st={st}&se={se}&sr=b&sp={permission}&sig={sig}"


def _time(text: str) -> datetime:
    return datetime.strptime(unquote(text), _FORMAT).replace(tzinfo=UTC)
