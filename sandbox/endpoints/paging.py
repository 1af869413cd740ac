"""Reader of page sizes and continuation tokens."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import TypeVar

from sandbox.errors import bad
from sandbox.guard import Call

_T = TypeVar("_T")
_SIGNATURE_BYTES = 12


def page_size(call: Call, maximum: int) -> int:
    """Return the query's `pageSize`: by default 10, at least 10, at most `maximum`; raises 21405 otherwise."""
    text = call.request.query_params.get("pageSize", "10")
    if not text.isascii() or not text.isdigit() or not 10 <= int(text) <= maximum:
        raise bad(21405, f"'pageSize' musi być liczbą od 10 do {maximum}.")
    return int(text)


def page_number(call: Call) -> int:
    """Return the query's `pageOffset`, which counts pages: by default 0; raises 21405 for an invalid number."""
    text = call.request.query_params.get("pageOffset", "0")
    if not text.isascii() or not text.isdigit() or int(text) > 2**31 - 1:
        raise bad(21405, "'pageOffset' musi być liczbą nieujemną.")
    return int(text)


def page_of(call: Call, items: Sequence[_T], size: int, scope: str) -> tuple[Sequence[_T], str | None]:
    """Return the page of the request's continuation token, and the token of the next page, or None.

    A token is valid only for its own list; another list's token or a damaged one raises 21418.
    """
    secret = call.sandbox.keys.link_secret
    start = 0
    token = call.request.headers.get("x-continuation-token")
    if token:
        start = _position(token, scope, secret)
    end = start + size
    return items[start:end], _seal(end, scope, secret) if end < len(items) else None


def _seal(position: int, scope: str, secret: bytes) -> str:
    mark = hmac.new(secret, f"{scope}:{position}".encode(), hashlib.sha256).digest()[:_SIGNATURE_BYTES]
    return base64.urlsafe_b64encode(mark + str(position).encode()).decode("ascii")


def _position(token: str, scope: str, secret: bytes) -> int:
    try:
        position = int(base64.urlsafe_b64decode(token)[_SIGNATURE_BYTES:])
    except ValueError as error:
        raise bad(21418) from error
    if not hmac.compare_digest(token.encode(), _seal(position, scope, secret).encode()):
        raise bad(21418)
    return position
