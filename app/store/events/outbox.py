"""The outbox: writes an event and its deliveries in the transaction of the change that it reports.

The events of a session are written by the worker that has locked it, one transaction after the other, so their sequence numbers
are in the order of the changes. The dispatcher is notified of new deliveries at the commit.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

from app.store.database import Connection, queries

_SQL: Final = queries("events")
_INVOICES_OF_AN_EVENT: Final = 500


class EventType(StrEnum):
    """Types of events. Each has a JSON Schema in `schemas/events/`."""

    UPLOAD_COMPLETED = "upload.completed"
    INVOICES_ACCEPTED = "invoices.accepted"
    INVOICES_REJECTED = "invoices.rejected"
    INVOICES_UNRESOLVED = "invoices.unresolved"
    SESSION_COMPLETED = "session.completed"
    SESSION_FAILED = "session.failed"
    UPO_AVAILABLE = "upo.available"
    KSEF_UNAVAILABLE = "ksef.unavailable"
    KSEF_AVAILABLE = "ksef.available"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_TEST = "webhook.test"


class Outbox:
    """Writes events and the deliveries that follow from them."""

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
        sequence = await self._write(connection, event, tenant_id, data, session_id, now)
        await connection.execute(_SQL["add_deliveries"], {"sequences": [sequence], "now": now})
        return sequence

    async def add_for_one(
        self,
        connection: Connection,
        event: EventType,
        *,
        tenant_id: int,
        endpoint_id: UUID,
        data: Mapping[str, Any],
        now: datetime,
    ) -> UUID:
        """Write one event for this endpoint only, also if its `event_types` leave the type out; return the delivery's id."""
        delivery_id = uuid4()
        sequence = await self._write(connection, event, tenant_id, data, None, now)
        await connection.execute(
            _SQL["add_delivery"],
            {
                "id": delivery_id,
                "tenant_id": tenant_id,
                "endpoint_id": endpoint_id,
                "event_sequence": sequence,
                "now": now,
            },
        )
        return delivery_id

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
            # Planned for this session each time: sizes differ too much for one plan.
            prepare=False,
        )
        sequences = [row["sequence"] for row in await cursor.fetchall()]
        if sequences:
            await connection.execute(_SQL["add_deliveries"], {"sequences": sequences, "now": now})

    async def add_some_invoices(
        self,
        connection: Connection,
        event: EventType,
        *,
        tenant_id: int,
        session_id: UUID,
        invoice_ids: Sequence[UUID],
        now: datetime,
    ) -> None:
        """Write the events that list some of a session's invoices, up to 500 an event."""
        sequences: list[int] = []
        for start in range(0, len(invoice_ids), _INVOICES_OF_AN_EVENT):
            cursor = await connection.execute(
                _SQL["add_events_of_invoices"],
                {
                    "tenant_id": tenant_id,
                    "type": event.value,
                    "session_id": session_id,
                    "ids": list(invoice_ids[start : start + _INVOICES_OF_AN_EVENT]),
                    "now": now,
                },
            )
            sequences += [row["sequence"] for row in await cursor.fetchall()]
        if sequences:
            await connection.execute(_SQL["add_deliveries"], {"sequences": sequences, "now": now})

    async def _write(
        self,
        connection: Connection,
        event: EventType,
        tenant_id: int,
        data: Mapping[str, Any],
        session_id: UUID | None,
        now: datetime,
    ) -> int:
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
        return int(row["sequence"])
