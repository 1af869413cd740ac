"""Update an upload's counters of invoices by state, and the totals, after a statement changed the state of its invoices."""

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from psycopg import AsyncCursor
from psycopg.rows import DictRow

from app.domain.states import InvoiceState
from app.store.database import Connection, queries

_SQL: Final = queries("state_counts")


async def move(connection: Connection, by_upload: Mapping[UUID, int], *, old: InvoiceState, new: InvoiceState) -> None:
    """Move invoices from the counter of one state to that of another, for each upload.

    Call it last in a transaction: the rows of the uploads stay locked until its end.
    """
    if not by_upload:
        return
    ids = sorted(by_upload)
    await connection.execute(_SQL["lock_uploads"], {"ids": ids})
    await connection.execute(
        _SQL["move_counts"],
        {"ids": ids, "counts": [by_upload[key] for key in ids], "old": old.value, "new": new.value},
    )


async def move_returned(
    connection: Connection, moved: AsyncCursor[DictRow], *, old: InvoiceState, new: InvoiceState
) -> int:
    """Move the counters by the rows (upload_id, n) that a statement returned; return the number of invoices.

    Call it last in a transaction, as `move`.
    """
    by_upload: dict[UUID, int] = {row["upload_id"]: row["n"] for row in await moved.fetchall()}
    await move(connection, by_upload, old=old, new=new)
    return sum(by_upload.values())
