"""Reads the audit: pages by filter, and the check of the whole chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg.rows import DictRow

from app.store.audit.acts import Act
from app.store.audit.chain import AuditRow, ChainCheck, Fault, Head
from app.store.audit.record import PURPOSE, record
from app.store.database import Connection, Database, queries
from app.store.keys.envelope import Envelope

_SQL: Final = queries("audit")
_ROWS_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Rows of a tenant, of an act, of a time; None leaves a filter out."""

    tenant_id: int | None = None
    act: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class CheckedChain:
    """The result of a check: how many rows fit, the newest hash, and the first fault."""

    rows: int
    newest_hash: bytes
    fault: Fault | None


class AuditStore:
    """Rows of the audit, which are added and never changed."""

    def __init__(self, database: Database, box: Envelope) -> None:
        self._database = database
        self._box = box

    async def record_alone(self, *, act: Act, object: str, details: Mapping[str, Any]) -> None:  # noqa: A002 - as in `record`
        """Record an act that changed no row of the database. Call it after the act, which can be repeated."""
        async with self._database.transaction() as connection:
            record(connection, act=act, object=object, details=details)

    async def page(self, wanted: AuditFilter, *, before: int | None, limit: int) -> Sequence[DictRow]:
        """Return rows below a number, newest first, with the tenant's public id and NIP."""
        return await self._database.fetch_all(
            _SQL["rows_before"], _parameters(wanted) | {"before": before, "limit": limit}
        )

    async def after(self, wanted: AuditFilter, *, number: int, limit: int = _ROWS_AT_ONCE) -> Sequence[DictRow]:
        """Return rows above a number, oldest first, with the tenant's public id and NIP."""
        return await self._database.fetch_all(
            _SQL["rows_after"], _parameters(wanted) | {"after": number, "limit": limit}
        )

    async def newest_number(self) -> int:
        """Return the number of the newest row, 0 without one."""
        row = await self._database.fetch_one(_SQL["newest_row"])
        return int(row["number"] or 0) if row else 0

    async def check(self) -> CheckedChain:
        """Check every row and the seal, in one snapshot of the database."""
        check = ChainCheck()
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            fault = await _first_fault(connection, check)
            if fault is None:
                row = await (await connection.execute(_SQL["read_head"])).fetchone()
                head = Head(row["number"], bytes(row["hash"]), bytes(row["mac"])) if row else None
                fault = check.fault_of_end(head, self._box.derived_key(PURPOSE))
        return CheckedChain(check.rows, check.newest_hash, fault)


async def _first_fault(connection: Connection, check: ChainCheck) -> Fault | None:
    # A cursor of the server reads all rows in one order, also ones whose number is there twice.
    async with connection.cursor(name="audit") as cursor:
        cursor.itersize = _ROWS_AT_ONCE
        await cursor.execute(_SQL["all_rows"])
        async for row in cursor:
            hashes = {name: bytes(row[name]) for name in ("previous_hash", "hash")}
            fault = check.fault_of(AuditRow(**(row | hashes)))
            if fault is not None:
                return fault
    return None


def _parameters(wanted: AuditFilter) -> dict[str, Any]:
    return {"tenant_id": wanted.tenant_id, "act": wanted.act, "since": wanted.since, "until": wanted.until}
