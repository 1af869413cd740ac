"""`/v1/deliveries` and `/v1/replays`: the history of deliveries to webhooks, retries, and replays of missed events."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from app.api.dependencies import CurrentStore, CurrentTenant, Now
from app.api.http.errors import BadCursor, InvalidRequest
from app.api.http.moments import MomentOrUtc, read_moment
from app.api.http.paging import Cursor, Limit, one_page, read_cursor
from app.api.http.problems import declare
from app.domain.ids import parse_public_id, public_id
from app.domain.timestamps import iso_utc
from app.errors import Conflict, NotFound, Unauthorized
from app.open_values import OpenValues
from app.shapes import Timestamp
from app.store.events.outbox import EventType
from app.store.events.replays import ReplayConflict, UnknownEvent, Wanted
from app.webhooks.delivery import plain_headers
from app.webhooks.event_schemas import Event
from app.webhooks.headers import MASK

router: Final = APIRouter(prefix="/v1", tags=["webhooks"])


class DeliveryState(StrEnum):
    """States of a delivery."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class ReplayState(StrEnum):
    """States of a replay."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"


class SentRequest(BaseModel):
    """The request of an attempt. Its body is the same in all attempts; the delivery's `body` has its address."""

    method: Annotated[Literal["POST"], OpenValues(Literal["POST"])]
    url: str | None = Field(description="The address of the request; null for attempts of older versions.")
    headers: dict[str, str] = Field(description="Signatures and the values of the webhook's own headers are masked.")
    bytes: int | None = Field(description="Size of the body; null when the end of the attempt was not recorded.")


class AttemptInfo(BaseModel):
    """One attempt to deliver."""

    number: int
    at: Timestamp
    milliseconds: int
    status: int | None = Field(description="The HTTP status of the answer; null when there was none.")
    outcome: str = Field(
        description="`delivered`, `refused`, `gone`, `timeout`, `unreachable`, `insecure`, `forbidden`, or `started` when "
        "its end was not recorded; expect others."
    )
    answer: str | None = Field(description="The beginning of the answer's body, or why there was none.")
    request: SentRequest


class Delivery(BaseModel):
    """One event for one webhook, and the attempts to deliver it."""

    id: str
    webhook: str
    event: str
    type: str
    session: str | None = Field(description="The session that the event concerns; null for other events.")
    state: Annotated[DeliveryState, OpenValues(DeliveryState)]
    reason: str | None = Field(
        description="Why it failed: `exhausted`, `gone`, `endpoint_disabled`, `endpoint_deleted`; expect others."
    )
    created_at: Timestamp
    finished_at: Timestamp | None
    next_attempt_at: Timestamp | None
    body: str = Field(description="Where this API gives the body, byte for byte as it is sent.")
    attempts: list[AttemptInfo]


class Deliveries(BaseModel):
    """A page of deliveries, those of the newest events first."""

    items: list[Delivery]
    next: str | None


class NewReplay(BaseModel):
    """The events to send again."""

    model_config = ConfigDict(extra="forbid")

    since: str = Field(
        max_length=64,
        description="A time (UTC without an offset), or the id of the last event that the receiver has.",
        examples=["2026-11-21T08:00:00Z"],
    )
    until: MomentOrUtc | None = Field(None, description="Events up to this time; if absent, up to now.")
    types: list[EventType] | None = Field(
        None, min_length=1, description="Only these types, of those that the webhook receives."
    )
    all: bool = Field(False, description="Also events that were delivered, not only those that were missed or failed.")


class Replay(BaseModel):
    """A replay and its progress."""

    id: str
    webhook: str
    state: Annotated[ReplayState, OpenValues(ReplayState)] = Field(
        description="`running`; `completed`: all deliveries are scheduled, though not yet made; `stopped`: the webhook was disabled "
        "meanwhile. Expect others."
    )
    since: str = Field(description="As requested: a time, or an event's id.")
    until: Timestamp
    types: list[str] | None
    all: bool
    events: int = Field(description="Number of events to send, counted at its start.")
    made: int = Field(description="Number of events scheduled so far.")
    created_at: Timestamp
    finished_at: Timestamp | None


class Replays(BaseModel):
    """Replays of a webhook, newest first."""

    items: list[Replay]
    next: str | None


_OF_ONE: Final = declare(Unauthorized, NotFound, InvalidRequest)


@router.get("/webhooks/{webhook_id}/deliveries", responses=declare(Unauthorized, NotFound, InvalidRequest, BadCursor))
async def list_webhook_deliveries(
    webhook_id: str,
    tenant: CurrentTenant,
    store: CurrentStore,
    state: Annotated[DeliveryState | None, Query(description="Only deliveries in this state.")] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Deliveries:
    """List the deliveries of a webhook, pending and ended, with every attempt."""
    endpoint = await store.webhooks.get(tenant.id, parse_public_id("whk", webhook_id))
    rows = await store.deliveries.page(
        tenant.id, endpoint.id, before=read_cursor(cursor), state=state.value if state else None, limit=limit + 1
    )
    kept, following = one_page(rows, limit, _row_id)
    return Deliveries(items=[delivery_shape(row) for row in kept], next=following)


@router.get("/deliveries/{delivery_id}", responses=_OF_ONE)
async def get_delivery(delivery_id: str, tenant: CurrentTenant, store: CurrentStore) -> Delivery:
    """Show one delivery with every attempt."""
    return delivery_shape(await store.deliveries.get(tenant.id, parse_public_id("dlv", delivery_id)))


@router.get(
    "/deliveries/{delivery_id}/body",
    response_class=Response,
    responses={200: {"description": "The event, as it is sent.", "model": Event}, **_OF_ONE},
)
async def get_delivery_body(delivery_id: str, tenant: CurrentTenant, store: CurrentStore) -> Response:
    """Return the body of a delivery, byte for byte as every attempt sends it."""
    body = await store.deliveries.body(tenant.id, parse_public_id("dlv", delivery_id))
    return Response(body, media_type="application/json")


@router.post(
    "/deliveries/{delivery_id}/retry",
    status_code=202,
    responses=declare(Unauthorized, NotFound, InvalidRequest, Conflict),
)
async def retry_delivery(delivery_id: str, tenant: CurrentTenant, store: CurrentStore, now: Now) -> Delivery:
    """Try a delivery again now, in any state. The number of attempts and the schedule continue from where they are."""
    wanted = parse_public_id("dlv", delivery_id)
    await store.deliveries.retry(tenant.id, wanted, now=now)
    return delivery_shape(await store.deliveries.get(tenant.id, wanted))


@router.post(
    "/webhooks/{webhook_id}/replay",
    status_code=202,
    responses=declare(Unauthorized, NotFound, InvalidRequest, Conflict, ReplayConflict, UnknownEvent),
)
async def replay_webhook(
    webhook_id: str, new: NewReplay, response: Response, tenant: CurrentTenant, store: CurrentStore, now: Now
) -> Replay:
    """Send the webhook the events that it missed since a time or an event: failed ones, and those while it was disabled.

    Each event is sent once: pending deliveries stay unchanged, and the same request during a replay returns that replay.
    """
    since, event = _since(new.since)
    wanted = Wanted(
        since=since,
        since_event=event,
        until=new.until,
        types=tuple(new.types) if new.types is not None else None,
        everything=new.all,
    )
    row = await store.replays.start(tenant.id, parse_public_id("whk", webhook_id), wanted, now=now)
    response.headers["Location"] = f"/v1/replays/{public_id('rpl', row['id'])}"
    return _replay(row)


@router.get("/webhooks/{webhook_id}/replays", responses=_OF_ONE)
async def list_webhook_replays(webhook_id: str, tenant: CurrentTenant, store: CurrentStore) -> Replays:
    """List the last hundred replays of a webhook."""
    endpoint = await store.webhooks.get(tenant.id, parse_public_id("whk", webhook_id))
    return Replays(items=[_replay(row) for row in await store.replays.of_endpoint(tenant.id, endpoint.id)], next=None)


@router.get("/replays/{replay_id}", responses=_OF_ONE)
async def get_replay(replay_id: str, tenant: CurrentTenant, store: CurrentStore) -> Replay:
    """Show one replay."""
    return _replay(await store.replays.get(tenant.id, parse_public_id("rpl", replay_id)))


def delivery_shape(row: Mapping[str, Any]) -> Delivery:
    """Return the row of a delivery, with its `tries`, as the API shows it."""
    name = public_id("dlv", row["id"])
    event = public_id("evt", row["event_id"])
    return Delivery(
        id=name,
        webhook=public_id("whk", row["endpoint_id"]),
        event=event,
        type=row["event_type"],
        session=public_id("ses", row["session_id"]) if row["session_id"] is not None else None,
        state=row["state"],
        reason=row["reason"],
        created_at=iso_utc(row["created_at"]) or "",
        finished_at=iso_utc(row["finished_at"]),
        next_attempt_at=iso_utc(row["next_attempt_at"]),
        body=f"/v1/deliveries/{name}/body",
        attempts=[
            AttemptInfo(
                number=attempt["attempt"],
                at=iso_utc(attempt["at"]) or "",
                milliseconds=attempt["milliseconds"],
                status=attempt["status"],
                outcome=attempt["outcome"],
                answer=attempt["answer"],
                request=_request(attempt, event),
            )
            for attempt in row["tries"]
        ],
    )


def _request(attempt: Mapping[str, Any], event: str) -> SentRequest:
    headers = plain_headers() | {
        "webhook-id": event,
        "webhook-timestamp": str(int(attempt["at"].timestamp())),
        "webhook-signature": MASK,
    }
    headers |= dict.fromkeys(attempt["header_names"] or (), MASK)
    return SentRequest(method="POST", url=attempt["url"], headers=headers, bytes=attempt["bytes"])


def _replay(row: Mapping[str, Any]) -> Replay:
    since = public_id("evt", row["since_event"]) if row["since_event"] is not None else iso_utc(row["since"])
    return Replay(
        id=public_id("rpl", row["id"]),
        webhook=public_id("whk", row["endpoint_id"]),
        state=row["state"],
        since=since or "",
        until=iso_utc(row["until"]) or "",
        types=row["event_types"],
        all=row["everything"],
        events=row["events"],
        made=row["made"],
        created_at=iso_utc(row["created_at"]) or "",
        finished_at=iso_utc(row["finished_at"]),
    )


def _since(text: str) -> tuple[datetime | None, UUID | None]:
    """Parse a time or an event's id; return the one that it is, and None for the other."""
    if text.startswith("evt_"):
        try:
            return None, parse_public_id("evt", text)
        except NotFound as error:
            raise UnknownEvent(error.detail) from error
    try:
        return read_moment(text), None
    except ValueError as error:
        raise InvalidRequest(
            "since is neither a time (ISO 8601, from 1970 to 2100) nor the id of an event",
            errors=[{"where": "body.since", "message": "write 2026-11-21T08:00:00Z, or evt_ and 32 hex digits"}],
        ) from error


def _row_id(row: Mapping[str, Any]) -> UUID:
    found: UUID = row["id"]
    return found
