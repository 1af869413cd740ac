"""Checks the request headers that a tenant defines for an endpoint, in addition to those of every delivery."""

import re
from collections.abc import Mapping
from typing import ClassVar, Final

from app.errors import RequestError

MAX_HEADERS: Final = 20
MAX_NAME_CHARACTERS: Final = 64
MAX_VALUE_CHARACTERS: Final = 2_048
MAX_CHARACTERS: Final = 8_000
"""Characters of all names and values together: many servers refuse a head of more than 8 KB."""

MASK: Final = "***"
"""Shown instead of a value; in a change it keeps the stored value."""

# RFC 9110: a token; visible ASCII with spaces and tabs inside only. Line breaks are refused, and so are characters that a proxy
# might interpret differently.
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE: Final = re.compile(r"[\x21-\x7e]+(?:[ \t]+[\x21-\x7e]+)*")

_RESERVED: Final = frozenset(
    {
        # They describe the connection, which the service manages (RFC 9110, 7.6.1).
        "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings",
        # They describe the message, which the service writes.
        "host", "expect", "date", "accept-encoding", "user-agent", "max-forwards", "via",
        # They would name a false origin of the request.
        "forwarded", "x-real-ip",
    }
)  # fmt: skip
_RESERVED_PREFIXES: Final = ("webhook-", "content-", "proxy-", "x-forwarded-", ":")


class InvalidWebhookHeaders(RequestError):
    """The webhook's own headers cannot be sent; `detail` says why."""

    status: ClassVar[int] = 422
    code: ClassVar[str] = "invalid-webhook-headers"
    title: ClassVar[str] = "Invalid webhook headers"


def checked_headers(given: Mapping[str, str], *, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the headers to send, names as written. `known` are the stored ones, whose values replace masks.

    Raises InvalidWebhookHeaders; its text never contains a value.
    """
    if len(given) > MAX_HEADERS:
        raise InvalidWebhookHeaders(f"a webhook has at most {MAX_HEADERS} headers of its own")
    kept = {name.lower(): value for name, value in (known or {}).items()}
    checked: dict[str, str] = {}
    for name, value in given.items():
        _check_name(name)
        if name.lower() in {other.lower() for other in checked}:
            raise InvalidWebhookHeaders(f"the header {name} is given twice; names do not differ by capitals")
        if value == MASK:
            if name.lower() not in kept:
                raise InvalidWebhookHeaders(f"the value of {name} is a mask, and there is no value to keep")
            checked[name] = kept[name.lower()]
            continue
        _check_value(name, value)
        checked[name] = value
    if sum(len(name) + len(value) for name, value in checked.items()) > MAX_CHARACTERS:
        raise InvalidWebhookHeaders(f"the headers have more than {MAX_CHARACTERS} characters together")
    return checked


def _check_name(name: str) -> None:
    shown = name[:MAX_NAME_CHARACTERS]
    if len(name) > MAX_NAME_CHARACTERS:
        raise InvalidWebhookHeaders(f"a header's name has at most {MAX_NAME_CHARACTERS} characters")
    if name.lower() in _RESERVED or name.lower().startswith(_RESERVED_PREFIXES):
        raise InvalidWebhookHeaders(f"the header {shown} cannot be set by a tenant")
    if not _NAME.fullmatch(name):
        raise InvalidWebhookHeaders(f"{shown!r} cannot be the name of a header")


def _check_value(name: str, value: str) -> None:
    if len(value) > MAX_VALUE_CHARACTERS:
        raise InvalidWebhookHeaders(f"the value of {name} has more than {MAX_VALUE_CHARACTERS} characters")
    if not _VALUE.fullmatch(value):
        raise InvalidWebhookHeaders(f"the value of {name} must be visible ASCII, with spaces only inside")
