"""Deliveries to webhook endpoints: the history with every attempt, a retry of one delivery, and the removal of old ones."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.rows import DictRow

from app.domain.ids import public_id
from app.domain.timestamps import iso_utc
from app.errors import Conflict, NotFound
from app.store.database import Database, queries
from app.webhooks.delivery import event_body

_SQL: Final = queries("deliveries")

OLD_EVENTS_AT_ONCE: Final = 500


class DeliveryStore:
    """Rows of deliveries and attempts, as tenants see them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, tenant_id: int, endpoint_id: UUID, *, before: UUID | None, state: str | None, limit: int
    ) -> list[DictRow]:
        """Give an endpoint's deliveries with their `tries`, newest event first, older than the delivery `before`."""
        rows = await self._database.fetch_all(
            _SQL["list_deliveries"],
            {"tenant_id": tenant_id, "endpoint_id": endpoint_id, "before": before, "state": state, "limit": limit},
        )
        return await self._with_tries(rows)

    async def get(self, tenant_id: int, delivery_id: UUID) -> DictRow:
        """Give one delivery with its `tries`. Raises NotFound."""
        row = await self._database.fetch_one(_SQL["get_delivery"], {"tenant_id": tenant_id, "id": delivery_id})
        if row is None:
            raise _no_delivery(delivery_id)
        return (await self._with_tries([row]))[0]

    async def body(self, tenant_id: int, delivery_id: UUID) -> bytes:
        """Give the body that every attempt carries, byte for byte. Raises NotFound."""
        row = await self._database.fetch_one(_SQL["delivery_body"], {"tenant_id": tenant_id, "id": delivery_id})
        if row is None:
            raise _no_delivery(delivery_id)
        return body_of_event(row)

    async def retry(self, tenant_id: int, delivery_id: UUID, *, now: datetime) -> None:
        """Make a delivery due now, also one that is finished. One that is due already is left as it is.

        Raises NotFound, or Conflict when its endpoint is disabled or deleted.
        """
        async with self._database.transaction() as connection:
            cursor = await connection.execute(_SQL["lock_delivery"], {"tenant_id": tenant_id, "id": delivery_id})
            row = await cursor.fetchone()
            if row is None:
                raise _no_delivery(delivery_id)
            if row["endpoint_deleted_at"] is not None or row["endpoint_disabled_at"] is not None:
                words = "deleted" if row["endpoint_deleted_at"] is not None else "disabled"
                raise Conflict(f"the delivery's webhook is {words}")
            if row["state"] == "pending" and row["next_attempt_at"] <= now:
                return
            await connection.execute(_SQL["reopen_delivery"], {"id": delivery_id, "now": now})

    async def remove_old_for_job(self, *, before: datetime, limit: int = OLD_EVENTS_AT_ONCE) -> int:
        """Remove events older than a moment, with their deliveries and attempts, except those with a pending delivery.

        In transactions of a bounded size. Safe to repeat, and to stop at any moment. Returns how many events went.
        """
        after, removed = 0, 0
        while True:
            row = await self._database.fetch_one(
                _SQL["remove_old_events"], {"before": before, "after": after, "limit": limit}
            )
            if row is None or row["last"] is None:
                return removed
            after, removed = row["last"], removed + row["removed"]

    async def _with_tries(self, rows: list[DictRow]) -> list[DictRow]:
        attempts = await self._database.fetch_all(_SQL["list_attempts"], {"ids": [row["id"] for row in rows]})
        tries: dict[UUID, list[DictRow]] = {row["id"]: [] for row in rows}
        for attempt in attempts:
            tries[attempt["delivery_id"]].append(attempt)
        return [row | {"tries": tries[row["id"]]} for row in rows]


def body_of_event(row: DictRow) -> bytes:
    """Return the body of an event as consumers get it, from its row: id, type, created_at, tenant, data as JSON text."""
    parts: dict[str, Any] = {
        "id": public_id("evt", row["id"]),
        "type": row["type"],
        "timestamp": iso_utc(row["created_at"]),
        "tenant": public_id("ten", row["tenant"]),
        "data": row["data"],
    }
    return event_body(parts)


def _no_delivery(delivery_id: UUID) -> NotFound:
    return NotFound(f"there is no delivery {public_id('dlv', delivery_id)}")
