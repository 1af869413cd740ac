"""Suspected duplicates: invoices that KSeF called duplicates (440), until it is proved what their originals are.

An invoice stays `sent` while it is suspected. `settlements` writes the verdicts.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from psycopg.rows import DictRow

from app.domain.findings import Finding
from app.domain.ids import CHUNK_CAPACITY
from app.store.database import Connection, Database, queries
from app.store.sessions.duplicate_findings import (
    NotCompared,
    not_compared,
)

_SQL: Final = queries("duplicates")

_LEFT_AT_ONCE: Final = 500
_LONGEST_PAUSE: Final = timedelta(hours=4)


class Evidence(StrEnum):
    """Kinds of proof that the original is the same document, or another one."""

    OWN_RECORDS = "own-records"
    RECEIPT = "receipt"
    SESSION_LIST = "session-list"
    METADATA = "metadata"
    DOCUMENT = "document"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Suspect:
    """An invoice that KSeF called a duplicate, with the original that it names."""

    invoice_id: UUID
    session_id: UUID
    sha256: bytes
    words: str
    original_ksef_number: str | None
    original_session: str | None
    suspected_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class Scan:
    """Progress of a listing of metadata: its range of time, and the next page."""

    since: datetime
    until: datetime
    next_page: int


class DuplicateStore:
    """Rows of suspected duplicates and receipts of single invoices."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def suspect_for_job(
        self,
        connection: Connection,
        session_id: UUID,
        found: Sequence[tuple[UUID, str, str | None, str | None]],
        *,
        now: datetime,
    ) -> None:
        """Add invoices of a session: id, KSeF's words, the number and the session of the original that it names."""
        ids, words, numbers, sessions = zip(*found, strict=True) if found else ((), (), (), ())
        parameters = {"session_id": session_id, "now": now, "ids": list(ids), "words": list(words)}
        parameters |= {"ksef_numbers": list(numbers), "sessions": list(sessions)}
        await connection.execute(_SQL["suspect"], parameters)

    async def tenants_with_due_for_job(self, *, now: datetime, overdue: datetime) -> list[int]:
        """Return the tenants with a search that is due, or with an open one since `overdue` that is to be reported."""
        parameters = {"now": now, "overdue": overdue}
        return [row["tenant_id"] for row in await self._database.fetch_all(_SQL["tenants_with_due"], parameters)]

    async def due(self, tenant_id: int, *, settled: bool, now: datetime, limit: int) -> list[Suspect]:
        """Return the rows that are due: open suspicions, or (`settled`) accepted invoices whose receipt is missing."""
        parameters = {"tenant_id": tenant_id, "settled": settled, "now": now, "limit": limit}
        rows = await self._database.fetch_all(_SQL["due"], parameters)
        return [_suspect(row) for row in rows]

    async def originals_of_ours(self, tenant_id: int, ids: Sequence[UUID]) -> list[tuple[UUID, bytes, str | None]]:
        """Return our own accepted invoices that have the named numbers: suspect, SHA-256, and the session's reference number."""
        rows = await self._database.fetch_all(_SQL["originals_of_ours"], {"tenant_id": tenant_id, "ids": list(ids)})
        return [(row["invoice_id"], bytes(row["sha256"]), row["reference_number"]) for row in rows]

    async def earlier_sessions(self, tenant_id: int, ids: Sequence[UUID]) -> list[tuple[UUID, str]]:
        """Return the sessions that may have carried these invoices before: invoice and reference number, newest first."""
        # The id of an invoice is that of its chunk and its place in it.
        chunks = [UUID(int=one.int & ~(CHUNK_CAPACITY - 1)) for one in ids]
        parameters = {"tenant_id": tenant_id, "ids": list(ids), "chunks": chunks}
        rows = await self._database.fetch_all(_SQL["earlier_sessions"], parameters)
        return [(row["invoice_id"], row["reference_number"]) for row in rows]

    async def leave_open(
        self, tenant_id: int, reasons: Mapping[UUID, NotCompared], suspects: Mapping[UUID, Suspect], *, now: datetime
    ) -> None:
        """Record that these could not be compared, with a finding, and when they are searched for again."""
        every = sorted(reasons)
        for start in range(0, len(every), _LEFT_AT_ONCE):
            keys = every[start : start + _LEFT_AT_ONCE]
            await self._leave_open(tenant_id, [suspects[key] for key in keys], reasons, now=now)

    async def _leave_open(
        self, tenant_id: int, rows: Sequence[Suspect], reasons: Mapping[UUID, NotCompared], *, now: datetime
    ) -> None:
        await self._database.execute(
            _SQL["leave_open"],
            {
                "tenant_id": tenant_id,
                "ids": [one.invoice_id for one in rows],
                "reasons": [reasons[one.invoice_id].value for one in rows],
                "next_at": [now + _pause(one.attempts) for one in rows],
                "findings": [
                    _json(
                        [
                            not_compared(
                                reasons[one.invoice_id], one.original_ksef_number, one.original_session, one.words
                            )
                        ]
                    )
                    for one in rows
                ],
            },
        )

    async def find(self, tenant_id: int, invoice_id: UUID) -> DictRow | None:
        """Return the row of a suspected duplicate, settled or not; None for any other invoice."""
        return await self._database.fetch_one(_SQL["one"], {"id": invoice_id, "tenant_id": tenant_id})

    async def unresolved_count(self) -> int:
        """Return how many invoices of all tenants have been unresolved for an hour."""
        row = await self._database.fetch_one(_SQL["unresolved_count"])
        return int(row["n"]) if row else 0

    async def scan(self, tenant_id: int) -> Scan | None:
        """Return how far a listing of metadata got that has not ended."""
        row = await self._database.fetch_one(_SQL["scan"], {"tenant_id": tenant_id})
        return Scan(**row) if row else None

    async def keep_scan(self, tenant_id: int, scan: Scan | None) -> None:
        """Record how far a listing of metadata got; None: it has ended."""
        parameters: dict[str, Any] = {"tenant_id": tenant_id}
        if scan is None:
            await self._database.execute(_SQL["end_scan"], parameters)
            return
        parameters |= {"since": scan.since, "until": scan.until, "next_page": scan.next_page}
        await self._database.execute(_SQL["keep_scan"], parameters)


def _json(findings: Sequence[Finding]) -> str:
    return json.dumps([finding.as_dict() for finding in findings], ensure_ascii=False)


def _pause(attempts: int) -> timedelta:
    """Return the pause after a search that ended without proof: it doubles from a minute up to four hours."""
    return min(timedelta(minutes=int(2 ** min(attempts, 10))), _LONGEST_PAUSE)


def _suspect(row: Mapping[str, Any]) -> Suspect:
    fields = {name: row[name] for name in Suspect.__dataclass_fields__}
    return Suspect(**(fields | {"sha256": bytes(row["sha256"])}))
