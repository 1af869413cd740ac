"""The outbox: an event is written in the transaction of the change that it tells of, its deliveries with it."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

from app.store.database import Connection, queries
from app.store.jobs import JobQueue, Task

_SQL: Final = queries("events")


class EventType(StrEnum):
    """What can be told. Each type has a JSON Schema in `schemas/events/`."""

    UPLOAD_COMPLETED = "upload.completed"
    INVOICES_ACCEPTED = "invoices.accepted"
    INVOICES_REJECTED = "invoices.rejected"
    SESSION_COMPLETED = "session.completed"
    SESSION_FAILED = "session.failed"
    UPO_AVAILABLE = "upo.available"
    KSEF_UNAVAILABLE = "ksef.unavailable"
    KSEF_AVAILABLE = "ksef.available"
    WEBHOOK_TEST = "webhook.test"


class Outbox:
    """Writes events and the deliveries that follow from them."""

    def __init__(self, jobs: JobQueue) -> None:
        self._jobs = jobs

    async def add(
        self,
        connection: Connection,
        event: EventType,
        *,
        tenant_id: int,
        data: Mapping[str, Any],
        now: datetime,
        session_id: UUID | None = None,
    ) -> int:
        """Write one event in the caller's transaction and return its sequence number."""
        cursor = await connection.execute(
            _SQL["add_event"],
            {
                "id": uuid4(),
                "tenant_id": tenant_id,
                "type": event.value,
                "now": now,
                "session_id": session_id,
                "data": json.dumps(data, ensure_ascii=False),
            },
        )
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - INSERT ... RETURNING gives a row
        await self._deliver(connection, [row["sequence"]], now=now)
        return int(row["sequence"])

    async def add_invoices(
        self,
        connection: Connection,
        event: EventType,
        *,
        tenant_id: int,
        session_id: UUID,
        states: Sequence[str],
        now: datetime,
    ) -> None:
        """Write the events that list a session's invoices in these states, up to 500 an event."""
        cursor = await connection.execute(
            _SQL["add_invoice_events"],
            {
                "tenant_id": tenant_id,
                "type": event.value,
                "session_id": session_id,
                "states": list(states),
                "now": now,
            },
        )
        await self._deliver(connection, [row["sequence"] for row in await cursor.fetchall()], now=now)

    async def _deliver(self, connection: Connection, sequences: list[int], *, now: datetime) -> None:
        if not sequences:
            return
        cursor = await connection.execute(_SQL["add_deliveries"], {"sequences": sequences, "now": now})
        for row in await cursor.fetchall():
            await self._jobs.defer(Task.DELIVER_EVENT, connection=connection, delivery_id=str(row["id"]))
