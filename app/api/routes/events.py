"""`/v1/events`: the events that webhooks deliver, as pages by cursor, with waiting, or as a stream."""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Final

import anyio
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.security.utils import get_authorization_scheme_param
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.api.dependencies import CurrentState, CurrentTenant, tenant_of_key
from app.api.http import sse
from app.api.http.errors import BadCursor, Busy, InvalidRequest, TooManyFailedKeys
from app.api.http.moments import Moment
from app.api.http.paging import Limit
from app.api.http.problems import declare
from app.api.http.sse import EventStream
from app.api.state import ApiState
from app.domain.ids import parse_public_id, public_id
from app.domain.timestamps import iso_utc
from app.errors import DispatchError, Forbidden, NotFound, Unauthorized
from app.store.database_errors import DatabaseError
from app.store.events.feed import BEGINNING, EventCursor, FeedPage
from app.store.events.outbox import EventType
from app.store.tenants.tenants import Tenant
from app.webhooks.delivery import event_body
from app.webhooks.event_schemas import Event

router: Final = APIRouter(prefix="/v1", tags=["events"])

MAX_WAIT_SECONDS: Final = 60
"""Longest wait of a request; proxies close connections that are silent for longer."""

RECHECK_SECONDS: Final = 5.0
"""Seconds without an event after which a stream checks its API key again."""

_NOW: Final = "now"
"""The cursor after all events that exist."""

_STREAM_LIMIT: Final = 20
_STREAM_BYTES: Final = 50_000
"""Events and bytes that a stream reads at a time: they stay in memory until a slow client has read them."""

_PREFERRED_WAIT: Final = re.compile(r'(?:^|,)\s*wait\s*=\s*"?(\d{1,9})"?\s*(?=$|[,;])', re.IGNORECASE)


class EventPage(BaseModel):
    """Events, oldest first. A page of large events ends before `limit`; only `next` shows whether there are more."""

    items: list[Event]
    next: str | None = Field(description="The cursor of the next page; null when there are no more events yet.")
    cursor: str = Field(
        description="Where to continue: `next` if there is one, else the end of the events. An empty page has one, too."
    )


CursorParameter = Annotated[
    str | None,
    Query(
        max_length=100,
        description="`next` or `cursor` of the page before, the id of the last event that you have, or `now`.",
    ),
]
Types = Annotated[list[str] | None, Query(description="Only these types; repeated or separated by commas.")]
Since = Annotated[
    Moment | None,
    Query(description="Only events that happened at this time or later; the time needs an offset."),
]


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
    prefer: Annotated[
        str | None, Header(max_length=500, description="`wait=N`: as `wait`, at most 60 seconds.")
    ] = None,
) -> Response:
    """Return the events after a cursor, oldest first. A client that continues from its last event misses none."""
    wanted = _types(types)
    after = await _position(state, tenant, cursor) if cursor is not None else BEGINNING
    preferred = _preferred_wait(prefer) if wait is None else None
    seconds = wait if wait is not None else preferred or 0

    async def read(after: EventCursor) -> FeedPage:
        return await state.store.feed.page(tenant.id, after=after, types=wanted, since=since, limit=limit)

    page = await read(after)
    if not page.rows and seconds and not state.watcher.is_ending:
        with state.watcher.waiter_slot(tenant.id):
            page = await _while_connected(request, lambda: _wait(state, request, tenant, page, read, seconds))
    items = [_body(tenant, row) for row in page.rows]
    # The database stores the data as JSON text. Parsing it and writing it again would delay other requests.
    following = f'"{page.cursor.public_id}"'
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
            "content": {sse.MEDIA_TYPE: {"schema": {"type": "string"}}},
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
        str | None, Header(max_length=100, description="The last `id` that the client has; used instead of `cursor`.")
    ] = None,
) -> Response:
    """Stream events as server-sent events, from a cursor, from a time, or without both from now on."""
    wanted = _types(types)
    start = last_event_id or cursor
    if start is not None:
        after = await _position(state, tenant, start)
    elif since is not None:
        after = BEGINNING
    else:
        after = await _position(state, tenant, _NOW)
    pieces = _stream(state, request, tenant, after, wanted, since)
    # The first piece is made before the status is sent, so that too many streams are answered with a problem.
    return EventStream(await anext(pieces), pieces)


async def _wait(
    state: ApiState,
    request: Request,
    tenant: Tenant,
    page: FeedPage,
    read: Callable[[EventCursor], Awaitable[FeedPage]],
    seconds: float,
) -> FeedPage:
    """Read until there are events, the time is over or the process is stopping; return the last page, which may be empty."""
    deadline = anyio.current_time() + seconds
    while not page.rows and await state.watcher.wait_beyond(
        tenant.id, page.cursor, seconds=deadline - anyio.current_time()
    ):
        # A cancelled query would close the connection to the database; a client that disconnects must not cause that.
        with anyio.CancelScope(shield=True):
            await tenant_of_key(request, _key(request))
            page = await read(page.cursor)
    return page


async def _stream(
    state: ApiState,
    request: Request,
    tenant: Tenant,
    after: EventCursor,
    types: list[str] | None,
    since: datetime | None,
) -> AsyncGenerator[bytes, None]:
    with state.watcher.waiter_slot(tenant.id):
        yield sse.opening(after.public_id)
        sent_at, is_due = anyio.current_time(), True
        while not state.watcher.is_ending:
            try:
                # A cancelled query would close the connection to the database; a client that disconnects must not cause that.
                with anyio.CancelScope(shield=True):
                    await tenant_of_key(request, _key(request))
                    page = FeedPage((), False, after)
                    if is_due:
                        page = await state.store.feed.page(
                            tenant.id,
                            after=after,
                            types=types,
                            since=since,
                            limit=_STREAM_LIMIT,
                            max_bytes=_STREAM_BYTES,
                        )
            except (Unauthorized, Forbidden, TooManyFailedKeys):
                # The client gets the reason when it connects again with this key.
                return
            except DatabaseError:
                # Without the database neither events nor keys can be read. The client keeps its connection until the database answers.
                await state.watcher.pause(RECHECK_SECONDS)
                page, is_due = FeedPage((), True, after), True
            for row in page.rows:
                yield sse.frame(public_id("evt", row["id"]), row["type"], _body(tenant, row))
                sent_at = anyio.current_time()
            if page.cursor > after and (not page.rows or page.rows[-1]["id"] != page.cursor.event_id):
                yield sse.moved(page.cursor.public_id)
                sent_at = anyio.current_time()
            after = page.cursor
            if not page.more:
                is_due = await state.watcher.wait_beyond(tenant.id, after, seconds=RECHECK_SECONDS)
            # At most half of RECHECK_SECONDS early, never late.
            if anyio.current_time() - sent_at > sse.HEARTBEAT_SECONDS - RECHECK_SECONDS / 2:
                yield sse.HEARTBEAT
                sent_at = anyio.current_time()


async def _while_connected(request: Request, work: Callable[[], Awaitable[FeedPage]]) -> FeedPage:
    """Run `work` while the client is connected. Raises ClientDisconnect when it disconnects, and the errors of `work`."""
    done: list[FeedPage] = []
    failed: list[DispatchError | HTTPException] = []

    async with anyio.create_task_group() as tasks:

        async def listen() -> None:
            try:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
            except HTTPException as error:
                # The body is larger than the limit, which applies to a GET, too.
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


async def _position(state: ApiState, tenant: Tenant, cursor: str) -> EventCursor:
    if cursor == _NOW:
        return (await state.store.feed.newest([tenant.id])).get(tenant.id, BEGINNING)
    try:
        return await state.store.feed.cursor_of(tenant.id, parse_public_id("evt", cursor))
    except NotFound as error:
        raise BadCursor(
            "the cursor is neither `next` or `cursor` of this list nor the id of an event that the service still has"
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
