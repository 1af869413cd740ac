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
from app.store.sessions.ownership import OwnershipLost, fence
from app.store.sessions.session import Session
from app.store.uploads.state_counts import move_returned

_SQL: Final = queries("session_dispatch")


class DispatchStore:
    """Rows of a session during dispatch: opened, its parts stored, its invoices sent."""

    def __init__(self, database: Database, box: Envelope) -> None:
        self._database = database
        self._box = box

    async def opened(
        self,
        session: Session,
        *,
        reference_number: str,
        targets: Mapping[int, Mapping[str, Any]],
        now: datetime,
    ) -> None:
        """Record KSeF's answer to open, before any part goes out. Raises OwnershipLost, also when another run did so first."""
        async with self._database.transaction() as connection:
            parameters = {
                "id": session.id,
                "epoch": session.owner_epoch,
                "reference_number": reference_number,
                "now": now,
            }
            if await (await connection.execute(_SQL["opened"], parameters)).fetchone() is None:
                raise OwnershipLost
            for ordinal_number, target in targets.items():
                place = upload_target_of(session.tenant_id, session.id, ordinal_number)
                sealed = self._box.encrypt(json.dumps(dict(target)).encode(), place)
                await connection.execute(
                    _SQL["set_upload_target"],
                    {"session_id": session.id, "ordinal_number": ordinal_number, "upload_target": sealed},
                )
            detail = {"reference_number": reference_number, "parts": len(targets)}
            await add_history(connection, session.id, HistoryAction.OPEN, HistoryOutcome.OPENED, detail, now=now)

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

    async def part_uploaded(self, session: Session, ordinal_number: int, *, now: datetime) -> None:
        """Record that storage answered 201 for a part. Raises OwnershipLost."""
        async with self._database.transaction() as connection:
            await fence(connection, session)
            await connection.execute(
                _SQL["part_uploaded"], {"session_id": session.id, "ordinal_number": ordinal_number, "now": now}
            )
            detail = {"ordinal_number": ordinal_number}
            await add_history(connection, session.id, HistoryAction.PUT_PART, HistoryOutcome.STORED, detail, now=now)

    async def part_missing(self, session: Session, ordinal_number: int, *, now: datetime) -> None:
        """Record that KSeF does not have a part that we sent. Raises OwnershipLost."""
        async with self._database.transaction() as connection:
            await fence(connection, session)
            await connection.execute(_SQL["part_missing"], {"session_id": session.id, "ordinal_number": ordinal_number})
            detail = {"ordinal_number": ordinal_number}
            await add_history(connection, session.id, HistoryAction.CLOSE, HistoryOutcome.PART_MISSING, detail, now=now)

    async def renew_key(self, session: Session) -> None:
        """Count that the session's AES key is wrapped with another public key. Raises OwnershipLost."""
        parameters = {"id": session.id, "epoch": session.owner_epoch}
        if await self._database.fetch_one(_SQL["renew_key"], parameters) is None:
            raise OwnershipLost

    async def mark_sent(self, connection: Connection, session_id: UUID) -> int:
        """Move the session's invoices from packed to sent; returns how many."""
        cursor = await connection.execute(_SQL["mark_sent"], {"session_id": session_id})
        return await move_returned(connection, cursor, old=InvoiceState.PACKED, new=InvoiceState.SENT)
