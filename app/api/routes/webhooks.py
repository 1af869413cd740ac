"""`/v1/webhooks`: the addresses to which a tenant's events are sent, with their signing, order and concurrency."""

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.json_schema import SkipJsonSchema

from app.api.dependencies import CurrentSettings, CurrentStore, CurrentTenant, Now
from app.api.http.errors import InvalidRequest
from app.api.http.problems import declare
from app.api.routes.deliveries import Delivery, delivery_shape
from app.domain.ids import parse_public_id
from app.domain.timestamps import iso_utc
from app.errors import Conflict, NotFound, Unauthorized
from app.open_values import OpenValues
from app.settings import Settings
from app.shapes import Timestamp
from app.store.events.endpoints import (
    DEFAULT_CONCURRENCY,
    MAX_CONCURRENCY,
    Endpoint,
    NewEndpoint,
    Ordering,
    keys_in_force,
)
from app.store.events.outbox import EventType
from app.webhooks.addresses import MAX_URL_CHARACTERS, AddressRules, InvalidWebhookUrl, checked_url
from app.webhooks.headers import MASK, MAX_HEADERS, InvalidWebhookHeaders, checked_headers
from app.webhooks.signing import Signing, SigningKey, SigningSecret

router: Final = APIRouter(prefix="/v1", tags=["webhooks"])

_Url = Annotated[str, Field(max_length=MAX_URL_CHARACTERS, examples=["https://erp.example/ksef"])]
# A text of PostgreSQL cannot contain NUL.
_Description = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
_Events = Annotated[
    list[EventType] | None,
    Field(min_length=1, description="Types of events to send; null sends all, including future ones."),
]
_Headers = Annotated[
    dict[str, str],
    Field(
        max_length=MAX_HEADERS,
        description="Additional headers of every request, such as Authorization. Stored encrypted, shown masked.",
        examples=[{"Authorization": "Bearer 7f6c"}],
    ),
]
_Concurrency = Annotated[
    int, Field(ge=1, le=MAX_CONCURRENCY, description="Limit on simultaneous requests to this webhook.")
]
_Ordering = Annotated[
    Ordering,
    Field(
        description="`session`: events of one session are sent one after the other, in order; a failed one delays the later ones "
        "of its session. `none`: as fast as the webhook accepts them, roughly in order."
    ),
]
_Signing = Annotated[
    Signing,
    Field(
        description="`hmac`: a shared secret (`v1` signatures). `ed25519`: the receiver verifies with a public key (`v1a`)."
    ),
]


class NewWebhook(BaseModel):
    """A webhook to register."""

    model_config = ConfigDict(extra="forbid")

    url: _Url
    events: _Events = None
    description: _Description = ""
    signing: _Signing = Signing.HMAC
    ordering: _Ordering = Ordering.NONE
    max_concurrency: _Concurrency = DEFAULT_CONCURRENCY
    headers: _Headers = {}


class WebhookChanges(BaseModel):
    """Changes of a webhook; absent members stay unchanged."""

    model_config = ConfigDict(extra="forbid")

    # None means absent; the validator refuses a null that is sent.
    url: _Url | SkipJsonSchema[None] = None
    events: _Events = None
    description: _Description | SkipJsonSchema[None] = None
    ordering: _Ordering | SkipJsonSchema[None] = None
    max_concurrency: _Concurrency | SkipJsonSchema[None] = None
    headers: (
        Annotated[_Headers, Field(description="Replaces all headers; the value `***` keeps the stored value.")]
        | SkipJsonSchema[None]
    ) = None
    disabled: bool | SkipJsonSchema[None] = None

    @field_validator("url", "description", "ordering", "max_concurrency", "headers", "disabled")
    @classmethod
    def _is_not_null(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("cannot be null; leave it out to keep the stored value")
        return value


class PublicKeyItem(BaseModel):
    """A public key that verifies present signatures."""

    key: str = Field(description="`whpk_` and Base64 of the 32 bytes.")
    expires_at: Timestamp | None = Field(description="When its signatures end; set when a newer key has replaced it.")


class Webhook(BaseModel):
    """A registered webhook."""

    id: str
    url: str
    description: str
    events: list[str] | None
    signing: Annotated[Signing, OpenValues(Signing)]
    public_keys: list[PublicKeyItem] = Field(description="Newest first; empty when a secret signs.")
    ordering: Annotated[Ordering, OpenValues(Ordering)]
    max_concurrency: int
    headers: dict[str, str] = Field(description="Names of the additional headers; the values are masked.")
    created_at: Timestamp
    disabled_at: Timestamp | None
    disabled_reason: str | None = Field(
        description="`asked` (by a request), `gone` (it answered 410) or `failing` (for days); expect others."
    )
    failing_since: Timestamp | None = Field(
        description="Since when no attempt has succeeded; null when the last one did."
    )


class KeyAnswer(BaseModel):
    """A new key: the secret, shown only in this answer, or the public key, which can be read again."""

    secret: str | None = Field(
        description="`whsec_` and Base64, as the Standard Webhooks libraries expect it. Null with `ed25519`."
    )
    public_key: str | None = Field(description="`whpk_` and Base64. Null with `hmac`.")


class NewKind(BaseModel):
    """The kind of the new key."""

    model_config = ConfigDict(extra="forbid")

    signing: _Signing | None = None


class NewWebhookAnswer(Webhook, KeyAnswer):
    """A webhook just registered, with its key."""


class Webhooks(BaseModel):
    """All webhooks of a tenant, oldest first, on one page."""

    items: list[Webhook]
    next: str | None


_OF_ONE: Final = declare(Unauthorized, NotFound, InvalidRequest)


@router.post(
    "/webhooks",
    status_code=201,
    responses=declare(Unauthorized, InvalidRequest, InvalidWebhookUrl, InvalidWebhookHeaders, Conflict),
)
async def create_webhook(
    new: NewWebhook, response: Response, tenant: CurrentTenant, store: CurrentStore, settings: CurrentSettings, now: Now
) -> NewWebhookAnswer:
    """Register a webhook. Only this answer has its secret; a public key can be read again."""
    endpoint, key = await store.webhooks.add(
        tenant.id,
        NewEndpoint(
            url=str(checked_url(new.url, _rules(settings))),
            event_types=tuple(new.events) if new.events is not None else None,
            description=new.description,
            signing=new.signing,
            ordering=new.ordering,
            max_concurrency=new.max_concurrency,
            headers=checked_headers(new.headers),
        ),
        now=now,
    )
    response.headers["Location"] = f"/v1/webhooks/{endpoint.public_id}"
    return NewWebhookAnswer(**_key(key), **_webhook(endpoint, now))


@router.get("/webhooks", responses=declare(Unauthorized))
async def list_webhooks(tenant: CurrentTenant, store: CurrentStore, now: Now) -> Webhooks:
    """List the tenant's webhooks."""
    found = await store.webhooks.endpoints(tenant.id)
    return Webhooks(items=[Webhook(**_webhook(item, now)) for item in found], next=None)


@router.get("/webhooks/{webhook_id}", responses=_OF_ONE)
async def get_webhook(webhook_id: str, tenant: CurrentTenant, store: CurrentStore, now: Now) -> Webhook:
    """Show one webhook."""
    return Webhook(**_webhook(await store.webhooks.get(tenant.id, parse_public_id("whk", webhook_id)), now))


@router.patch(
    "/webhooks/{webhook_id}",
    responses=declare(Unauthorized, NotFound, InvalidRequest, InvalidWebhookUrl, InvalidWebhookHeaders),
)
async def update_webhook(
    webhook_id: str,
    changes: WebhookChanges,
    tenant: CurrentTenant,
    store: CurrentStore,
    settings: CurrentSettings,
    now: Now,
) -> Webhook:
    """Change a webhook. `"disabled": false` enables a disabled one."""
    fields = changes.model_dump(mode="json", exclude_unset=True)
    if changes.url is not None:
        fields["url"] = str(checked_url(changes.url, _rules(settings)))
    if "events" in fields:
        fields["event_types"] = changes.events
    endpoint = await store.webhooks.update(
        tenant.id, parse_public_id("whk", webhook_id), changes=fields, disabled=changes.disabled, now=now
    )
    return Webhook(**_webhook(endpoint, now))


@router.delete("/webhooks/{webhook_id}", status_code=204, responses=_OF_ONE)
async def delete_webhook(webhook_id: str, tenant: CurrentTenant, store: CurrentStore, now: Now) -> None:
    """Delete a webhook with its secrets; its pending deliveries are not sent any more."""
    await store.webhooks.delete(tenant.id, parse_public_id("whk", webhook_id), now=now)


@router.post("/webhooks/{webhook_id}/rotate-secret", responses=_OF_ONE)
async def rotate_webhook_secret(
    webhook_id: str, tenant: CurrentTenant, store: CurrentStore, now: Now, wanted: NewKind | None = None
) -> KeyAnswer:
    """Create a new key of the webhook; the old one signs beside it for 24 hours. `signing` chooses the kind of the new key."""
    signing = wanted.signing if wanted is not None else None
    key = await store.webhooks.rotate(tenant.id, parse_public_id("whk", webhook_id), signing=signing, now=now)
    return KeyAnswer(**_key(key))


@router.post(
    "/webhooks/{webhook_id}/test", status_code=202, responses=declare(Unauthorized, NotFound, InvalidRequest, Conflict)
)
async def test_webhook(webhook_id: str, tenant: CurrentTenant, store: CurrentStore, now: Now) -> Delivery:
    """Send a `webhook.test` event to this webhook only. `GET /v1/deliveries/{id}` shows its outcome."""
    delivery_id = await store.webhooks.test(tenant.id, parse_public_id("whk", webhook_id), now=now)
    return delivery_shape(await store.deliveries.get(tenant.id, delivery_id))


def _rules(settings: Settings) -> AddressRules:
    return AddressRules(allow_http=settings.webhook_allow_http, allow_private=settings.webhook_allow_private)


def _key(key: SigningKey) -> dict[str, str | None]:
    if isinstance(key, SigningSecret):
        return {"secret": key.text, "public_key": None}
    return {"secret": None, "public_key": key.public_text}


def _webhook(endpoint: Endpoint, now: datetime) -> dict[str, Any]:
    return {
        "id": endpoint.public_id,
        "url": endpoint.url,
        "description": endpoint.description,
        "events": list(endpoint.event_types) if endpoint.event_types is not None else None,
        "signing": endpoint.signing,
        "public_keys": [
            {"key": key.text, "expires_at": iso_utc(key.expires_at)} for key in keys_in_force(endpoint, now=now)
        ],
        "ordering": endpoint.ordering,
        "max_concurrency": endpoint.max_concurrency,
        "headers": dict.fromkeys(endpoint.header_names, MASK),
        "created_at": iso_utc(endpoint.created_at),
        "disabled_at": iso_utc(endpoint.disabled_at),
        "disabled_reason": endpoint.disabled_reason,
        "failing_since": iso_utc(endpoint.failing_since),
    }
