"""Reads invoices: one, a page, or all of an upload as a stream. `chunks` and `sessions` write them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from psycopg.rows import DictRow

from app.domain.ids import CHUNK_CAPACITY, public_id
from app.errors import NotFound
from app.store.database import Database, queries

_SQL: Final = queries("invoices")
_STATE_COUNTS: Final = queries("state_counts")
_STREAM_ROWS: Final = 1_000
_TOTALS_AT_MOST: Final = 100
FIRST: Final = UUID(int=0)
"""A cursor before every invoice."""


@dataclass(frozen=True, slots=True)
class InvoiceFilter:
    """Filters of `GET /v1/invoices`; None does not restrict."""

    number: str | None = None
    ksef_number: str | None = None
    sha256: bytes | None = None
    upload_id: UUID | None = None
    session_id: UUID | None = None
    states: Sequence[str] | None = None
    held: bool = False
    """Only those that await the tenant's decision."""


class InvoiceStore:
    """Rows of invoices, for reading, and their JSON without history."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, tenant_id: int, invoice_id: UUID) -> DictRow:
        """Return one invoice with the positions of its bytes and the times of its steps. Raises NotFound."""
        chunk = UUID(int=invoice_id.int & ~(CHUNK_CAPACITY - 1))
        row = await self._database.fetch_one(
            _SQL["get_invoice"], {"id": invoice_id, "chunk_id": chunk, "tenant_id": tenant_id}
        )
        if row is None:
            raise NotFound(f"there is no invoice {public_id('inv', invoice_id)}")
        return row

    async def page(
        self, tenant_id: int, wanted: InvoiceFilter, *, after: UUID = FIRST, limit: int = 100
    ) -> list[tuple[UUID, dict[str, Any]]]:
        """Give a page of invoices, oldest first, after a cursor: (id, JSON)."""
        only_group = wanted.number is None and wanted.ksef_number is None and wanted.sha256 is None
        only_group = only_group and not wanted.held
        parameters: dict[str, Any] = {
            "tenant_id": tenant_id,
            "after": after,
            "limit": limit,
            "states": list(wanted.states) if wanted.states else None,
            "upload_id": wanted.upload_id,
            "session_id": wanted.session_id,
            "number": wanted.number,
            "ksef_number": wanted.ksef_number,
            "sha256": wanted.sha256,
            "held": wanted.held,
        }
        # The chunks of an upload or a session are ranges of the primary key.
        if only_group and wanted.upload_id is not None and wanted.session_id is None:
            query = _SQL["by_upload"]
        elif only_group and wanted.session_id is not None and wanted.upload_id is None:
            query = _SQL["by_session"]
        elif only_group and wanted.upload_id is None and wanted.session_id is None:
            query = _SQL["by_tenant"]
        else:
            query = _SQL["search"]
        return [(row["id"], row["json"]) for row in await self._database.fetch_all(query, parameters)]

    async def stream(self, tenant_id: int, wanted: InvoiceFilter) -> AsyncIterator[list[dict[str, Any]]]:
        """Give all invoices that match, a thousand at a time, with constant memory."""
        after = FIRST
        while rows := await self.page(tenant_id, wanted, after=after, limit=_STREAM_ROWS):
            yield [invoice for _, invoice in rows]
            after = rows[-1][0]
            if len(rows) < _STREAM_ROWS:
                return

    async def state_counts(self) -> dict[str, int]:
        """Return the number of invoices of all tenants by state; a state without invoices may be left out."""
        return {row["state"]: row["invoices"] for row in await self._database.fetch_all(_STATE_COUNTS["totals"])}

    async def add_up_totals_for_job(self) -> None:
        """Add up the rows of `invoice_totals` when they are many, so that `state_counts` stays cheap. Safe to repeat."""
        await self._database.execute(_STATE_COUNTS["add_up_totals"], {"at_least": _TOTALS_AT_MOST})
