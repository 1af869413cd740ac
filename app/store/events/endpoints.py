"""Webhook endpoints of tenants. Their deliveries are in `app.store.events.deliveries`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

from psycopg.rows import DictRow

from app.domain.ids import public_id
from app.domain.timestamps import iso_utc
from app.errors import Conflict, NotFound
from app.store.audit.acts import Act
from app.store.audit.record import record
from app.store.database import Connection, Database, queries
from app.store.events.outbox import EventType, Outbox
from app.store.keys.envelope import Envelope
from app.store.keys.places import webhook_headers_of, webhook_keys_of
from app.webhooks.headers import checked_headers
from app.webhooks.signing import (
    Signing,
    SigningKey,
    SigningKeyPair,
    from_stored_form,
    new_key,
    rotated,
    stored_form,
)

_SQL: Final = queries("webhooks")

MAX_ENDPOINTS: Final = 50
"""Most endpoints of one tenant; each adds a delivery to every event."""

DEFAULT_CONCURRENCY: Final = 10
MAX_CONCURRENCY: Final = 50
"""Requests under way at one endpoint at the same time, in all workers together."""


class Ordering(StrEnum):
    """The order of an endpoint's deliveries."""

    NONE = "none"
    """As fast as the endpoint answers, roughly in the order of events."""
    SESSION = "session"
    """The events of a session one after the other: a later one leaves when the earlier one has succeeded or failed for good."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half of a key that signs at present. `expires_at` is set once another one has followed it."""

    text: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook endpoint of a tenant. `event_types` None means all types, later added ones too."""

    id: UUID
    tenant_id: int
    url: str
    description: str
    event_types: tuple[str, ...] | None
    signing: Signing
    ordering: Ordering
    max_concurrency: int
    header_names: tuple[str, ...]
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None
    public_keys: tuple[PublicKey, ...] = ()
    """Newest first; none with `Signing.HMAC`. Expired ones are among them until the next rotation."""

    @property
    def public_id(self) -> str:
        """The id that users see."""
        return public_id("whk", self.id)


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """An endpoint to register. `headers` and `url` have been checked."""

    url: str
    event_types: tuple[str, ...] | None = None
    description: str = ""
    signing: Signing = Signing.HMAC
    ordering: Ordering = Ordering.NONE
    max_concurrency: int = DEFAULT_CONCURRENCY
    headers: Mapping[str, str] | None = None


class WebhookStore:
    """Rows of endpoints."""

    def __init__(self, database: Database, outbox: Outbox, box: Envelope) -> None:
        self._database = database
        self._outbox = outbox
        self._box = box

    async def add(self, tenant_id: int, new: NewEndpoint, *, now: datetime) -> tuple[Endpoint, SigningKey]:
        """Register an endpoint; its key is given this once. Raises Conflict when the tenant has too many."""
        endpoint_id, key = uuid4(), new_key(new.signing)
        headers = dict(new.headers or {})
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["lock_tenant"], {"tenant_id": tenant_id})
            cursor = await connection.execute(
                _SQL["add_endpoint"],
                {
                    "id": endpoint_id,
                    "tenant_id": tenant_id,
                    "url": new.url,
                    "description": new.description,
                    "event_types": list(new.event_types) if new.event_types is not None else None,
                    "secrets": seal_keys(self._box, tenant_id, endpoint_id, (key,)),
                    "signing": new.signing.value,
                    "ordering": new.ordering.value,
                    "max_concurrency": new.max_concurrency,
                    "header_names": list(headers),
                    "headers": seal_headers(self._box, tenant_id, endpoint_id, headers),
                    "now": now,
                    "most": MAX_ENDPOINTS,
                },
            )
            row = await cursor.fetchone()
            if row is not None:
                _record(connection, Act.WEBHOOK_CREATED, row)
        if row is None:
            raise Conflict(f"a tenant has at most {MAX_ENDPOINTS} webhooks; delete one first")
        return self._endpoint(row), key

    async def endpoints(self, tenant_id: int) -> list[Endpoint]:
        """Give a tenant's endpoints, oldest first."""
        rows = await self._database.fetch_all(_SQL["list_endpoints"], {"tenant_id": tenant_id})
        return [self._endpoint(row) for row in rows]

    async def get(self, tenant_id: int, endpoint_id: UUID) -> Endpoint:
        """Give one endpoint of a tenant. Raises NotFound."""
        row = await self._database.fetch_one(_SQL["get_endpoint"], {"tenant_id": tenant_id, "id": endpoint_id})
        if row is None:
            raise no_webhook(endpoint_id)
        return self._endpoint(row)

    async def update(
        self,
        tenant_id: int,
        endpoint_id: UUID,
        *,
        changes: Mapping[str, Any],
        disabled: bool | None = None,
        now: datetime,
    ) -> Endpoint:
        """Change what `changes` names of `url`, `description`, `event_types`, `ordering`, `max_concurrency`, `headers`.

        Also disables or enables it. Enabling resets the record of failures, so that the endpoint has the whole grace period again. Raises
        NotFound, and InvalidWebhookHeaders when a header is masked that has no value.
        """
        async with self._database.transaction() as connection:
            row = await lock_endpoint(connection, tenant_id, endpoint_id)
            fields = {name: changes.get(name, row[name]) for name in _CHANGEABLE}
            if "headers" in changes:
                known = open_headers(self._box, row)
                headers = checked_headers(changes["headers"], known=known)
                fields |= {
                    "header_names": list(headers),
                    "headers": seal_headers(self._box, tenant_id, endpoint_id, headers),
                }
            switch: dict[str, Any] = {name: row[name] for name in ("disabled_at", "disabled_reason", "failing_since")}
            ends = disabled is True and row["disabled_at"] is None
            if ends:
                switch |= {"disabled_at": now, "disabled_reason": "asked"}
            elif disabled is False:
                switch = dict.fromkeys(switch, None)
            cursor = await connection.execute(_SQL["update_endpoint"], {"id": endpoint_id} | fields | switch)
            changed = await cursor.fetchone()
            assert changed is not None  # noqa: S101 - the row is locked
            _record(connection, Act.WEBHOOK_CHANGED, changed, changed=[*sorted(changes), *_switched(disabled)])
            if ends:
                await add_disabled_event(self._outbox, connection, changed, now=now)
        return self._endpoint(changed)

    async def delete(self, tenant_id: int, endpoint_id: UUID, *, now: datetime) -> None:
        """Delete an endpoint with its keys and headers; its pending deliveries fail soon after. Raises NotFound."""
        parameters = {"tenant_id": tenant_id, "id": endpoint_id, "now": now}
        async with self._database.transaction() as connection:
            row = await (await connection.execute(_SQL["delete_endpoint"], parameters)).fetchone()
            if row is None:
                raise no_webhook(endpoint_id)
            _record(connection, Act.WEBHOOK_DELETED, row)

    async def rotate(
        self, tenant_id: int, endpoint_id: UUID, *, signing: Signing | None = None, now: datetime
    ) -> SigningKey:
        """Give an endpoint a new key; the old one signs beside it for a day. Raises NotFound.

        With `signing` the new key is of that kind, and deliveries carry signatures of both kinds meanwhile.
        """
        async with self._database.transaction() as connection:
            row = await lock_endpoint(connection, tenant_id, endpoint_id)
            kind = signing or Signing(row["signing"])
            key = new_key(kind)
            keys = rotated(open_keys(self._box, row), key, now=now)
            sealed = seal_keys(self._box, tenant_id, endpoint_id, keys)
            await connection.execute(_SQL["set_secrets"], {"id": endpoint_id, "secrets": sealed, "signing": kind.value})
            _record(connection, Act.WEBHOOK_ROTATED, row, signing=kind.value)
        return key

    async def test(self, tenant_id: int, endpoint_id: UUID, *, now: datetime) -> UUID:
        """Add a `webhook.test` event for one endpoint and return its delivery. Raises NotFound, Conflict when it is disabled."""
        async with self._database.transaction() as connection:
            row = await lock_endpoint(connection, tenant_id, endpoint_id)
            if row["disabled_at"] is not None:
                raise Conflict("the webhook is disabled; enable it first")
            return await self._outbox.add_for_one(
                connection,
                EventType.WEBHOOK_TEST,
                tenant_id=tenant_id,
                endpoint_id=endpoint_id,
                data={"webhook": public_id("whk", endpoint_id), "message": "A test, asked for through the API."},
                now=now,
            )

    def _endpoint(self, row: Mapping[str, Any]) -> Endpoint:
        types = row["event_types"]
        fields = {name: row[name] for name in _PLAIN}
        return Endpoint(
            **fields,
            event_types=tuple(types) if types is not None else None,
            signing=Signing(row["signing"]),
            ordering=Ordering(row["ordering"]),
            header_names=tuple(row["header_names"]),
            public_keys=self._public_keys(row),
        )

    def _public_keys(self, row: Mapping[str, Any]) -> tuple[PublicKey, ...]:
        # Also with another kind of signature now: after a change the keys of the old kind sign for a day.
        keys = open_keys(self._box, row)
        return tuple(PublicKey(key.public_text, key.expires_at) for key in keys if isinstance(key, SigningKeyPair))


_CHANGEABLE: Final = (
    "url", "description", "event_types", "ordering", "max_concurrency", "header_names", "headers",
)  # fmt: skip
_PLAIN: Final = (
    "id", "tenant_id", "url", "description", "max_concurrency", "created_at", "disabled_at", "disabled_reason",
    "failing_since",
)  # fmt: skip


async def add_disabled_event(outbox: Outbox, connection: Connection, row: Mapping[str, Any], *, now: datetime) -> None:
    """Add `webhook.disabled` in the transaction that has disabled the endpoint of this row, for the tenant's other endpoints."""
    await outbox.add(
        connection,
        EventType.WEBHOOK_DISABLED,
        tenant_id=row["tenant_id"],
        data={
            "webhook": public_id("whk", row["id"]),
            "url": row["url"],
            "description": row["description"],
            "reason": row["disabled_reason"],
            "disabled_at": iso_utc(row["disabled_at"]),
            "failing_since": iso_utc(row["failing_since"]),
        },
        now=now,
    )


def _record(connection: Connection, act: Act, row: Mapping[str, Any], **details: Any) -> None:
    """Record an act on an endpoint. Neither its address nor its headers are in the audit, since both may contain secrets."""
    record(connection, act=act, tenant_id=row["tenant_id"], object=public_id("whk", row["id"]), details=details)


def _switched(disabled: bool | None) -> list[str]:
    return {None: [], True: ["disabled"], False: ["enabled"]}[disabled]


async def lock_endpoint(connection: Connection, tenant_id: int, endpoint_id: UUID) -> DictRow:
    """Lock the row of an endpoint that is not deleted until the transaction ends. Raises NotFound."""
    cursor = await connection.execute(_SQL["lock_endpoint"], {"tenant_id": tenant_id, "id": endpoint_id})
    row = await cursor.fetchone()
    if row is None:
        raise no_webhook(endpoint_id)
    return row


def no_webhook(endpoint_id: UUID) -> NotFound:
    """Return the error for an endpoint that the tenant does not have."""
    return NotFound(f"there is no webhook {public_id('whk', endpoint_id)}")


def seal_keys(box: Envelope, tenant_id: int, endpoint_id: UUID, keys: Sequence[SigningKey]) -> bytes:
    """Encrypt the keys of an endpoint, bound to it."""
    raw = json.dumps([stored_form(key) for key in keys]).encode()
    return box.encrypt(raw, webhook_keys_of(tenant_id, endpoint_id))


def open_keys(box: Envelope, row: Mapping[str, Any]) -> tuple[SigningKey, ...]:
    """Decrypt the keys of an endpoint's row."""
    raw = box.decrypt(bytes(row["secrets"]), webhook_keys_of(row["tenant_id"], row["id"]))
    return tuple(from_stored_form(shape) for shape in json.loads(raw))


def keys_in_force(endpoint: Endpoint, *, now: datetime) -> tuple[PublicKey, ...]:
    """Give the public keys that verify at present, newest first."""
    return tuple(key for key in endpoint.public_keys if key.expires_at is None or key.expires_at > now)


def seal_headers(box: Envelope, tenant_id: int, endpoint_id: UUID, headers: Mapping[str, str]) -> bytes | None:
    """Encrypt an endpoint's own headers, bound to it; None when there are none."""
    if not headers:
        return None
    return box.encrypt(json.dumps(dict(headers)).encode(), webhook_headers_of(tenant_id, endpoint_id))


def open_headers(box: Envelope, row: Mapping[str, Any]) -> dict[str, str]:
    """Decrypt the own headers of an endpoint's row."""
    if row["headers"] is None:
        return {}
    place = webhook_headers_of(row["tenant_id"], row["id"])
    shape: dict[str, str] = json.loads(box.decrypt(bytes(row["headers"]), place))
    return shape
