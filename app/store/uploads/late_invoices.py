"""Late invoices: those that become offline invoices because they are sent after the day of their `P_1`.

An invoice is late when it came on the day of its `P_1` (or before) and is opened on a later Warsaw day. One that came later
was an offline invoice from the start; the check added a finding that says so.
"""

import json
from collections.abc import Sequence
from datetime import date, datetime
from typing import Final
from uuid import UUID

from app.domain.findings import Finding, Severity
from app.domain.ids import CHUNK_CAPACITY, public_id
from app.domain.states import InvoiceState
from app.errors import Conflict, NotFound
from app.store.audit.acts import Act
from app.store.audit.record import record
from app.store.database import Connection, Database, queries
from app.store.jobs import JobQueue
from app.store.uploads import state_counts
from app.store.uploads.chunks import ENTRY_OVERHEAD_BYTES
from app.store.uploads.state_counts import move_returned
from app.store.uploads.uploads import UploadStore

_SQL: Final = queries("late_invoices")
_CHUNKS_AT_ONCE: Final = 200
_RELEASED_IN_ONE_QUERY: Final = 2_000
RELEASED_AT_ONCE: Final = 50_000
"""Bounds the time of one call; a caller with more invoices calls again."""
_FIRST: Final = UUID(int=0)


class NotAwaitingDecision(Conflict):
    """The invoice does not wait for a decision; only one that does can be released or withdrawn."""

    code = "not-held"
    title = "Not held"


class LateInvoiceStore:
    """Marks late invoices: with a warning, as awaiting a decision, released or withdrawn."""

    def __init__(self, database: Database, jobs: JobQueue, uploads: UploadStore) -> None:
        self._database = database
        self._jobs = jobs
        self._uploads = uploads

    async def await_decision_for_job(self, lane_id: int, *, day: date) -> int:
        """Mark a lane's late invoices as awaiting their tenant's decision, if the tenant has chosen so; return how many.

        `day` is the Warsaw day on which a session that is sealed now would be opened. Marked invoices stay `queued`, but leave the queue of
        their chunk, so that sealing skips them.
        """
        marked, after = 0, _FIRST
        while True:
            async with self._database.transaction() as connection:
                cursor = await connection.execute(
                    _SQL["chunks_with_late"],
                    {"lane_id": lane_id, "day": day, "after": after, "limit": _CHUNKS_AT_ONCE},
                )
                chunks = [row["id"] for row in await cursor.fetchall()]
                if not chunks:
                    return marked
                marked += await self._mark_late(connection, chunks, day)
            after = chunks[-1]

    async def has_late_for_job(self, session_id: UUID, *, day: date) -> bool:
        """Return whether a session that is opened on this day would have late invoices that need their tenant's decision."""
        row = await self._database.fetch_one(_SQL["late_of_session"], {"session_id": session_id, "day": day})
        return row is not None and row["n"] > 0

    async def unseal_for_job(self, connection: Connection, session_id: UUID, *, day: date) -> int:
        """Return all invoices of a session that was never opened to their lane, late ones to await a decision; return how many."""
        cursor = await connection.execute(_SQL["lock_chunks_of_session"], {"session_id": session_id})
        chunks = [row["id"] for row in await cursor.fetchall()]
        cursor = await connection.execute(_SQL["unseal_invoices"], {"session_id": session_id, "chunks": chunks})
        await self._mark_late(connection, chunks, day)
        return await move_returned(connection, cursor, old=InvoiceState.PACKED, new=InvoiceState.QUEUED)

    async def urgent_sessions_wait(self, tenant_id: int, *, today: date) -> bool:
        """Return whether sessions of a tenant with invoices of `today` are still to be opened."""
        row = await self._database.fetch_one(_SQL["urgent_sessions"], {"tenant_id": tenant_id, "today": today})
        return bool(row and row["waiting"])

    async def note_mode_change_for_job(self, connection: Connection, session_id: UUID, opened_day: date) -> int:
        """Add the warning to the late invoices of a session that was opened on this Warsaw day, once; return how many."""
        cursor = await connection.execute(
            _SQL["note_mode_change"],
            {"session_id": session_id, "day": opened_day, "finding": _json(_mode_changed(opened_day))},
        )
        return cursor.rowcount

    async def check_modes_for_job(self, connection: Connection, session_id: UUID) -> int:
        """Compare the invoicing modes on a session's receipts with the expected ones; return how many differ.

        Call it once its accepted invoices are written. The day is that of KSeF's `dateCreated`, if a status answer had it: invoices that
        are late only by KSeF's clock get the warning, and those that are late only by ours lose it.
        """
        row = await (await connection.execute(_SQL["day_of_session"], {"session_id": session_id})).fetchone()
        if row is None or row["day"] is None:
            return 0
        cursor = await connection.execute(_SQL["has_odd_modes"], {"session_id": session_id, "day": row["day"]})
        odd = await cursor.fetchone()
        if odd is None or not odd["found"]:
            return 0
        await self.note_mode_change_for_job(connection, session_id, row["day"])
        await connection.execute(_SQL["take_back_mode_change"], {"session_id": session_id})
        cursor = await connection.execute(
            _SQL["note_odd_modes"],
            {
                "session_id": session_id,
                "day": row["day"],
                "online": _json(_odd_mode("Online", row["day"])),
                "offline": _json(_odd_mode("Offline", row["day"])),
            },
        )
        return cursor.rowcount

    async def count_awaiting_decision(self, tenant_id: int) -> int:
        """Return how many invoices of a tenant await its decision."""
        row = await self._database.fetch_one(_SQL["count_awaiting_decision"], {"tenant_id": tenant_id})
        return int(row["n"]) if row else 0

    async def release(self, tenant_id: int, invoice_id: UUID) -> None:
        """Release an invoice that awaits a decision, to be sent on any day. Raises NotFound, NotAwaitingDecision."""
        lanes: set[int] = set()
        if not await self._release(tenant_id, [_chunk_of(invoice_id)], lanes, first=invoice_id, last=invoice_id):
            await self._refuse(tenant_id, invoice_id)
        await self._seal_soon(lanes)

    async def release_all(self, tenant_id: int) -> int:
        """Release the invoices of a tenant that await its decision; return how many.

        One call releases `RELEASED_AT_ONCE` at most, or a few more.
        """
        released, after = 0, _FIRST
        lanes: set[int] = set()
        while released < RELEASED_AT_ONCE:
            rows = await self._database.fetch_all(
                _SQL["some_awaiting_decision"],
                {"tenant_id": tenant_id, "after": after, "limit": _RELEASED_IN_ONE_QUERY},
            )
            if not rows:
                break
            chunks = sorted({_chunk_of(row["id"]) for row in rows})
            # The last chunk is released whole.
            after = UUID(int=chunks[-1].int + CHUNK_CAPACITY - 1)
            released += await self._release(tenant_id, chunks, lanes, first=chunks[0], last=after)
        await self._seal_soon(lanes)
        return released

    async def withdraw(self, tenant_id: int, invoice_id: UUID, *, now: datetime) -> None:
        """End an invoice that awaits a decision without sending it, and free its number. Raises NotFound, NotAwaitingDecision."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                _SQL["withdraw_invoice"],
                {"id": invoice_id, "tenant_id": tenant_id, "now": now, "finding": _json(_withdrawn())},
            )
            row = await cursor.fetchone()
            if row is not None:
                uploads = {row["upload_id"]: 1}
                await state_counts.move(connection, uploads, old=InvoiceState.QUEUED, new=InvoiceState.FAILED)
                await self._uploads.complete_for_job(connection, uploads, now=now)
                named = public_id("inv", invoice_id)
                record(connection, act=Act.INVOICE_WITHDRAWN, tenant_id=tenant_id, object=named)
        if row is None:
            await self._refuse(tenant_id, invoice_id)

    async def _mark_late(self, connection: Connection, chunks: Sequence[UUID], day: date) -> int:
        parameters = {"chunks": list(chunks), "day": day, "finding": _json(_awaits_decision())}
        cursor = await connection.execute(_SQL["await_decision"], parameters)
        await self.recount_for_job(connection, chunks)
        return cursor.rowcount

    async def _release(
        self, tenant_id: int, chunks: Sequence[UUID], lanes: set[int], *, first: UUID, last: UUID
    ) -> int:
        async with self._database.transaction() as connection:
            parameters = {"chunks": list(chunks), "tenant_id": tenant_id}
            locked = await connection.execute(_SQL["lock_chunks"], parameters)
            lanes.update(row["lane_id"] for row in await locked.fetchall())
            cursor = await connection.execute(
                _SQL["release_invoices"], parameters | {"first": first, "last": last, "finding": _json(_released())}
            )
            await self.recount_for_job(connection, chunks)
            if cursor.rowcount:
                named = public_id("inv", first) if first == last else None
                details = {"invoices": cursor.rowcount}
                record(connection, act=Act.INVOICES_RELEASED, tenant_id=tenant_id, object=named, details=details)
        return cursor.rowcount

    async def lock_chunks_for_job(self, connection: Connection, tenant_id: int, chunks: Sequence[UUID]) -> None:
        """Lock chunks before their invoices, as sealing does, so that two transactions cannot deadlock."""
        await connection.execute(_SQL["lock_chunks"], {"chunks": list(chunks), "tenant_id": tenant_id})

    async def recount_for_job(self, connection: Connection, chunks: Sequence[UUID]) -> None:
        """Count the queue of each of these chunks again, after invoices left it by another way than sealing."""
        await connection.execute(_SQL["recount_chunks"], {"chunks": list(chunks), "overhead": ENTRY_OVERHEAD_BYTES})

    async def _seal_soon(self, lanes: set[int]) -> None:
        async with self._database.connection() as connection:
            for lane_id in sorted(lanes):
                await self._jobs.seal_soon(connection, lane_id)

    async def _refuse(self, tenant_id: int, invoice_id: UUID) -> None:
        row = await self._database.fetch_one(
            "SELECT state FROM invoices WHERE id = %(id)s AND tenant_id = %(tenant_id)s",
            {"id": invoice_id, "tenant_id": tenant_id},
        )
        if row is None:
            raise NotFound(f"there is no invoice {public_id('inv', invoice_id)}")
        raise NotAwaitingDecision(f"{public_id('inv', invoice_id)} is {row['state']} and does not wait for a decision")


def _chunk_of(invoice_id: UUID) -> UUID:
    return UUID(int=invoice_id.int & ~(CHUNK_CAPACITY - 1))


def _json(finding: Finding) -> str:
    return json.dumps(finding.as_dict(), ensure_ascii=False)


def _mode_changed(opened_day: date) -> Finding:
    return Finding(
        "mode-changed-by-midnight",
        Severity.WARNING,
        "The invoice came on the day of its issue date (P_1), but its session could be opened only on "
        f"{opened_day}: KSeF marks it as offline, and its visualisation needs both QR codes.",
        "Faktura wpłynęła w dniu wystawienia (P_1), ale jej sesję można było otworzyć dopiero "
        f"{opened_day}: KSeF oznaczy ją jako offline, a jej wizualizacja musi mieć oba kody QR.",
        path="/Faktura/Fa/P_1",
    )


def _odd_mode(mode: str, day: date) -> Finding:
    return Finding(
        "unexpected-invoicing-mode",
        Severity.WARNING,
        f"KSeF's receipt says {mode}; by the issue date (P_1), the day of the session ({day}) and the way it was sent, "
        "the other mode was to be expected.",
        f"Na UPO podano tryb {mode}; według daty wystawienia (P_1), dnia otwarcia sesji ({day}) i sposobu wysyłki "
        "należało oczekiwać drugiego trybu.",
        path="/Faktura/Fa/P_1",
    )


def _awaits_decision() -> Finding:
    return Finding(
        "held-for-decision",
        Severity.WARNING,
        "The day of the issue date (P_1) ended before the invoice could be sent. Sent now, it becomes an offline invoice; "
        "it waits until you release or withdraw it.",
        "Dzień wystawienia (P_1) minął, zanim można było wysłać fakturę. Wysłana teraz stanie się fakturą offline; "
        "czeka na decyzję: wysłać albo wycofać.",
        path="/Faktura/Fa/P_1",
    )


def _released() -> Finding:
    return Finding(
        "released-after-midnight",
        Severity.WARNING,
        "The invoice missed the day of its issue date (P_1) and was released to be sent as an offline invoice.",
        "Faktura nie została wysłana w dniu wystawienia (P_1); zdecydowano o wysłaniu jej jako faktury offline.",
        path="/Faktura/Fa/P_1",
    )


def _withdrawn() -> Finding:
    return Finding(
        "withdrawn",
        Severity.ERROR,
        "The invoice missed the day of its issue date (P_1) and was withdrawn; it was not sent, and its number is free.",
        "Faktura nie została wysłana w dniu wystawienia (P_1) i została wycofana; nie wysłano jej, a jej numer jest wolny.",
        path="/Faktura/Fa/P_1",
    )
