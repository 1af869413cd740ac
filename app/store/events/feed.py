"""Reads a tenant's events in their order, for `GET /v1/events`.

The order is (transaction, sequence) and ends before the oldest transaction that still runs. So a reader that continues from the
last cursor misses no event, even one whose transaction was committed late.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.rows import DictRow

from app.domain.ids import public_id
from app.errors import NotFound
from app.store.database import Database, queries

_SQL: Final = queries("event_feed")

MAX_PAGE_BYTES: Final = 400_000
"""Stored bytes of events on one page. They are compressed five to ten times, so an answer has a few MB."""


@dataclass(frozen=True, slots=True, order=True)
class EventCursor:
    """A position in a tenant's events: after the event `event_id`."""

    written_by: int
    sequence: int
    event_id: UUID = field(compare=False)

    @property
    def public_id(self) -> str:
        """The id of the event that this cursor is after, as users see it."""
        return public_id("evt", self.event_id)


BEGINNING: Final = EventCursor(0, 0, UUID(int=0))
"""Before the first event of any tenant. Its public id, all zeros, is a cursor like any other."""


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Events after a cursor, oldest first (id, type, created_at, data as JSON text), and where to go on."""

    rows: Sequence[DictRow]
    more: bool
    """There are more of the wanted events already."""
    cursor: EventCursor
    """Whether no wanted event lies between this cursor and the last row."""


class EventFeed:
    """Reads events. Writing them is the outbox's business."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cursor_of(self, tenant_id: int, event_id: UUID) -> EventCursor:
        """Give the cursor after an event of a tenant. Raises NotFound when the tenant has no such event (any more)."""
        if event_id == BEGINNING.event_id:
            return BEGINNING
        row = await self._database.fetch_one(_SQL["event_position"], {"tenant_id": tenant_id, "id": event_id})
        if row is None:
            raise NotFound(f"there is no event {public_id('evt', event_id)}")
        return EventCursor(int(row["written_by"]), row["sequence"], event_id)

    async def page(
        self,
        tenant_id: int,
        *,
        after: EventCursor,
        types: Sequence[str] | None = None,
        since: datetime | None = None,
        limit: int = 100,
        max_bytes: int = MAX_PAGE_BYTES,
    ) -> FeedPage:
        """Give a tenant's events after a cursor: at most `limit`, and one at least if there is any.

        `types` None means all; `since` leaves out events that happened before it. Without more to give, the cursor is after
        the newest event of any type, so that the events that a filter leaves out are not read twice.
        """
        parameters: dict[str, Any] = {
            "tenant_id": tenant_id,
            "written_by": str(after.written_by),
            "sequence": after.sequence,
            "types": list(types) if types is not None else None,
            "since": since,
            "limit": limit,
            "max_bytes": max_bytes,
        }
        found = await self._database.fetch_all(_SQL["events_page"], parameters)
        if not found:
            return FeedPage((), False, after)
        rows = [row for row in found if row["id"] is not None]
        first = found[0]
        if rows and first["found"] > len(rows):
            last = rows[-1]
            return FeedPage(rows, True, EventCursor(int(last["written_by"]), last["sequence"], last["id"]))
        newest = EventCursor(int(first["newest_written_by"]), first["newest_sequence"], first["newest_id"])
        # A webhook may have delivered an event that is not shown yet: such a cursor is ahead of all others.
        return FeedPage(rows, False, max(newest, after))

    async def newest(self, tenant_ids: Sequence[int]) -> dict[int, EventCursor]:
        """Give the cursor after the newest event of each of these tenants; those without events are left out."""
        rows = await self._database.fetch_all(_SQL["newest_events"], {"tenants": list(tenant_ids)})
        return {row["tenant_id"]: EventCursor(int(row["written_by"]), row["sequence"], row["id"]) for row in rows}
