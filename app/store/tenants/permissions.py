"""Permissions of each tenant to send, as KSeF reported them, and the time of the next query.

So far that is one permission: invoices with attachments. An unknown or outdated permission lets a document through, and KSeF
decides.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from app.domain.timestamps import iso_utc
from app.ksef.permissions import AttachmentConsent
from app.store.database import Connection, Database, queries

_SQL: Final = queries("permissions")

ASK_EVERY: Final = timedelta(days=1)
ASK_AT_MOST_EVERY: Final = timedelta(hours=1)
"""Pause between queries after a failure, and while attachments are refused."""
REFUSED_FOR: Final = timedelta(days=7)
"""Pause after a 403: the login may not query permissions. A new credential is used at once."""
_WANTED_FOR: Final = timedelta(days=1)
_YES_HOLDS: Final = timedelta(days=2)
_NO_HOLDS: Final = timedelta(hours=2)
"""The consent can be given at any moment, and a document that KSeF would take must not be refused here."""


@dataclass(frozen=True, slots=True)
class KnownPermissions:
    """A tenant's permissions; all None before the first query."""

    attachments_allowed: bool | None = None
    attachments_end_at: datetime | None = None
    refused: str | None = None
    """KSeF's reason for refusing the query."""
    fetched_at: datetime | None = None

    def attachments_at(self, now: datetime) -> bool | None:
        """Return whether the tenant may send attachments; None when that is unknown or outdated."""
        if self.attachments_allowed is None or self.fetched_at is None:
            return None
        ended = self.attachments_end_at is not None and self.attachments_end_at <= now
        allowed = self.attachments_allowed and not ended
        # A consent that ended after the query counts as refused since its end; before, since the query.
        since = self.fetched_at
        if ended and self.attachments_allowed and self.attachments_end_at is not None:
            since = max(since, self.attachments_end_at)
        return allowed if now - since <= (_YES_HOLDS if allowed else _NO_HOLDS) else None

    def as_json(self, now: datetime) -> dict[str, Any]:
        """Give the shape of `GET /v1/me`."""
        return {
            "allowed": self.attachments_at(now),
            "ends_at": iso_utc(self.attachments_end_at),
            "reason": self.refused,
            "checked_at": iso_utc(self.fetched_at),
        }


class PermissionStore:
    """Rows of permissions, one a tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, tenant_id: int) -> KnownPermissions:
        """Return the stored permissions, however old."""
        row = await self._database.fetch_one(_SQL["load_permissions"], {"tenant_id": tenant_id})
        if row is None:
            return KnownPermissions()
        return KnownPermissions(
            row["attachments_allowed"], row["attachments_end_at"], row["refused"], row["fetched_at"]
        )

    async def due_for_job(self, *, now: datetime, limit: int) -> list[int]:
        """Return tenants whose permissions are to be queried: new ones first, then those whose answer is old."""
        rows = await self._database.fetch_all(_SQL["due_permissions"], {"now": now, "limit": limit})
        return [row["id"] for row in rows]

    async def reserve_query(self, tenant_id: int, *, now: datetime) -> bool:
        """Return whether this caller is to query. No other caller is within the hour, even if the query fails."""
        row = await self._database.fetch_one(
            _SQL["reserve_permissions"], {"tenant_id": tenant_id, "now": now, "pause": ASK_AT_MOST_EVERY}
        )
        return row is not None

    async def save(self, tenant_id: int, consent: AttachmentConsent, *, now: datetime) -> None:
        """Store the permissions that KSeF has just reported. An end before the next query brings that query forward."""
        good_for = ASK_EVERY
        if consent.allowed and consent.ends_at is not None and consent.ends_at > now:
            good_for = min(good_for, max(consent.ends_at - now, ASK_AT_MOST_EVERY))
        await self._database.execute(
            _SQL["save_permissions"],
            {
                "tenant_id": tenant_id,
                "allowed": consent.allowed,
                "ends_at": consent.ends_at,
                "good_for": good_for,
                "pause": ASK_AT_MOST_EVERY,
                "wanted_for": _WANTED_FOR,
                "now": now,
            },
        )

    async def refuse(self, tenant_id: int, reason: str, *, now: datetime) -> None:
        """Record that the tenant's login may not query permissions, so that it is not used for a week."""
        await self._database.execute(
            _SQL["refuse_permissions"],
            {"tenant_id": tenant_id, "reason": reason, "pause": REFUSED_FOR, "now": now},
        )

    async def record_refused_attachment(
        self, tenant_id: int, *, now: datetime, connection: Connection | None = None
    ) -> None:
        """Record that an attachment was refused, here or by KSeF.

        The permission is queried at once, or an hour after the last query.
        """
        values = {"tenant_id": tenant_id, "pause": ASK_AT_MOST_EVERY, "now": now}
        if connection is not None:
            await connection.execute(_SQL["record_refused_attachment"], values)
        else:
            await self._database.execute(_SQL["record_refused_attachment"], values)
