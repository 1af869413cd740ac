"""Webhook endpoints of tenants, the deliveries owed to them, every attempt, and the events to pull instead.

A delivery is `pending` until it succeeded or failed. An attempt is claimed before the request leaves: the claim writes the
intent into the history and puts the next attempt off by a lease, so that two jobs of one delivery cannot both send, and a
worker that dies in between only costs the lease.
"""

import json
import secrets as randomness
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from psycopg.rows import DictRow

from app.domain.ids import public_id
from app.errors import Conflict, NotFound
from app.store.database import Connection, Database, queries
from app.store.events import EventType
from app.store.jobs import JobQueue, Task
from app.store.secrets import SecretBox
from app.store.uploads import iso_utc
from app.webhooks.signing import SECRET_BYTES, SigningSecret, rotated

_SQL: Final = queries("webhooks")

MAX_ENDPOINTS: Final = 50
"""Live endpoints of one tenant: each multiplies what an event costs."""

MAX_PAGE_BYTES: Final = 400_000
"""Stored bytes of events on one page. They are compressed five to ten times, so an answer has a few MB."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a tenant wants its events. `event_types` None means all, those of the future too."""

    id: UUID
    tenant_id: int
    url: str
    description: str
    event_types: tuple[str, ...] | None
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None

    @property
    def public_id(self) -> str:
        """The id that users see."""
        return public_id("whk", self.id)


@dataclass(frozen=True, slots=True)
class Owed:
    """A delivery as a worker finds it, before it takes an attempt."""

    id: UUID
    endpoint_id: UUID
    is_pending: bool
    due_at: datetime | None
    is_failing: bool
    closed: str | None
    """Why the endpoint takes nothing any more: `endpoint_deleted` or `endpoint_disabled`."""
    server_time: datetime
    """By the clock that scheduled jobs go by; a worker's own may be off."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An attempt that this worker, and no other, is to make."""

    delivery_id: UUID
    endpoint_id: UUID
    attempt: int
    url: str
    secrets: tuple[SigningSecret, ...]
    event_at: datetime
    event: Mapping[str, str]
    """`id`, `type`, `timestamp`, `tenant` as users see them, and `data` as JSON text."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What follows from an attempt. A delivery with `next_attempt_at` goes on; one without is finished."""

    outcome: str
    milliseconds: int
    status: int | None
    answer: str | None
    succeeded: bool
    next_attempt_at: datetime | None = None
    reason: str | None = None
    gone: bool = False


class WebhookStore:
    """Rows of endpoints, deliveries and attempts."""

    def __init__(self, database: Database, jobs: JobQueue, box: SecretBox) -> None:
        self._database = database
        self._jobs = jobs
        self._box = box

    # --- endpoints ---

    async def add(
        self, tenant_id: int, *, url: str, event_types: Sequence[str] | None, description: str, now: datetime
    ) -> tuple[Endpoint, SigningSecret]:
        """Register an endpoint; its secret is given this once. Raises Conflict when the tenant has too many."""
        endpoint_id, secret = uuid4(), SigningSecret(randomness.token_bytes(SECRET_BYTES))
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["lock_tenant"], {"tenant_id": tenant_id})
            cursor = await connection.execute(
                _SQL["add_endpoint"],
                {
                    "id": endpoint_id,
                    "tenant_id": tenant_id,
                    "url": url,
                    "description": description,
                    "event_types": list(event_types) if event_types is not None else None,
                    "secrets": self._seal(endpoint_id, (secret,)),
                    "now": now,
                    "most": MAX_ENDPOINTS,
                },
            )
            row = await cursor.fetchone()
        if row is None:
            raise Conflict(f"a tenant has at most {MAX_ENDPOINTS} webhooks; delete one first")
        return _endpoint(row), secret

    async def endpoints(self, tenant_id: int) -> list[Endpoint]:
        """Give a tenant's endpoints, oldest first."""
        return [
            _endpoint(row) for row in await self._database.fetch_all(_SQL["list_endpoints"], {"tenant_id": tenant_id})
        ]

    async def get(self, tenant_id: int, endpoint_id: UUID) -> Endpoint:
        """Give one endpoint of a tenant. Raises NotFound."""
        row = await self._database.fetch_one(_SQL["get_endpoint"], {"tenant_id": tenant_id, "id": endpoint_id})
        if row is None:
            raise _no_webhook(endpoint_id)
        return _endpoint(row)

    async def update(
        self,
        tenant_id: int,
        endpoint_id: UUID,
        *,
        changes: Mapping[str, Any],
        disabled: bool | None = None,
        now: datetime,
    ) -> Endpoint:
        """Change `url`, `description` or `event_types`; switch off or on. Raises NotFound.

        Switching on forgets that the endpoint was failing, so that it gets the whole grace again.
        """
        async with self._database.transaction() as connection:
            row = await self._locked(connection, tenant_id, endpoint_id)
            fields = {name: changes.get(name, row[name]) for name in ("url", "description", "event_types")}
            switch: dict[str, Any] = {name: row[name] for name in ("disabled_at", "disabled_reason", "failing_since")}
            if disabled is True and row["disabled_at"] is None:
                switch |= {"disabled_at": now, "disabled_reason": "asked"}
            elif disabled is False:
                switch = dict.fromkeys(switch, None)
            cursor = await connection.execute(_SQL["update_endpoint"], {"id": endpoint_id} | fields | switch)
            changed = await cursor.fetchone()
        assert changed is not None  # noqa: S101 - the row is locked
        return _endpoint(changed)

    async def delete(self, tenant_id: int, endpoint_id: UUID, *, now: datetime) -> None:
        """Delete an endpoint and its secrets; what it is still owed is given up by the next job. Raises NotFound."""
        parameters = {"tenant_id": tenant_id, "id": endpoint_id, "now": now}
        if await self._database.fetch_one(_SQL["delete_endpoint"], parameters) is None:
            raise _no_webhook(endpoint_id)

    async def rotate(self, tenant_id: int, endpoint_id: UUID, *, now: datetime) -> SigningSecret:
        """Give an endpoint a new secret; the old one signs beside it for a day. Raises NotFound."""
        secret = SigningSecret(randomness.token_bytes(SECRET_BYTES))
        async with self._database.transaction() as connection:
            row = await self._locked(connection, tenant_id, endpoint_id)
            known = self._open(endpoint_id, row["secrets"])
            sealed = self._seal(endpoint_id, rotated(known, secret, now=now))
            await connection.execute(_SQL["set_secrets"], {"id": endpoint_id, "secrets": sealed})
        return secret

    async def test(self, tenant_id: int, endpoint_id: UUID, *, now: datetime) -> UUID:
        """Owe one endpoint a `webhook.test` event; gives the delivery. Raises NotFound, Conflict when it is disabled."""
        delivery_id = uuid4()
        async with self._database.transaction() as connection:
            row = await self._locked(connection, tenant_id, endpoint_id)
            if row["disabled_at"] is not None:
                raise Conflict("the webhook is disabled; enable it first")
            data = {"webhook": public_id("whk", endpoint_id), "message": "A test, asked for through the API."}
            cursor = await connection.execute(
                queries("events")["add_event"],
                {
                    "id": uuid4(),
                    "tenant_id": tenant_id,
                    "type": EventType.WEBHOOK_TEST.value,
                    "now": now,
                    "session_id": None,
                    "data": json.dumps(data),
                },
            )
            event = await cursor.fetchone()
            assert event is not None  # noqa: S101 - INSERT ... RETURNING gives a row
            await connection.execute(
                _SQL["add_delivery"],
                {
                    "id": delivery_id,
                    "tenant_id": tenant_id,
                    "endpoint_id": endpoint_id,
                    "event_sequence": event["sequence"],
                    "now": now,
                },
            )
            await self._defer(connection, delivery_id)
        return delivery_id

    # --- the history ---

    async def deliveries(
        self, tenant_id: int, endpoint_id: UUID, *, before: UUID | None, state: str | None, limit: int
    ) -> list[DictRow]:
        """Give an endpoint's deliveries with their `tries`, newest event first, older than the delivery `before`."""
        rows = await self._database.fetch_all(
            _SQL["list_deliveries"],
            {"tenant_id": tenant_id, "endpoint_id": endpoint_id, "before": before, "state": state, "limit": limit},
        )
        return await self._with_tries(rows)

    async def delivery(self, tenant_id: int, delivery_id: UUID) -> DictRow:
        """Give one delivery with its `tries`. Raises NotFound."""
        row = await self._database.fetch_one(_SQL["get_delivery"], {"tenant_id": tenant_id, "id": delivery_id})
        if row is None:
            raise _no_delivery(delivery_id)
        return (await self._with_tries([row]))[0]

    async def retry(self, tenant_id: int, delivery_id: UUID, *, now: datetime) -> None:
        """Make a delivery due now, also one that is finished. One that is due already is left as it is.

        Raises NotFound, or Conflict when its endpoint is disabled or deleted.
        """
        async with self._database.transaction() as connection:
            cursor = await connection.execute(_SQL["lock_delivery"], {"tenant_id": tenant_id, "id": delivery_id})
            row = await cursor.fetchone()
            if row is None:
                raise _no_delivery(delivery_id)
            closed = _closed(row)
            if closed is not None:
                raise Conflict(f"the delivery's webhook is {closed.removeprefix('endpoint_')}")
            if row["state"] == "pending" and (row["next_attempt_at"] <= now or row["attempts"] == 0):
                return
            await connection.execute(_SQL["reopen_delivery"], {"id": delivery_id, "now": now})
            await self._defer(connection, delivery_id)

    async def _with_tries(self, rows: list[DictRow]) -> list[DictRow]:
        attempts = await self._database.fetch_all(_SQL["list_attempts"], {"ids": [row["id"] for row in rows]})
        tries: dict[UUID, list[DictRow]] = {row["id"]: [] for row in rows}
        for attempt in attempts:
            tries[attempt["delivery_id"]].append(attempt)
        return [row | {"tries": tries[row["id"]]} for row in rows]

    # --- the job ---

    async def owed(self, delivery_id: UUID) -> Owed | None:
        """Give a delivery to a worker; None when there is none."""
        row = await self._database.fetch_one(_SQL["owed_delivery"], {"id": delivery_id})
        if row is None:
            return None
        return Owed(
            id=row["id"],
            endpoint_id=row["endpoint_id"],
            is_pending=row["state"] == "pending",
            due_at=row["next_attempt_at"],
            is_failing=row["failing_since"] is not None,
            closed=_closed(row),
            server_time=row["server_time"],
        )

    async def claim(self, delivery_id: UUID, *, due: datetime, lease: timedelta, now: datetime) -> Claim | None:
        """Take the next attempt of a delivery due by `due`; None when another job has it. Committed on return."""
        row = await self._database.fetch_one(
            _SQL["claim_delivery"], {"id": delivery_id, "due": due, "lease_until": now + lease, "now": now}
        )
        if row is None:
            return None
        event = {
            "id": public_id("evt", row["event_id"]),
            "type": row["event_type"],
            "timestamp": iso_utc(row["event_at"]) or "",
            "tenant": public_id("ten", row["tenant"]),
            "data": row["data"],
        }
        return Claim(
            delivery_id=row["id"],
            endpoint_id=row["endpoint_id"],
            attempt=row["attempts"],
            url=row["url"],
            secrets=self._open(row["endpoint_id"], row["secrets"]),
            event_at=row["event_at"],
            event=event,
        )

    async def settle(self, claim: Claim, settled: Settled, *, given_up_before: datetime, now: datetime) -> str | None:
        """Record an attempt and, in the same transaction, the job of the next one.

        Returns why the endpoint was disabled by this attempt: `gone`, `failing` (nothing has succeeded there since
        `given_up_before`), or None.
        """
        finished = settled.next_attempt_at is None
        state = "succeeded" if settled.succeeded else "failed" if finished else "pending"
        async with self._database.transaction() as connection:
            await connection.execute(
                _SQL["record_attempt"],
                {
                    "id": claim.delivery_id,
                    "attempt": claim.attempt,
                    "milliseconds": settled.milliseconds,
                    "status": settled.status,
                    "outcome": settled.outcome,
                    "answer": settled.answer,
                },
            )
            cursor = await connection.execute(
                _SQL["settle_delivery"],
                {
                    "id": claim.delivery_id,
                    "attempt": claim.attempt,
                    "state": state,
                    "next_attempt_at": settled.next_attempt_at,
                    "finished_at": now if finished else None,
                    "reason": settled.reason,
                },
            )
            if await cursor.fetchone() is None:
                # The lease ran out and another attempt was claimed: that one speaks for the delivery and the endpoint.
                return None
            if settled.next_attempt_at is not None:
                await self._defer(connection, claim.delivery_id, at=settled.next_attempt_at)
            if settled.succeeded:
                await connection.execute(_SQL["endpoint_recovered"], {"id": claim.endpoint_id})
                return None
            cursor = await connection.execute(
                _SQL["endpoint_failed"],
                {"id": claim.endpoint_id, "gone": settled.gone, "given_up_before": given_up_before, "now": now},
            )
            row = await cursor.fetchone()
        return row["disabled_reason"] if row else None

    async def give_up(self, delivery_id: UUID, *, reason: str, now: datetime) -> None:
        """Fail a delivery without an attempt: its endpoint takes nothing any more."""
        await self._database.execute(_SQL["give_up_delivery"], {"id": delivery_id, "reason": reason, "now": now})

    async def postpone(self, delivery_id: UUID, *, until: datetime, now: datetime) -> None:
        """Put a delivery that is due off without spending an attempt, with the job that comes back to it."""
        async with self._database.transaction() as connection:
            parameters = {"id": delivery_id, "until": until, "now": now}
            if (await connection.execute(_SQL["postpone_delivery"], parameters)).rowcount:
                await self._defer(connection, delivery_id, at=until)

    async def come_back(self, delivery_id: UUID, *, at: datetime) -> None:
        """Add a job for a delivery that is not due yet; `at` is by the database's clock."""
        async with self._database.transaction() as connection:
            await self._defer(connection, delivery_id, at=at)

    async def rescue_overdue(self, *, before: datetime, now: datetime, limit: int = 1_000) -> int:
        """Add jobs for deliveries that were due before `before` and that nobody made: their job is lost."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                _SQL["take_overdue_deliveries"], {"before": before, "now": now, "limit": limit}
            )
            rows = await cursor.fetchall()
            for row in rows:
                await self._defer(connection, row["id"])
        return len(rows)

    # --- events to pull ---

    async def events_after(
        self, tenant_id: int, *, after: UUID | None, types: Sequence[str] | None, limit: int
    ) -> tuple[list[DictRow], bool]:
        """Give a tenant's events after the event `after`, oldest first (id, type, created_at, data as JSON text).

        The flag says whether there are more. An event appears once every older transaction has ended, so that going on from
        the last event seen never misses one. Raises NotFound when the tenant has no event `after`.
        """
        if after is not None:
            known = await self._database.fetch_one(_SQL["event_exists"], {"id": after, "tenant_id": tenant_id})
            if known is None:
                raise NotFound(f"there is no event {public_id('evt', after)}")
        rows = await self._database.fetch_all(
            _SQL["events_after"],
            {
                "tenant_id": tenant_id,
                "after": after,
                "types": list(types) if types is not None else None,
                "limit": limit,
                "max_bytes": MAX_PAGE_BYTES,
            },
        )
        return rows, bool(rows) and rows[0]["found"] > len(rows)

    # --- inside ---

    async def _locked(self, connection: Connection, tenant_id: int, endpoint_id: UUID) -> DictRow:
        cursor = await connection.execute(_SQL["lock_endpoint"], {"tenant_id": tenant_id, "id": endpoint_id})
        row = await cursor.fetchone()
        if row is None:
            raise _no_webhook(endpoint_id)
        return row

    async def _defer(self, connection: Connection, delivery_id: UUID, *, at: datetime | None = None) -> None:
        await self._jobs.defer(Task.DELIVER_EVENT, connection=connection, at=at, delivery_id=str(delivery_id))

    def _seal(self, endpoint_id: UUID, known: Sequence[SigningSecret]) -> bytes:
        raw = json.dumps([secret.as_dict() for secret in known]).encode()
        return self._box.encrypt(raw, purpose=f"webhook-secret:{endpoint_id}")

    def _open(self, endpoint_id: UUID, sealed: bytes) -> tuple[SigningSecret, ...]:
        raw = self._box.decrypt(bytes(sealed), purpose=f"webhook-secret:{endpoint_id}")
        return tuple(SigningSecret.from_dict(shape) for shape in json.loads(raw))


def _endpoint(row: Mapping[str, Any]) -> Endpoint:
    types = row["event_types"]
    fields = {name: row[name] for name in Endpoint.__dataclass_fields__}
    return Endpoint(**fields | {"event_types": tuple(types) if types is not None else None})


def _closed(row: Mapping[str, Any]) -> str | None:
    if row["endpoint_deleted_at"] is not None:
        return "endpoint_deleted"
    return "endpoint_disabled" if row["endpoint_disabled_at"] is not None else None


def _no_webhook(endpoint_id: UUID) -> NotFound:
    return NotFound(f"there is no webhook {public_id('whk', endpoint_id)}")


def _no_delivery(delivery_id: UUID) -> NotFound:
    return NotFound(f"there is no delivery {public_id('dlv', delivery_id)}")
