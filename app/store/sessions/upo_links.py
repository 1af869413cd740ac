"""Links to receipts that work without an API key for a limited time, so that receivers of events can pass them on.

A link contains the tenant, the session, the page and its expiry, and a MAC under a key derived from a data key. Nothing is
stored, so a link cannot be revoked; links of a disabled tenant do not work.
"""

import base64
import binascii
import hmac
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import UUID

from app.domain.timestamps import iso_utc
from app.errors import RequestError
from app.store.keys.envelope import Envelope

LIFETIME: Final = timedelta(days=4)
"""Longer than an event is retried at most, so that the links of a late event still work. After that the API path serves."""

# Form, tenant, session, page, seconds since 1970 until which it works; then the MAC.
_PLACE: Final = struct.Struct(">BI16sIQ")
_FORM: Final = 1
_PURPOSE: Final = "upo-link"


class LinkInvalid(RequestError):
    """The link is not one of ours, or its time is over. Fetch the receipt with an API key instead."""

    status: ClassVar[int] = 403
    code: ClassVar[str] = "link-invalid"
    title: ClassVar[str] = "Link not valid"


@dataclass(frozen=True, slots=True)
class UpoPlace:
    """The page that a link leads to."""

    tenant_id: int
    session_id: UUID
    page: int


class UpoLinks:
    """Makes and reads links to pages of receipts. Printing it shows nothing."""

    def __init__(self, box: Envelope) -> None:
        self._key = box.derived_key(_PURPOSE)
        # Of links that a version without data keys made; they end by themselves.
        self._earlier_key = box.direct_derived_key(_PURPOSE)

    def __repr__(self) -> str:
        return "UpoLinks(***)"

    def with_links(
        self, pages: Sequence[Mapping[str, Any]], *, tenant_id: int, session_id: UUID, now: datetime
    ) -> list[dict[str, Any]]:
        """Add to the pages of a session's document what an event has besides: `link` and `link_expires_at`."""
        expires = now + LIFETIME
        return [
            dict(page)
            | {
                "link": self.path(UpoPlace(tenant_id, session_id, page["page"]), expires=expires),
                "link_expires_at": iso_utc(expires),
            }
            for page in pages
        ]

    def path(self, place: UpoPlace, *, expires: datetime) -> str:
        """Give the path of a page that works until `expires`."""
        head = _PLACE.pack(_FORM, place.tenant_id, place.session_id.bytes, place.page, int(expires.timestamp()))
        token = base64.urlsafe_b64encode(head + _mac(self._key, head)).rstrip(b"=").decode()
        return f"/v1/upo?token={token}"

    def read(self, token: str, *, now: datetime) -> UpoPlace:
        """Give the page that a token leads to. Raises LinkInvalid; the database need not be asked for that."""
        try:
            raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise LinkInvalid from error
        head, mac = raw[: _PLACE.size], raw[_PLACE.size :]
        if not any(hmac.compare_digest(mac, _mac(key, head)) for key in (self._key, self._earlier_key)):
            raise LinkInvalid
        form, tenant_id, session, page, expires = _PLACE.unpack(head)
        if form != _FORM or now >= datetime.fromtimestamp(expires, UTC):
            raise LinkInvalid
        return UpoPlace(tenant_id, UUID(bytes=session), page)


def _mac(key: bytes, head: bytes) -> bytes:
    return hmac.digest(key, head, "sha256")
