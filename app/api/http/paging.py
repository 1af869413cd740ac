"""Pages of lists: the parameters `limit` and `cursor` (opaque), and the members `items` and `next` of the answer."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Query

from app.api.http.errors import BadCursor

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=1000, description="The largest number of items on the page.")]
Cursor = Annotated[
    str | None, Query(max_length=100, description="`next` of the previous page; without it, the first page.")
]


def write_cursor(last: UUID) -> str:
    """Return the cursor after an item; clients must not interpret it."""
    return base64.urlsafe_b64encode(last.bytes).decode("ascii").rstrip("=")


def read_cursor(text: str | None) -> UUID | None:
    """Return the id in a cursor of `write_cursor`, None without a cursor. Raises BadCursor."""
    if text is None:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = UUID(bytes=raw)
    except (binascii.Error, ValueError) as error:
        raise BadCursor("the cursor was not made by this list; start without one") from error
    return cursor


def one_page(rows: Sequence[Item], limit: int, id_of: Callable[[Item], UUID]) -> tuple[Sequence[Item], str | None]:
    """Return at most `limit` of the rows, which were read with one row more, and the cursor of the next page if there is one."""
    if len(rows) <= limit:
        return rows, None
    kept = rows[:limit]
    return kept, write_cursor(id_of(kept[-1]))
