"""Verdicts: looks at a session that KSeF processes, its receipts, and what became of each invoice."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from psycopg.rows import DictRow

from app.domain.states import InvoiceState, SessionState
from app.store.chunks import ENTRY_OVERHEAD_BYTES
from app.store.database import Connection, Database, queries
from app.store.sessions.journal import add_history
from app.store.sessions.session import Session
from app.store.shifts import shift_counted
from app.store.uploads import UploadStore

_SQL: Final = queries("session_verdicts")


@dataclass(frozen=True, slots=True)
class Receipt:
    """One document of a UPO."""

    invoice_hash: bytes
    ksef_number: str
    acquired_at: datetime | None
    mode: str | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An invoice that ends without a number, and why."""

    invoice_id: UUID
    finding: Mapping[str, Any]
    invoice_reference_number: str | None = None


class VerdictStore:
    """What KSeF says of a session and of its invoices."""

    def __init__(self, database: Database, uploads: UploadStore) -> None:
        self._database = database
        self._uploads = uploads

    async def count_poll(
        self, session_id: UUID, ksef_status: int, *, now: datetime, ksef_created_at: datetime | None = None
    ) -> int:
        """Record one answer of the status call, with the `dateCreated` that it told; returns how many there were."""
        parameters = {"id": session_id, "ksef_status": ksef_status, "ksef_created_at": ksef_created_at, "now": now}
        row = await self._database.fetch_one(_SQL["count_poll"], parameters)
        return int(row["polls"]) if row else 0

    async def strike(self, session_id: UUID) -> int:
        """Count a look that found no such session; returns how many in a row."""
        row = await self._database.fetch_one(_SQL["strike"], {"id": session_id})
        return int(row["strikes"]) if row else 0

    async def incomplete_look(self, session_id: UUID) -> int:
        """Count a look after which some invoices still had no verdict; returns how many."""
        row = await self._database.fetch_one(_SQL["incomplete_look"], {"id": session_id})
        return int(row["incomplete_looks"]) if row else 0

    async def earlier(self, session_id: UUID, invoice_ids: Sequence[UUID]) -> list[tuple[UUID, str]]:
        """Give the sessions that carried any of these invoices before, newest first: id and reference number."""
        rows = await self._database.fetch_all(
            _SQL["earlier_sessions"], {"session_id": session_id, "ids": list(invoice_ids)}
        )
        return [(row["id"], row["reference_number"]) for row in rows]

    async def unaccounted(self, session_id: UUID) -> list[DictRow]:
        """Give the session's invoices that have no verdict: id, sha256, attempts."""
        return await self._database.fetch_all(_SQL["sent_invoices"], {"session_id": session_id})

    async def add_upo_page(
        self,
        connection: Connection,
        session_id: UUID,
        *,
        page: int,
        upo_reference_number: str,
        blob_key: str,
        size: int,
        sha256: bytes,
        documents: int,
        now: datetime,
    ) -> None:
        """Record a UPO page whose bytes are stored."""
        await connection.execute(
            _SQL["add_upo_page"],
            {
                "session_id": session_id,
                "page": page,
                "upo_reference_number": upo_reference_number,
                "blob_key": blob_key,
                "bytes": size,
                "sha256": sha256,
                "documents": documents,
                "now": now,
            },
        )

    async def accept(
        self, connection: Connection, session_id: UUID, receipts: Sequence[Receipt], *, page: int, now: datetime
    ) -> int:
        """Give the documents of a UPO page their KSeF numbers; returns how many invoices that were."""
        cursor = await connection.execute(
            _SQL["accept_invoices"],
            {
                "session_id": session_id,
                "page": page,
                "now": now,
                "hashes": [receipt.invoice_hash for receipt in receipts],
                "ksef_numbers": [receipt.ksef_number for receipt in receipts],
                "acquired": [receipt.acquired_at for receipt in receipts],
                "modes": [receipt.mode for receipt in receipts],
            },
        )
        return await shift_counted(self._uploads, connection, cursor, old=InvoiceState.SENT, new=InvoiceState.ACCEPTED)

    async def refuse(
        self,
        connection: Connection,
        session_id: UUID,
        refusals: Sequence[Refusal],
        *,
        new: InvoiceState,
        old: InvoiceState = InvoiceState.SENT,
        now: datetime,
    ) -> int:
        """End invoices without a number (`rejected` or `failed`), each with its finding; returns how many."""
        cursor = await connection.execute(
            _SQL["refuse_invoices"],
            {
                "session_id": session_id,
                "state": new.value,
                "old": old.value,
                "now": now,
                "ids": [refusal.invoice_id for refusal in refusals],
                "findings": [json.dumps(dict(refusal.finding), ensure_ascii=False) for refusal in refusals],
                "references": [refusal.invoice_reference_number for refusal in refusals],
            },
        )
        return await shift_counted(self._uploads, connection, cursor, old=old, new=new)

    async def requeue(
        self,
        connection: Connection,
        session_id: UUID,
        invoice_ids: Sequence[UUID],
        *,
        old: InvoiceState,
        finding: Mapping[str, Any],
        uncounted: bool = False,
    ) -> int:
        """Send invoices back to their lane: KSeF's own answer says that nothing of them was accepted.

        `uncounted`: the session does not count among the tries of an invoice.
        """
        cursor = await connection.execute(
            _SQL["requeue_invoices"],
            {
                "session_id": session_id,
                "ids": list(invoice_ids),
                "old": old.value,
                "finding": json.dumps(dict(finding), ensure_ascii=False),
                "overhead": ENTRY_OVERHEAD_BYTES,
                "uncounted": uncounted,
            },
        )
        return await shift_counted(self._uploads, connection, cursor, old=old, new=InvoiceState.QUEUED)

    async def finish(
        self,
        connection: Connection,
        session: Session,
        new: SessionState,
        *,
        accepted: int,
        rejected: int,
        failed: int,
        requeued: int,
        detail: Mapping[str, Any],
        now: datetime,
    ) -> bool:
        """End a session and destroy its key; False when it ended already."""
        cursor = await connection.execute(
            _SQL["finish_session"],
            {
                "id": session.id,
                "old": session.state.value,
                "state": new.value,
                "accepted": accepted,
                "rejected": rejected,
                "failed": failed,
                "requeued": requeued,
                "now": now,
            },
        )
        if await cursor.fetchone() is None:
            return False
        await add_history(connection, session.id, "finish", new.value, detail, now=now)
        return True
