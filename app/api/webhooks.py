"""Webhooks: where a tenant wants its events, and the history of every delivery."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from app.api.dependencies import CurrentSettings, CurrentStore, CurrentTenant, Now
from app.api.errors import BadCursor, InvalidRequest
from app.api.paging import Cursor, Limit, one_page, read_cursor
from app.api.problems import declare
from app.domain.ids import parse_public_id, public_id
from app.errors import Conflict, NotFound, Unauthorized
from app.settings import Settings
from app.store.events import EventType
from app.store.uploads import iso_utc
from app.store.webhooks import Endpoint
from app.webhooks.addresses import MAX_URL_CHARACTERS, AddressRules, InvalidWebhookUrl, checked_url

router: Final = APIRouter(prefix="/v1", tags=["webhooks"])

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
_Url = Annotated[str, Field(max_length=MAX_URL_CHARACTERS, examples=["https://erp.example/ksef"])]
# PostgreSQL's text has no NUL.
_Description = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
_Events = Annotated[
    list[EventType] | None,
    Field(min_length=1, description="Types of events to send; null sends all, those of the future too."),
]


class NewWebhook(BaseModel):
    """A webhook to register."""

    model_config = ConfigDict(extra="forbid")

    url: _Url
    events: _Events = None
    description: _Description = ""


class WebhookChanges(BaseModel):
    """What to change of a webhook; what is absent stays."""

    model_config = ConfigDict(extra="forbid")

    url: _Url | None = None
    events: _Events = None
    description: _Description | None = None
    disabled: bool | None = None

    @field_validator("url", "description", "disabled")
    @classmethod
    def _is_not_null(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("cannot be null; leave it out to keep it")
        return value


class Webhook(BaseModel):
    """A registered webhook."""

    id: str
    url: str
    description: str
    events: list[str] | None
    created_at: Moment
    disabled_at: Moment | None
    disabled_reason: str | None = Field(description="`asked`, `gone` (it answered 410) or `failing` (for days).")
    failing_since: Moment | None = Field(description="Since when no attempt has succeeded; null when the last one did.")


class Secret(BaseModel):
    """A signing secret, shown this once."""

    secret: str = Field(description="`whsec_` and Base64: what the Standard Webhooks libraries take.")


class NewWebhookAnswer(Webhook, Secret):
    """A webhook just registered, with its secret."""


class Webhooks(BaseModel):
    """A tenant's webhooks, oldest first; there are few, so they are one page."""

    items: list[Webhook]
    next: str | None


class TryItem(BaseModel):
    """One attempt to deliver."""

    number: int
    at: Moment
    milliseconds: int
    status: int | None = Field(description="The HTTP status of the answer; null when there was none.")
    outcome: str = Field(
        description="`delivered`, `refused`, `gone`, `timeout`, `unreachable`, `insecure`, `forbidden`, or `started` when "
        "nobody knows how it ended."
    )
    answer: str | None = Field(description="The beginning of the answer's body, or why there was none.")


class Delivery(BaseModel):
    """An event owed to a webhook."""

    id: str
    webhook: str
    event: str
    type: str
    state: Literal["pending", "succeeded", "failed"]
    reason: str | None = Field(
        description="Why it failed: `exhausted`, `gone`, `endpoint_disabled`, `endpoint_deleted`."
    )
    created_at: Moment
    finished_at: Moment | None
    next_attempt_at: Moment | None
    attempts: list[TryItem]


class Deliveries(BaseModel):
    """Deliveries, those of the newest events first."""

    items: list[Delivery]
    next: str | None


_OF_ONE: Final = declare(Unauthorized, NotFound, InvalidRequest)


@router.post("/webhooks", status_code=201, responses=declare(Unauthorized, InvalidRequest, InvalidWebhookUrl, Conflict))
async def add_webhook(
    new: NewWebhook, response: Response, tenant: CurrentTenant, store: CurrentStore, settings: CurrentSettings, now: Now
) -> NewWebhookAnswer:
    """Register a webhook. The answer has its secret, this once."""
    url = str(checked_url(new.url, _rules(settings)))
    endpoint, secret = await store.webhooks.add(
        tenant.id, url=url, event_types=new.events, description=new.description, now=now
    )
    response.headers["Location"] = f"/v1/webhooks/{endpoint.public_id}"
    return NewWebhookAnswer(secret=secret.text, **_webhook(endpoint))


@router.get("/webhooks", responses=declare(Unauthorized))
async def list_webhooks(tenant: CurrentTenant, store: CurrentStore) -> Webhooks:
    """List the tenant's webhooks."""
    return Webhooks(items=[Webhook(**_webhook(item)) for item in await store.webhooks.endpoints(tenant.id)], next=None)


@router.get("/webhooks/{webhook_id}", responses=_OF_ONE)
async def get_webhook(webhook_id: str, tenant: CurrentTenant, store: CurrentStore) -> Webhook:
    """Show one webhook."""
    return Webhook(**_webhook(await store.webhooks.get(tenant.id, parse_public_id("whk", webhook_id))))


@router.patch("/webhooks/{webhook_id}", responses=declare(Unauthorized, NotFound, InvalidRequest, InvalidWebhookUrl))
async def change_webhook(
    webhook_id: str,
    changes: WebhookChanges,
    tenant: CurrentTenant,
    store: CurrentStore,
    settings: CurrentSettings,
    now: Now,
) -> Webhook:
    """Change a webhook. `"disabled": false` switches one on again that was disabled."""
    fields = changes.model_dump(exclude_unset=True)
    if changes.url is not None:
        fields["url"] = str(checked_url(changes.url, _rules(settings)))
    if "events" in fields:
        fields["event_types"] = changes.events
    endpoint = await store.webhooks.update(
        tenant.id, parse_public_id("whk", webhook_id), changes=fields, disabled=changes.disabled, now=now
    )
    return Webhook(**_webhook(endpoint))


@router.delete("/webhooks/{webhook_id}", status_code=204, responses=_OF_ONE)
async def delete_webhook(webhook_id: str, tenant: CurrentTenant, store: CurrentStore, now: Now) -> None:
    """Delete a webhook with its secrets; what it is still owed is not sent any more."""
    await store.webhooks.delete(tenant.id, parse_public_id("whk", webhook_id), now=now)


@router.post("/webhooks/{webhook_id}/rotate-secret", responses=_OF_ONE)
async def rotate_secret(webhook_id: str, tenant: CurrentTenant, store: CurrentStore, now: Now) -> Secret:
    """Give the webhook a new secret, shown this once. The old one signs beside it for 24 hours."""
    secret = await store.webhooks.rotate(tenant.id, parse_public_id("whk", webhook_id), now=now)
    return Secret(secret=secret.text)


@router.post(
    "/webhooks/{webhook_id}/test", status_code=202, responses=declare(Unauthorized, NotFound, InvalidRequest, Conflict)
)
async def test_webhook(webhook_id: str, tenant: CurrentTenant, store: CurrentStore, now: Now) -> Delivery:
    """Send a `webhook.test` event to this webhook only. `GET /v1/deliveries/{id}` shows what became of it."""
    delivery_id = await store.webhooks.test(tenant.id, parse_public_id("whk", webhook_id), now=now)
    return _delivery(await store.webhooks.delivery(tenant.id, delivery_id))


@router.get("/webhooks/{webhook_id}/deliveries", responses=declare(Unauthorized, NotFound, InvalidRequest, BadCursor))
async def list_deliveries(
    webhook_id: str,
    tenant: CurrentTenant,
    store: CurrentStore,
    state: Annotated[Literal["pending", "succeeded", "failed"] | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Deliveries:
    """List what the webhook was sent, or is owed, with every attempt."""
    endpoint = await store.webhooks.get(tenant.id, parse_public_id("whk", webhook_id))
    rows = await store.webhooks.deliveries(
        tenant.id, endpoint.id, before=read_cursor(cursor), state=state, limit=limit + 1
    )
    kept, following = one_page(rows, limit, _row_id)
    return Deliveries(items=[_delivery(row) for row in kept], next=following)


@router.get("/deliveries/{delivery_id}", responses=_OF_ONE)
async def get_delivery(delivery_id: str, tenant: CurrentTenant, store: CurrentStore) -> Delivery:
    """Show one delivery with every attempt."""
    return _delivery(await store.webhooks.delivery(tenant.id, parse_public_id("dlv", delivery_id)))


@router.post(
    "/deliveries/{delivery_id}/retry",
    status_code=202,
    responses=declare(Unauthorized, NotFound, InvalidRequest, Conflict),
)
async def retry_delivery(delivery_id: str, tenant: CurrentTenant, store: CurrentStore, now: Now) -> Delivery:
    """Try a delivery again now, whatever became of it before. Attempts go on counting, and so does the schedule."""
    wanted = parse_public_id("dlv", delivery_id)
    await store.webhooks.retry(tenant.id, wanted, now=now)
    return _delivery(await store.webhooks.delivery(tenant.id, wanted))


def _rules(settings: Settings) -> AddressRules:
    return AddressRules(allow_http=settings.webhook_allow_http, allow_private=settings.webhook_allow_private)


def _row_id(row: Mapping[str, Any]) -> UUID:
    found: UUID = row["id"]
    return found


def _webhook(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "id": endpoint.public_id,
        "url": endpoint.url,
        "description": endpoint.description,
        "events": list(endpoint.event_types) if endpoint.event_types is not None else None,
        "created_at": iso_utc(endpoint.created_at),
        "disabled_at": iso_utc(endpoint.disabled_at),
        "disabled_reason": endpoint.disabled_reason,
        "failing_since": iso_utc(endpoint.failing_since),
    }


def _delivery(row: Mapping[str, Any]) -> Delivery:
    return Delivery(
        id=public_id("dlv", row["id"]),
        webhook=public_id("whk", row["endpoint_id"]),
        event=public_id("evt", row["event_id"]),
        type=row["event_type"],
        state=row["state"],
        reason=row["reason"],
        created_at=iso_utc(row["created_at"]) or "",
        finished_at=iso_utc(row["finished_at"]),
        next_attempt_at=iso_utc(row["next_attempt_at"]),
        attempts=[
            TryItem(
                number=attempt["attempt"],
                at=iso_utc(attempt["at"]) or "",
                milliseconds=attempt["milliseconds"],
                status=attempt["status"],
                outcome=attempt["outcome"],
                answer=attempt["answer"],
            )
            for attempt in row["tries"]
        ],
    )
