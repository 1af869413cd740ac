"""Pages of a list: `limit`, an opaque `cursor`, and the answer's `items` and `next`."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Query

from app.api.http.errors import BadCursor

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=1000, description="How many items the page has at most.")]
Cursor = Annotated[
    str | None, Query(max_length=100, description="`next` of the page before; without it, the first page.")
]


def write_cursor(last: UUID) -> str:
    """Write the place after an item; users must not read anything into it."""
    return base64.urlsafe_b64encode(last.bytes).decode("ascii").rstrip("=")


def read_cursor(text: str | None) -> UUID | None:
    """Read what `write_cursor` wrote, None when there is none. Raises BadCursor."""
    if text is None:
        return None
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = UUID(bytes=raw)
    except (binascii.Error, ValueError) as error:
        raise BadCursor("the cursor is not one that this list gave; start without one") from error
    return cursor


def one_page(rows: Sequence[Item], limit: int, id_of: Callable[[Item], UUID]) -> tuple[Sequence[Item], str | None]:
    """Cut what was read with one row more than asked for, and give the cursor of the next page if there is one."""
    if len(rows) <= limit:
        return rows, None
    kept = rows[:limit]
    return kept, write_cursor(id_of(kept[-1]))
