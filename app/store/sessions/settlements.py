"""Settlements: the verdicts of invoices outside the end of their session, each with what proves it.

A proof is written in one transaction with the state, the receipt, the counts and the events. So a search that is killed anywhere goes on
with what is still open, and no invoice is counted or reported twice.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from app.domain.findings import Finding
from app.domain.history import HistoryAction, HistoryOutcome
from app.domain.ids import public_id
from app.domain.states import InvoiceState
from app.errors import Conflict, NotFound
from app.store.audit.actor import current_actor
from app.store.audit.acts import Act
from app.store.audit.record import record
from app.store.database import Connection, Database, queries
from app.store.events.outbox import EventType, Outbox
from app.store.sessions.duplicate_findings import accepted_earlier, duplicate_other, receipt_missing
from app.store.sessions.duplicates import Evidence
from app.store.sessions.invoice_receipts import RECEIPT_PAUSE, ReceiptStore, StoredReceipt
from app.store.sessions.journal import add_history
from app.store.uploads import state_counts
from app.store.uploads.uploads import UploadStore

_SQL: Final = queries("duplicates")

UNRESOLVED_AFTER: Final = timedelta(hours=1)
_REPORTED_AT_ONCE: Final = 5_000


class NotUnresolved(Conflict):
    """The invoice is not unresolved: only a duplicate that could not be compared with its original is resolved by hand."""

    code = "not-unresolved"
    title = "Not unresolved"


@dataclass(frozen=True, slots=True)
class Accepted:
    """An invoice that KSeF has accepted, with what proves it. Without a receipt KSeF refused to give one."""

    invoice_id: UUID
    evidence: Evidence
    ksef_number: str
    session: str | None
    acquired_at: datetime | None = None
    mode: str | None = None
    receipt: StoredReceipt | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """An invoice whose number KSeF has given to another document."""

    invoice_id: UUID
    evidence: Evidence
    ksef_number: str | None
    session: str | None
    words: str


class SettlementStore:
    """Writes the verdicts of single invoices, with their receipts, counts and events."""

    def __init__(self, database: Database, outbox: Outbox, uploads: UploadStore, receipts: ReceiptStore) -> None:
        self._database = database
        self._outbox = outbox
        self._uploads = uploads
        self._receipts = receipts

    async def accept(
        self,
        tenant_id: int,
        accepted: Sequence[Accepted],
        *,
        old: InvoiceState = InvoiceState.SENT,
        now: datetime,
    ) -> int:
        """Give invoices in state `old` their numbers, with receipts, findings, counts and events; return how many that were."""
        async with self._database.transaction() as connection:
            return await self.accept_in(connection, tenant_id, accepted, old=old, now=now)

    async def accept_in(
        self,
        connection: Connection,
        tenant_id: int,
        accepted: Sequence[Accepted],
        *,
        old: InvoiceState = InvoiceState.SENT,
        by: str | None = None,
        now: datetime,
    ) -> int:
        """Do what `accept` does, in the caller's transaction."""
        await connection.execute(_SQL["lock"], {"ids": [one.invoice_id for one in accepted], "tenant_id": tenant_id})
        cursor = await connection.execute(
            _SQL["accept_originals"],
            {
                "tenant_id": tenant_id,
                "old": old.value,
                "now": now,
                "ids": [one.invoice_id for one in accepted],
                "ksef_numbers": [one.ksef_number for one in accepted],
                "acquired": [one.acquired_at for one in accepted],
                "modes": [one.mode for one in accepted],
                "findings": [_json(_findings(one)) for one in accepted],
            },
        )
        rows = await cursor.fetchall()
        changed = {row["id"] for row in rows}
        await self._record_proofs(
            connection,
            tenant_id,
            {one.invoice_id: (one.evidence, _next_ask(one, now)) for one in accepted if one.invoice_id in changed},
            outcome=InvoiceState.ACCEPTED,
            by=by,
            now=now,
        )
        receipts = {one.invoice_id: one.receipt for one in accepted if one.receipt is not None}
        await self._receipts.add_for_job(
            connection, tenant_id, {key: receipts[key] for key in changed & set(receipts)}, now=now
        )
        await self._finish(connection, tenant_id, rows, old=old, new=InvoiceState.ACCEPTED, now=now)
        return len(rows)

    async def reject(self, tenant_id: int, rejected: Sequence[Rejected], *, now: datetime) -> int:
        """End invoices whose number belongs to another document; return how many that were."""
        async with self._database.transaction() as connection:
            return await self._reject(connection, tenant_id, rejected, now=now)

    async def _reject(
        self,
        connection: Connection,
        tenant_id: int,
        rejected: Sequence[Rejected],
        *,
        by: str | None = None,
        now: datetime,
    ) -> int:
        await connection.execute(_SQL["lock"], {"ids": [one.invoice_id for one in rejected], "tenant_id": tenant_id})
        cursor = await connection.execute(
            _SQL["reject_duplicates"],
            {
                "tenant_id": tenant_id,
                "now": now,
                "ids": [one.invoice_id for one in rejected],
                "findings": [_json([duplicate_other(one.ksef_number, one.session, one.words)]) for one in rejected],
            },
        )
        rows = await cursor.fetchall()
        changed = {row["id"] for row in rows}
        await self._record_proofs(
            connection,
            tenant_id,
            {one.invoice_id: (one.evidence, None) for one in rejected if one.invoice_id in changed},
            outcome=InvoiceState.REJECTED,
            by=by,
            now=now,
        )
        await self._finish(connection, tenant_id, rows, old=InvoiceState.SENT, new=InvoiceState.REJECTED, now=now)
        return len(rows)

    async def report_unresolved(self, tenant_id: int, *, now: datetime) -> int:
        """Add the events of invoices that have been unresolved for an hour, once each; return how many that were."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                _SQL["take_overdue"],
                {"tenant_id": tenant_id, "now": now, "overdue": now - UNRESOLVED_AFTER, "limit": _REPORTED_AT_ONCE},
            )
            rows = await cursor.fetchall()
            await self._add_events(connection, tenant_id, EventType.INVOICES_UNRESOLVED, rows, now=now)
        return len(rows)

    async def resolve(
        self,
        tenant_id: int,
        invoice_id: UUID,
        outcome: InvoiceState,
        ksef_number: str | None,
        *,
        now: datetime,
    ) -> None:
        """End an unresolved invoice by the decision of the present actor. Raises NotFound, NotUnresolved."""
        by = current_actor().name
        async with self._database.transaction() as connection:
            cursor = await connection.execute(_SQL["lock"], {"ids": [invoice_id], "tenant_id": tenant_id})
            row = await cursor.fetchone()
            if row is None or row["settled_at"] is not None or row["attempts"] == 0:
                await self._refuse(tenant_id, invoice_id)
                return
            number = ksef_number or row["original_ksef_number"]
            if outcome is InvoiceState.ACCEPTED:
                if number is None:
                    raise NotUnresolved("KSeF named no number of the original: give its `ksef_number`")
                one = Accepted(invoice_id, Evidence.OPERATOR, number, row["original_session"])
                changed = await self.accept_in(connection, tenant_id, [one], by=by, now=now)
            else:
                other = Rejected(invoice_id, Evidence.OPERATOR, number, row["original_session"], row["words"])
                changed = await self._reject(connection, tenant_id, [other], by=by, now=now)
            if not changed:
                await self._refuse(tenant_id, invoice_id)
            record(
                connection,
                act=Act.INVOICE_RESOLVED,
                tenant_id=tenant_id,
                object=public_id("inv", invoice_id),
                details={"outcome": outcome.value, "ksef_number": number},
            )

    async def _record_proofs(
        self,
        connection: Connection,
        tenant_id: int,
        proved: Mapping[UUID, tuple[Evidence, datetime | None]],
        *,
        outcome: InvoiceState,
        by: str | None,
        now: datetime,
    ) -> None:
        keys = sorted(proved)
        await connection.execute(
            _SQL["settle"],
            {
                "tenant_id": tenant_id,
                "ids": keys,
                "evidence": [proved[key][0].value for key in keys],
                "next_at": [proved[key][1] for key in keys],
                "outcome": outcome.value,
                "by": by,
                "now": now,
            },
        )

    async def _finish(
        self,
        connection: Connection,
        tenant_id: int,
        rows: Sequence[Mapping[str, Any]],
        *,
        old: InvoiceState,
        new: InvoiceState,
        now: datetime,
    ) -> None:
        """Add the events and the counts of invoices that were settled; last in a transaction, since uploads are locked."""
        accepted = new is InvoiceState.ACCEPTED
        event = EventType.INVOICES_ACCEPTED if accepted else EventType.INVOICES_REJECTED
        by_session = await self._add_events(connection, tenant_id, event, rows, now=now)
        sessions = sorted(by_session)
        counts = [len(by_session[key]) for key in sessions]
        none = [0] * len(sessions)
        parameters = {"accepted": counts, "rejected": none} if accepted else {"accepted": none, "rejected": counts}
        if old is InvoiceState.SENT:
            for session_id, ids in sorted(by_session.items()):
                await add_history(
                    connection,
                    session_id,
                    HistoryAction.DUPLICATES,
                    HistoryOutcome(new),
                    {"count": len(ids)},
                    now=now,
                )
            await connection.execute(_SQL["count_settled"], {"tenant_id": tenant_id, "ids": sessions} | parameters)
        uploads: dict[UUID, int] = defaultdict(int)
        for row in rows:
            uploads[row["upload_id"]] += 1
        await state_counts.move(connection, uploads, old=old, new=new)
        await self._uploads.complete_for_job(connection, uploads, now=now)

    async def _add_events(
        self,
        connection: Connection,
        tenant_id: int,
        event: EventType,
        rows: Sequence[Mapping[str, Any]],
        *,
        now: datetime,
    ) -> dict[UUID, list[UUID]]:
        by_session: dict[UUID, list[UUID]] = defaultdict(list)
        for row in rows:
            if row["session_id"] is not None:
                by_session[row["session_id"]].append(row["id"])
        for session_id, ids in sorted(by_session.items()):
            await self._outbox.add_some_invoices(
                connection, event, tenant_id=tenant_id, session_id=session_id, invoice_ids=sorted(ids), now=now
            )
        return by_session

    async def _refuse(self, tenant_id: int, invoice_id: UUID) -> None:
        row = await self._database.fetch_one(
            "SELECT state FROM invoices WHERE id = %(id)s AND tenant_id = %(tenant_id)s",
            {"id": invoice_id, "tenant_id": tenant_id},
        )
        if row is None:
            raise NotFound(f"there is no invoice {public_id('inv', invoice_id)}")
        raise NotUnresolved(f"{public_id('inv', invoice_id)} is {row['state']} and not unresolved")


def _next_ask(one: Accepted, now: datetime) -> datetime | None:
    """Return when the receipt is asked for: KSeF has just refused it, or it was not asked for, since a person decided."""
    if one.receipt is not None:
        return None
    return now if one.evidence is Evidence.OPERATOR else now + RECEIPT_PAUSE


def _findings(one: Accepted) -> list[Finding]:
    found = [accepted_earlier(one.ksef_number, one.session)]
    return found if one.receipt is not None else [*found, receipt_missing(one.ksef_number)]


def _json(findings: Sequence[Finding]) -> str:
    return json.dumps([finding.as_dict() for finding in findings], ensure_ascii=False)
