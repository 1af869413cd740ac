"""Sealing: puts the oldest queued invoices of a lane into a new session."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from psycopg.rows import DictRow

from app.domain.history import HistoryAction, HistoryOutcome
from app.domain.states import InvoiceState
from app.store.database import Connection, queries
from app.store.sessions.journal import add_history
from app.store.uploads import state_counts
from app.store.uploads.chunks import ENTRY_OVERHEAD_BYTES

_SQL: Final = queries("session_sealing")


@dataclass(frozen=True, slots=True)
class Backlog:
    """Queue of a lane: invoices, their bytes as ready entries, and the arrival of the oldest, of all and of those of today."""

    invoices: int
    bytes: int
    oldest: datetime | None
    oldest_of_today: datetime | None


class SealingStore:
    """Reads the queues of lanes and seals sessions, always in the caller's transaction."""

    async def lock_lane(self, connection: Connection, lane_id: int) -> DictRow | None:
        """Lock a lane for sealing and return its row, with `disabled` of its tenant."""
        return await (await connection.execute(_SQL["lock_lane"], {"lane_id": lane_id})).fetchone()

    async def backlog(self, connection: Connection, lane_id: int, *, today: date) -> Backlog:
        """Return the queue of a lane. Chunks whose latest `P_1` is `today` or later count as today's."""
        parameters = {"lane_id": lane_id, "today": today}
        row = await (await connection.execute(_SQL["lane_backlog"], parameters)).fetchone()
        assert row is not None  # noqa: S101 - an aggregate without groups gives a row
        return Backlog(**row)

    async def lanes_with_backlog(self, connection: Connection, *, today: date) -> list[tuple[DictRow, Backlog]]:
        """Return every lane with queued invoices whose tenant is not disabled: its row, and its backlog as `backlog`."""
        cursor = await connection.execute(_SQL["lanes_with_backlog"], {"today": today})
        return [
            (row, Backlog(row["invoices"], row["bytes"], row["oldest"], row["oldest_of_today"]))
            for row in await cursor.fetchall()
        ]

    async def seal(
        self,
        connection: Connection,
        lane: Mapping[str, Any],
        *,
        session_id: UUID,
        max_invoices: int,
        max_bytes: int,
        now: datetime,
    ) -> int:
        """Give a new session the oldest invoices of a lane, within both limits; returns how many it got.

        A single entry above `max_bytes` cannot exist: documents are limited to 3 MB long before.
        """
        await connection.execute(
            _SQL["add_session"],
            {
                "id": session_id,
                "tenant_id": lane["tenant_id"],
                "lane_id": lane["id"],
                "form_code": lane["form_code"],
                "offline_mode": lane["offline_mode"],
                "compression": lane["compression"],
                "now": now,
            },
        )
        taken, size = 0, 0
        latest: date | None = None
        by_upload: dict[UUID, int] = {}
        cursor = await connection.execute(_SQL["queued_chunks"], {"lane_id": lane["id"], "limit": max_invoices})
        for chunk in await cursor.fetchall():
            if taken >= max_invoices:
                break
            # Nearly always all queued invoices of a chunk fit, and then no row has to be counted.
            fits = chunk["queued"] <= max_invoices - taken and chunk["queued_bytes"] <= max_bytes - size
            rows = await connection.execute(
                _SQL["take_chunk" if fits else "take_invoices"],
                {
                    "session_id": session_id,
                    "first": chunk["id"],
                    "last": chunk["last_id"],
                    "limit": max_invoices - taken,
                    "max_bytes": max_bytes - size,
                    "overhead": ENTRY_OVERHEAD_BYTES,
                },
            )
            got = 0
            for row in await rows.fetchall():
                by_upload[row["upload_id"]] = by_upload.get(row["upload_id"], 0) + row["n"]
                got += row["n"]
                size += row["bytes"]
                latest = max(filter(None, (latest, row["latest"])), default=None)
            taken += got
            if got < chunk["queued"]:
                break
        await connection.execute(
            _SQL["set_session_size"], {"id": session_id, "invoices": taken, "latest_issue_date": latest}
        )
        await add_history(
            connection, session_id, HistoryAction.SEAL, HistoryOutcome.SEALED, {"invoices": taken}, now=now
        )
        await state_counts.move(connection, by_upload, old=InvoiceState.QUEUED, new=InvoiceState.PACKED)
        return taken
