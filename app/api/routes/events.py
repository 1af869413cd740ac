"""The same events to pull, by cursor, waiting for them if wanted, or as a stream."""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Final

import anyio
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.security.utils import get_authorization_scheme_param
from pydantic import AwareDatetime, BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.api.dependencies import CurrentState, CurrentTenant
from app.api.http import sse as event_stream
from app.api.http.errors import BadCursor, Busy, InvalidRequest
from app.api.http.paging import Limit
from app.api.http.problems import declare
from app.api.http.sse import EventStream
from app.api.state import ApiState
from app.domain.ids import parse_public_id, public_id
from app.domain.timestamps import iso_utc
from app.errors import DispatchError, Forbidden, NotFound, Unauthorized
from app.store.database import DatabaseUnavailable
from app.store.events.feed import BEGINNING, FeedPage, Place
from app.store.events.outbox import EventType
from app.store.tenants.tenants import Tenant
from app.webhooks.delivery import event_body
from app.webhooks.event_schemas import Event

router: Final = APIRouter(prefix="/v1", tags=["webhooks"])

MAX_WAIT_SECONDS: Final = 60
"""Longer, and proxies would take the connection for dead."""

RECHECK_SECONDS: Final = 5.0
"""A stream asks this often, while nothing happens, whether its key is still good."""

_NOW: Final = "now"
"""As a cursor: after everything that there is already."""

_STREAM_LIMIT: Final = 20
_STREAM_BYTES: Final = 50_000
"""A stream reads little at a time: what it has read it holds until a slow reader has taken it."""

_PREFERRED_WAIT: Final = re.compile(r'(?:^|,)\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=$|[,;])', re.IGNORECASE)


class EventPage(BaseModel):
    """Events, oldest first. A page of large events ends early: `next` alone says whether there are more."""

    items: list[Event]
    next: str | None = Field(description="The cursor of the next page; null when there is nothing more yet.")
    cursor: str = Field(
        description="Where to go on, always: `next` if there is one, else after everything that was there. An empty page has one too."
    )


CursorParameter = Annotated[
    str | None,
    Query(
        max_length=100,
        description="`next` or `cursor` of the page before, the id of the last event that you have, or `now`.",
    ),
]
Types = Annotated[list[str] | None, Query(description="Only these types; repeated or separated by commas.")]
Since = Annotated[AwareDatetime | None, Query(description="Only what happened at this time or later; with an offset.")]


@router.get(
    "/events",
    response_class=Response,
    responses={
        200: {"description": "Events, oldest first.", "model": EventPage},
        **declare(Unauthorized, InvalidRequest, BadCursor, Busy),
    },
)
async def list_events(
    request: Request,
    tenant: CurrentTenant,
    state: CurrentState,
    cursor: CursorParameter = None,
    limit: Limit = 100,
    types: Types = None,
    since: Since = None,
    wait: Annotated[
        int | None,
        Query(
            ge=0,
            le=MAX_WAIT_SECONDS,
            description="Seconds to wait for an event when there is none yet. `Prefer: wait=N` (RFC 7240) asks for the same.",
        ),
    ] = None,
    prefer: Annotated[str | None, Header(max_length=500)] = None,
) -> Response:
    """Give events that happened after another one. Going on from the last event that you have never misses one."""
    wanted = _types(types)
    place = await _place(state, tenant, cursor) if cursor is not None else BEGINNING
    preferred = _preferred_wait(prefer) if wait is None else None
    seconds = wait if wait is not None else preferred or 0

    async def read(after: Place) -> FeedPage:
        return await state.store.feed.page(tenant.id, after=after, types=wanted, since=since, limit=limit)

    page = await read(place)
    if not page.rows and seconds and not state.watcher.is_ending:
        with state.watcher.seat(tenant.id):
            page = await _while_connected(request, lambda: _wait(state, request, tenant, page, read, seconds))
    items = [_body(tenant, row) for row in page.rows]
    # The data is JSON already, as the database wrote it: reading and writing it again would hold up everybody else.
    following = f'"{page.place.public_id}"'
    tail = f'],"next":{following if page.more else "null"},"cursor":{following}}}'
    return Response(
        b'{"items":[' + b",".join(items) + tail.encode("ascii"),
        media_type="application/json",
        headers={"Cache-Control": "no-store"} | ({"Preference-Applied": f"wait={preferred}"} if preferred else {}),
    )


@router.get(
    "/events/stream",
    response_class=Response,
    responses={
        200: {
            "description": "Server-sent events: `id` is the event's id, `event` its type, `data` the event.",
            "content": {event_stream.MEDIA_TYPE: {"schema": {"type": "string"}}},
        },
        **declare(Unauthorized, InvalidRequest, BadCursor, Busy),
    },
)
async def stream_events(
    request: Request,
    tenant: CurrentTenant,
    state: CurrentState,
    cursor: CursorParameter = None,
    types: Types = None,
    since: Since = None,
    last_event_id: Annotated[
        str | None, Header(max_length=100, description="The last `id` that you have; it goes before `cursor`.")
    ] = None,
) -> Response:
    """Stream events as they happen (server-sent events), from a cursor, from a time, or else from now on."""
    wanted = _types(types)
    start = last_event_id or cursor
    if start is not None:
        place = await _place(state, tenant, start)
    elif since is not None:
        place = BEGINNING
    else:
        place = await _place(state, tenant, _NOW)
    pieces = _stream(state, request, tenant, place, wanted, since)
    # The first piece is made before the status is sent, so that too many streams are a problem document.
    return EventStream(await anext(pieces), pieces)


async def _wait(
    state: ApiState,
    request: Request,
    tenant: Tenant,
    page: FeedPage,
    read: Callable[[Place], Awaitable[FeedPage]],
    seconds: float,
) -> FeedPage:
    """Read until there is something, the time is up or the process is to stop; what is given last may be empty."""
    deadline = anyio.current_time() + seconds
    while not page.rows and await state.watcher.beyond(tenant.id, page.place, seconds=deadline - anyio.current_time()):
        # A client that goes in the middle must not cost us the connection to the database.
        with anyio.CancelScope(shield=True):
            await state.authenticator.authenticate(_key(request))
            page = await read(page.place)
    return page


async def _stream(
    state: ApiState, request: Request, tenant: Tenant, place: Place, types: list[str] | None, since: datetime | None
) -> AsyncGenerator[bytes, None]:
    with state.watcher.seat(tenant.id):
        yield event_stream.opening(place.public_id)
        spoke, look = anyio.current_time(), True
        while not state.watcher.is_ending:
            try:
                # A client that goes in the middle must not cost us the connection to the database.
                with anyio.CancelScope(shield=True):
                    await state.authenticator.authenticate(_key(request))
                    page = FeedPage((), False, place)
                    if look:
                        page = await state.store.feed.page(
                            tenant.id,
                            after=place,
                            types=types,
                            since=since,
                            limit=_STREAM_LIMIT,
                            max_bytes=_STREAM_BYTES,
                        )
            except (Unauthorized, Forbidden):
                # The next request with this key learns it in so many words.
                return
            except DatabaseUnavailable:
                # Nothing can be told meanwhile, nor who may hear it; the client need not know.
                await state.watcher.pause(RECHECK_SECONDS)
                page, look = FeedPage((), True, place), True
            for row in page.rows:
                yield event_stream.frame(public_id("evt", row["id"]), row["type"], _body(tenant, row))
                spoke = anyio.current_time()
            if page.place > place and (not page.rows or page.rows[-1]["id"] != page.place.event_id):
                yield event_stream.moved(page.place.public_id)
                spoke = anyio.current_time()
            place = page.place
            if not page.more:
                look = await state.watcher.beyond(tenant.id, place, seconds=RECHECK_SECONDS)
            # Half a turn early rather than half a turn late.
            if anyio.current_time() - spoke > event_stream.HEARTBEAT_SECONDS - RECHECK_SECONDS / 2:
                yield event_stream.HEARTBEAT
                spoke = anyio.current_time()


async def _while_connected(request: Request, work: Callable[[], Awaitable[FeedPage]]) -> FeedPage:
    """Do something for as long as the client is there. Raises ClientDisconnect when it goes, and what the work raises."""
    done: list[FeedPage] = []
    failed: list[DispatchError | HTTPException] = []

    async with anyio.create_task_group() as tasks:

        async def listen() -> None:
            try:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
            except HTTPException as error:
                # A body that is larger than anybody may send; that it comes with a GET makes it no better.
                failed.append(error)
            tasks.cancel_scope.cancel()

        tasks.start_soon(listen)
        try:
            done.append(await work())
        except DispatchError as error:
            failed.append(error)
        tasks.cancel_scope.cancel()
    if failed:
        raise failed[0]
    if not done:
        raise ClientDisconnect
    return done[0]


async def _place(state: ApiState, tenant: Tenant, cursor: str) -> Place:
    if cursor == _NOW:
        return (await state.store.feed.newest([tenant.id])).get(tenant.id, BEGINNING)
    try:
        return await state.store.feed.place_of(tenant.id, parse_public_id("evt", cursor))
    except NotFound as error:
        raise BadCursor(
            "the cursor is neither `next` or `cursor` of this list nor the id of an event that you have and we still have"
        ) from error


def _body(tenant: Tenant, row: Any) -> bytes:
    return event_body(
        {
            "id": public_id("evt", row["id"]),
            "type": row["type"],
            "timestamp": iso_utc(row["created_at"]),
            "tenant": tenant.public_id,
            "data": row["data"],
        }
    )


def _key(request: Request) -> str:
    return get_authorization_scheme_param(request.headers.get("Authorization"))[1]


def _preferred_wait(prefer: str | None) -> int | None:
    found = _PREFERRED_WAIT.search(prefer or "")
    return min(int(found.group(1)), MAX_WAIT_SECONDS) if found else None


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
