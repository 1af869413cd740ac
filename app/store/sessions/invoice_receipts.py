"""Receipts (UPO) of single invoices, as KSeF signed them. Those of a batch session are in `upo_pages`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from psycopg.rows import DictRow

from app.store.database import Connection, Database, queries

_SQL: Final = queries("duplicates")

RECEIPT_PAUSE: Final = timedelta(days=1)
_RECEIPT_ASKS: Final = 7


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """The receipt of one invoice whose bytes are stored."""

    session_reference_number: str
    blob_key: str
    size: int
    sha256: bytes


class ReceiptStore:
    """Rows of receipts of single invoices."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, tenant_id: int, invoice_id: UUID) -> DictRow | None:
        """Return the row of an invoice's own receipt: blob_key, bytes, session_reference_number; None without one."""
        return await self._database.fetch_one(_SQL["receipt"], {"id": invoice_id, "tenant_id": tenant_id})

    async def add_for_job(
        self, connection: Connection, tenant_id: int, receipts: Mapping[UUID, StoredReceipt], *, now: datetime
    ) -> None:
        """Record receipts whose bytes are stored, in the caller's transaction. Safe to repeat."""
        keys = sorted(receipts)
        await connection.execute(
            _SQL["add_receipts"],
            {
                "tenant_id": tenant_id,
                "now": now,
                "ids": keys,
                "sessions": [receipts[key].session_reference_number for key in keys],
                "blob_keys": [receipts[key].blob_key for key in keys],
                "bytes": [receipts[key].size for key in keys],
                "sha256": [receipts[key].sha256 for key in keys],
            },
        )

    async def found(self, tenant_id: int, receipts: Mapping[UUID, StoredReceipt], *, now: datetime) -> None:
        """Keep receipts that were missing, and take their findings back."""
        parameters = {"tenant_id": tenant_id, "ids": sorted(receipts)}
        async with self._database.transaction() as connection:
            await self.add_for_job(connection, tenant_id, receipts, now=now)
            await connection.execute(_SQL["receipt_found"], parameters)
            await connection.execute(_SQL["end_receipt_asks"], parameters)

    async def ask_again(self, tenant_id: int, ids: Iterable[UUID], *, now: datetime) -> None:
        """Record that KSeF still gives no receipt: it is asked again in a day, seven times in all."""
        parameters = {"tenant_id": tenant_id, "ids": sorted(ids), "most": _RECEIPT_ASKS, "next_at": now + RECEIPT_PAUSE}
        await self._database.execute(_SQL["ask_receipt_again"], parameters)
