"""Dispatch: records KSeF's answer to the opening of a session, and which parts its storage has."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.domain.history import HistoryAction, HistoryOutcome
from app.domain.states import InvoiceState
from app.store.database import Connection, Database, queries
from app.store.keys.envelope import Envelope
from app.store.keys.places import upload_target_of
from app.store.sessions.journal import add_history
from app.store.uploads.state_counts import move_returned

_SQL: Final = queries("session_dispatch")


class DispatchStore:
    """Rows of a session during dispatch: opened, its parts stored, its invoices sent."""

    def __init__(self, database: Database, box: Envelope) -> None:
        self._database = database
        self._box = box

    async def opened(
        self,
        session_id: UUID,
        *,
        reference_number: str,
        targets: Mapping[int, Mapping[str, Any]],
        now: datetime,
    ) -> bool:
        """Record KSeF's answer to open, before any part goes out; False when another run did so first."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                _SQL["opened"], {"id": session_id, "reference_number": reference_number, "now": now}
            )
            row = await cursor.fetchone()
            if row is None:
                return False
            for ordinal_number, target in targets.items():
                place = upload_target_of(row["tenant_id"], session_id, ordinal_number)
                sealed = self._box.encrypt(json.dumps(dict(target)).encode(), place)
                await connection.execute(
                    _SQL["set_upload_target"],
                    {"session_id": session_id, "ordinal_number": ordinal_number, "upload_target": sealed},
                )
            detail = {"reference_number": reference_number, "parts": len(targets)}
            await add_history(connection, session_id, HistoryAction.OPEN, HistoryOutcome.OPENED, detail, now=now)
        return True

    async def upload_targets(self, session_id: UUID) -> dict[int, dict[str, Any]]:
        """Decrypt the upload target of each part: {ordinal: {method, url, headers}}. The links are secrets."""
        rows = await self._database.fetch_all(_SQL["upload_targets"], {"session_id": session_id})
        return {
            row["ordinal_number"]: json.loads(
                self._box.decrypt(
                    row["upload_target"], upload_target_of(row["tenant_id"], session_id, row["ordinal_number"])
                )
            )
            for row in rows
        }

    async def part_uploaded(self, session_id: UUID, ordinal_number: int, *, now: datetime) -> None:
        """Record that storage answered 201 for a part."""
        async with self._database.transaction() as connection:
            await connection.execute(
                _SQL["part_uploaded"], {"session_id": session_id, "ordinal_number": ordinal_number, "now": now}
            )
            detail = {"ordinal_number": ordinal_number}
            await add_history(connection, session_id, HistoryAction.PUT_PART, HistoryOutcome.STORED, detail, now=now)

    async def part_missing(self, session_id: UUID, ordinal_number: int, *, now: datetime) -> None:
        """Record that KSeF does not have a part that we sent."""
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["part_missing"], {"session_id": session_id, "ordinal_number": ordinal_number})
            detail = {"ordinal_number": ordinal_number}
            await add_history(connection, session_id, HistoryAction.CLOSE, HistoryOutcome.PART_MISSING, detail, now=now)

    async def renew_key(self, session_id: UUID) -> None:
        """Count that the session's AES key is wrapped with another public key."""
        await self._database.execute(_SQL["renew_key"], {"id": session_id})

    async def mark_sent(self, connection: Connection, session_id: UUID) -> int:
        """Move the session's invoices from packed to sent; returns how many."""
        cursor = await connection.execute(_SQL["mark_sent"], {"session_id": session_id})
        return await move_returned(connection, cursor, old=InvoiceState.PACKED, new=InvoiceState.SENT)
