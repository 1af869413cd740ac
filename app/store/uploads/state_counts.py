"""Invoices that a statement has moved to another state, counted over to their uploads."""

from uuid import UUID

from psycopg import AsyncCursor
from psycopg.rows import DictRow

from app.domain.states import InvoiceState
from app.store.database import Connection
from app.store.uploads.uploads import UploadStore


async def shift_counted(
    uploads: UploadStore, connection: Connection, moved: AsyncCursor[DictRow], *, old: InvoiceState, new: InvoiceState
) -> int:
    """Follow a statement that moved invoices and gave (upload_id, n) with the counts of their uploads; returns how many.

    Call it last in a transaction: the rows of the uploads are locked.
    """
    by_upload: dict[UUID, int] = {row["upload_id"]: row["n"] for row in await moved.fetchall()}
    await uploads.shift(connection, by_upload, old=old, new=new)
    return sum(by_upload.values())
