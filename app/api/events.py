"""The same events to pull, by cursor, for whoever missed some or takes no webhooks."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from app.api.dependencies import CurrentStore, CurrentTenant
from app.api.errors import BadCursor, InvalidRequest
from app.api.paging import Limit
from app.api.problems import declare
from app.domain.ids import parse_public_id, public_id
from app.errors import NotFound, Unauthorized
from app.events import Event
from app.store.events import EventType
from app.store.uploads import iso_utc
from app.webhooks.delivery import event_body

router: Final = APIRouter(prefix="/v1", tags=["webhooks"])


class EventPage(BaseModel):
    """Events, oldest first. A page of large events ends early: `next` alone says whether there are more."""

    items: list[Event]
    next: str | None = Field(description="The cursor of the next page; null when there is nothing more yet.")


@router.get(
    "/events",
    response_class=Response,
    responses={
        200: {"description": "Events, oldest first.", "model": EventPage},
        **declare(Unauthorized, InvalidRequest, BadCursor),
    },
)
async def list_events(
    tenant: CurrentTenant,
    store: CurrentStore,
    cursor: Annotated[
        str | None,
        Query(max_length=100, description="`next` of the page before, or the id of the last event that you have."),
    ] = None,
    limit: Limit = 100,
    types: Annotated[list[str] | None, Query(description="Only these types; repeated or separated by commas.")] = None,
) -> Response:
    """Give events that happened after another one. Going on from the last event that you have never misses one."""
    wanted = _types(types)
    try:
        after = parse_public_id("evt", cursor) if cursor is not None else None
        rows, more = await store.webhooks.events_after(tenant.id, after=after, types=wanted, limit=limit)
    except NotFound as error:
        raise BadCursor("the cursor is neither `next` of this list nor the id of one of your events") from error
    items = [
        event_body(
            {
                "id": public_id("evt", row["id"]),
                "type": row["type"],
                "timestamp": iso_utc(row["created_at"]),
                "tenant": tenant.public_id,
                "data": row["data"],
            }
        )
        for row in rows
    ]
    # The data is JSON already, as the database wrote it: reading and writing it again would hold up everybody else.
    following = f'"{public_id("evt", rows[-1]["id"])}"' if more else "null"
    return Response(
        b'{"items":[' + b",".join(items) + b'],"next":' + following.encode() + b"}", media_type="application/json"
    )


def _types(given: list[str] | None) -> list[str] | None:
    if given is None:
        return None
    wanted = [name.strip() for item in given for name in item.split(",") if name.strip()]
    known = {event_type.value for event_type in EventType}
    unknown = sorted(set(wanted) - known)
    if unknown:
        raise InvalidRequest(
            f"there are no events of type {unknown[0][:64]!r}; there are {', '.join(sorted(known))}",
            errors=[{"where": "query.types", "message": f"unknown type {name[:64]!r}"} for name in unknown],
        )
    return wanted or None
