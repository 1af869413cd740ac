"""Verdicts: counts status polls of a session, stores its receipts, and writes the last state of each invoice."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from psycopg.rows import DictRow

from app.domain.history import HistoryAction, HistoryOutcome
from app.domain.states import InvoiceState, SessionState
from app.store.database import Connection, Database, queries
from app.store.sessions.journal import add_history
from app.store.sessions.ownership import OwnershipLost
from app.store.sessions.session import Session
from app.store.uploads.chunks import ENTRY_OVERHEAD_BYTES
from app.store.uploads.state_counts import move_returned

_SQL: Final = queries("session_verdicts")

_BETWEEN: Final = "\x1f"
"""Separates the values of a column in a query parameter: a character that XML does not allow."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One document of a UPO."""

    invoice_hash: bytes
    ksef_number: str
    acquired_at: datetime | None
    mode: str | None


@dataclass(frozen=True, slots=True)
class Receipts:
    """Documents of a UPO page, column by column and as text.

    Ten thousand objects would cost more than the rest of the work.
    """

    hashes: Sequence[str]
    """Base64 of the SHA-256 of each invoice, in its one right form."""
    ksef_numbers: Sequence[str]
    acquired: Sequence[str]
    """ISO 8601 with an offset; empty when the receipt does not say it."""
    modes: Sequence[str]
    """Empty when the receipt does not say it."""

    @classmethod
    def of(cls, receipts: Iterable[Receipt]) -> Self:
        """Put single documents into columns."""
        rows = [
            (
                base64.b64encode(one.invoice_hash).decode(),
                one.ksef_number.replace(_BETWEEN, " "),
                one.acquired_at.isoformat() if one.acquired_at is not None else "",
                (one.mode or "").replace(_BETWEEN, " "),
            )
            for one in receipts
        ]
        return cls(*zip(*rows, strict=True)) if rows else cls((), (), (), ())

    def __len__(self) -> int:
        """Give the number of documents."""
        return len(self.hashes)


@dataclass(frozen=True, slots=True)
class Rejection:
    """An invoice that ends without a KSeF number, with the finding that says why."""

    invoice_id: UUID
    finding: Mapping[str, Any]
    invoice_reference_number: str | None = None


class VerdictStore:
    """Rows that KSeF's answers on a session and its invoices change."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count_poll(
        self, session: Session, ksef_status: int, *, now: datetime, ksef_created_at: datetime | None = None
    ) -> int:
        """Record one answer of the status call, with its `dateCreated`; return their number so far. Raises OwnershipLost."""
        parameters = {"ksef_status": ksef_status, "ksef_created_at": ksef_created_at, "now": now}
        return await self._count("count_poll", session, parameters, "polls")

    async def count_not_found(self, session: Session) -> int:
        """Count a status poll that found no such session; return the number in a row. Raises OwnershipLost."""
        return await self._count("count_not_found", session, {}, "not_found_polls")

    async def count_incomplete(self, session: Session) -> int:
        """Count a poll after which some invoices still had no verdict; return their number. Raises OwnershipLost."""
        return await self._count("count_incomplete", session, {}, "incomplete_polls")

    async def _count(self, query: str, session: Session, parameters: Mapping[str, Any], column: str) -> int:
        owned = {"id": session.id, "epoch": session.owner_epoch}
        row = await self._database.fetch_one(_SQL[query], dict(parameters) | owned)
        if row is None:
            raise OwnershipLost
        return int(row[column])

    async def unaccounted(self, session_id: UUID, *, besides: Sequence[Receipts] = ()) -> list[DictRow]:
        """Give the session's invoices that have no verdict and that none of `besides` names: id, sha256, attempts."""
        named = _BETWEEN.join(digest for receipts in besides for digest in receipts.hashes)
        async with self._database.connection() as connection:
            # `prepare=False`: a cached generic plan is bad when the number of documents varies.
            cursor = await connection.execute(
                _SQL["sent_invoices"], {"session_id": session_id, "named": named}, prepare=False
            )
            return await cursor.fetchall()

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
        self, connection: Connection, session_id: UUID, receipts: Receipts, *, page: int, now: datetime
    ) -> int:
        """Give the documents of a UPO page their KSeF numbers; returns how many invoices that were."""
        cursor = await connection.execute(
            _SQL["accept_invoices"],
            {
                "session_id": session_id,
                "page": page,
                "now": now,
                "hashes": _BETWEEN.join(receipts.hashes),
                "ksef_numbers": _BETWEEN.join(receipts.ksef_numbers),
                "acquired": _BETWEEN.join(receipts.acquired),
                "modes": _BETWEEN.join(receipts.modes),
            },
            # Planned for these values each time, as in `unaccounted`.
            prepare=False,
        )
        return await move_returned(connection, cursor, old=InvoiceState.SENT, new=InvoiceState.ACCEPTED)

    async def refuse(
        self,
        connection: Connection,
        session_id: UUID,
        rejections: Sequence[Rejection],
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
                "ids": [rejection.invoice_id for rejection in rejections],
                "findings": [json.dumps(dict(rejection.finding), ensure_ascii=False) for rejection in rejections],
                "references": [rejection.invoice_reference_number for rejection in rejections],
            },
        )
        return await move_returned(connection, cursor, old=old, new=new)

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
        return await move_returned(connection, cursor, old=old, new=InvoiceState.QUEUED)

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
                "epoch": session.owner_epoch,
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
        await add_history(connection, session.id, HistoryAction.FINISH, HistoryOutcome(new), detail, now=now)
        return True
