"""Queue of webhook deliveries: leases of endpoints, due deliveries, and results of attempts.

One process at a time delivers to an endpoint. Its lease is an advisory lock of one connection and ends with it, so that process
alone keeps the order and the number of concurrent requests, and another process takes over when it dies. An attempt is
written into the history before its request is sent, since after a crash it could not be found out whether it was sent.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.domain.ids import public_id
from app.errors import ConfigurationError
from app.observability.logs import get_logger
from app.store.audit.acts import Act
from app.store.audit.record import record
from app.store.connection import LISTEN_SECONDS
from app.store.database import Connection, Database, queries
from app.store.events.deliveries import body_of_event
from app.store.events.endpoints import Ordering, add_disabled_event, open_headers, open_keys
from app.store.events.outbox import Outbox
from app.store.keys.envelope import Envelope
from app.webhooks.signing import SigningKey

log = get_logger(__name__)

_SQL: Final = queries("deliveries")

CHANNEL: Final = "ksefd_deliveries"
"""Notification channel; PostgreSQL notifies it at the commit of a new delivery."""

_GIVEN_UP_AT_ONCE: Final = 1_000

# The leases of a machine that disappears must end: with these settings the server closes its connection after about ten seconds.
_KEEPALIVES: Final = (
    "SET tcp_keepalives_idle = 4",
    "SET tcp_keepalives_interval = 2",
    "SET tcp_keepalives_count = 3",
)


@dataclass(frozen=True, slots=True)
class Work:
    """An endpoint with pending deliveries. `closed` is `endpoint_deleted` or `endpoint_disabled` when it takes none."""

    endpoint_id: UUID
    due_at: datetime
    version: int
    closed: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """Address, keys and headers of an endpoint, for sending to it. Printing it shows no secret."""

    id: UUID
    version: int
    url: str
    keys: tuple[SigningKey, ...]
    headers: "SecretHeaders"
    ordered: bool
    max_concurrency: int


@dataclass(frozen=True, slots=True, repr=False)
class SecretHeaders:
    """Headers whose values do not print."""

    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ReservedAttempt:
    """An attempt that this process has reserved and is to make."""

    delivery_id: UUID
    endpoint_id: UUID
    event_sequence: int
    session_id: UUID | None
    attempt: int
    """Counted from 1 over the whole life of the delivery."""
    tries: int
    """Counted from 1 since a replay opened it; the schedule goes by this."""
    version: int


@dataclass(frozen=True, slots=True)
class Body:
    """An event as it is sent."""

    event_id: str
    content: bytes
    event_at: datetime


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """Result of an attempt. A delivery with `next_attempt_at` is tried again then; one without is finished."""

    reserved: ReservedAttempt
    outcome: str
    milliseconds: int
    status: int | None
    answer: str | None
    size: int
    succeeded: bool
    ordered: bool
    next_attempt_at: datetime | None = None
    reason: str | None = None
    gone: bool = False


class EndpointLeases:
    """Leases of endpoints by this process, on one connection of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def take(self, endpoint_ids: Sequence[UUID]) -> set[UUID]:
        """Lease those of these endpoints that no other process has leased, and return them.

        An endpoint must not be taken again before its `release`.
        """
        cursor = await self._connection.execute(_SQL["take_endpoints"], {"ids": list(endpoint_ids)})
        return {row["id"] for row in await cursor.fetchall()}

    async def release(self, endpoint_ids: Iterable[UUID]) -> None:
        """End the leases of endpoints; another process may have taken them when this returns."""
        await self._connection.execute(_SQL["release_endpoints"], {"ids": list(endpoint_ids)})

    async def check(self) -> None:
        """Raise when the connection, and with it every lease, is lost."""
        await self._connection.execute("SELECT 1")


class DeliveryQueue:
    """Rows of deliveries for the dispatcher, many at a time."""

    def __init__(self, database: Database, outbox: Outbox, box: Envelope) -> None:
        self._database = database
        self._outbox = outbox
        self._box = box

    @asynccontextmanager
    async def leases(self) -> AsyncIterator[EndpointLeases]:
        """Open the connection whose locks are the leases of this process."""
        async with self._database.own_connection() as connection:
            for statement in _KEEPALIVES:
                await connection.execute(statement)
            yield EndpointLeases(connection)

    async def notifications(self) -> AsyncIterator[None]:
        """Give a sign for each notification of new deliveries. Raises DatabaseError when the connection is lost."""
        async with self._database.own_connection() as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            while True:
                async for _ in connection.notifies(timeout=LISTEN_SECONDS):
                    yield
                await connection.ask_whether_alive()

    async def endpoints_with_work(self) -> list[Work]:
        """Return every endpoint with pending deliveries, due or not."""
        return [
            Work(row["endpoint_id"], row["next_attempt_at"], row["version"], row["closed"])
            for row in await self._database.fetch_all(_SQL["endpoints_with_work"])
        ]

    async def targets(self, endpoint_ids: Iterable[UUID]) -> dict[UUID, Target]:
        """Read endpoints with their keys and headers, without deleted ones and those whose keys cannot be read."""
        found: dict[UUID, Target] = {}
        for row in await self._database.fetch_all(_SQL["read_targets"], {"ids": list(endpoint_ids)}):
            if row["deleted_at"] is not None:
                continue
            try:
                found[row["id"]] = self._target(row)
            except ConfigurationError:
                log.exception("webhook_keys_unreadable", webhook=public_id("whk", row["id"]))
        return found

    async def give_up(self, endpoint_id: UUID, *, reason: str, now: datetime) -> int:
        """Fail the pending deliveries of a closed endpoint, a bounded number at once; return how many."""
        return await self._database.execute(
            _SQL["give_up_deliveries"],
            {"endpoint_id": endpoint_id, "reason": reason, "now": now, "limit": _GIVEN_UP_AT_ONCE},
        )

    async def reserve_attempts(
        self,
        wanted: Mapping[UUID, tuple[int, bool]],
        *,
        busy: Iterable[UUID],
        due: datetime,
        now: datetime,
    ) -> list[ReservedAttempt]:
        """Take the next attempts at endpoints that this process holds. Committed on return.

        `wanted` says for each endpoint how many, and whether its sessions keep their order. `busy` are the deliveries
        under way, which are not taken again.
        """
        rows = await self._database.fetch_all(
            _SQL["reserve_attempts"],
            {
                "endpoints": list(wanted),
                "slots": [slots for slots, _ in wanted.values()],
                "ordered": [ordered for _, ordered in wanted.values()],
                "busy": list(busy),
                "due": due,
                "now": now,
            },
        )
        return [
            ReservedAttempt(
                delivery_id=row["id"],
                endpoint_id=row["endpoint_id"],
                event_sequence=row["event_sequence"],
                session_id=row["session_id"],
                attempt=row["attempts"],
                tries=row["tries"],
                version=row["version"],
            )
            for row in rows
        ]

    async def bodies(self, sequences: Iterable[int]) -> dict[int, Body]:
        """Give events by their sequence numbers, as they are sent."""
        rows = await self._database.fetch_all(_SQL["read_bodies"], {"sequences": list(sequences)})
        return {
            row["sequence"]: Body(public_id("evt", row["id"]), body_of_event(row), row["created_at"]) for row in rows
        }

    async def record_results(
        self, results: Sequence[AttemptResult], *, given_up_before: datetime, now: datetime
    ) -> dict[UUID, str]:
        """Record attempts and what follows from them, in one transaction.

        Gives the endpoints that were disabled by it, and why: `gone`, or `failing` (nothing has succeeded there since
        `given_up_before`). The record of an attempt that another process has repeated meanwhile changes the history only.
        """
        # Always in the same order, so that two processes that write the same rows cannot deadlock.
        ordered = sorted(results, key=lambda item: item.reserved.delivery_id)
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["record_attempts"], _attempt_columns(ordered))
            cursor = await connection.execute(_SQL["record_results"], _delivery_columns(ordered, now))
            counted = {row["id"] for row in await cursor.fetchall()}
            mine = [item for item in ordered if item.reserved.delivery_id in counted]
            await self._keep_order(connection, mine, now)
            return await self._judge_endpoints(connection, mine, given_up_before, now)

    async def _keep_order(self, connection: Connection, results: Iterable[AttemptResult], now: datetime) -> None:
        for item in results:
            reserved = item.reserved
            if not item.ordered or reserved.session_id is None:
                continue
            place = {
                "endpoint_id": reserved.endpoint_id,
                "session_id": reserved.session_id,
                "event_sequence": reserved.event_sequence,
            }
            if item.next_attempt_at is not None:
                await connection.execute(_SQL["postpone"], place | {"until": item.next_attempt_at})
            elif reserved.attempt > 1:
                # A first attempt that succeeds has postponed no other delivery.
                await connection.execute(_SQL["resume"], place | {"now": now})

    async def _judge_endpoints(
        self, connection: Connection, results: Sequence[AttemptResult], given_up_before: datetime, now: datetime
    ) -> dict[UUID, str]:
        alive = {item.reserved.endpoint_id for item in results if item.succeeded}
        gone = {item.reserved.endpoint_id for item in results if item.gone}
        failed = {item.reserved.endpoint_id for item in results if not item.succeeded} - alive
        if alive:
            await connection.execute(_SQL["endpoints_recovered"], {"ids": sorted(alive)})
        disabled: dict[UUID, str] = {}
        for endpoint_id in sorted(failed | gone):
            cursor = await connection.execute(
                _SQL["endpoint_failed"],
                {"id": endpoint_id, "gone": endpoint_id in gone, "given_up_before": given_up_before, "now": now},
            )
            row = await cursor.fetchone()
            if row is not None and row["disabled_at"] is not None:
                disabled[endpoint_id] = row["disabled_reason"]
                await add_disabled_event(self._outbox, connection, row, now=now)
                record(
                    connection,
                    act=Act.WEBHOOK_DISABLED,
                    tenant_id=row["tenant_id"],
                    object=public_id("whk", endpoint_id),
                    details={"reason": row["disabled_reason"]},
                )
        return disabled

    def _target(self, row: Mapping[str, Any]) -> Target:
        return Target(
            id=row["id"],
            version=row["version"],
            url=row["url"],
            keys=open_keys(self._box, row),
            headers=SecretHeaders(tuple(open_headers(self._box, row).items())),
            ordered=row["ordering"] == Ordering.SESSION,
            max_concurrency=row["max_concurrency"],
        )


def _attempt_columns(results: Sequence[AttemptResult]) -> dict[str, Any]:
    return {
        "ids": [item.reserved.delivery_id for item in results],
        "attempts": [item.reserved.attempt for item in results],
        "milliseconds": [item.milliseconds for item in results],
        "statuses": [item.status for item in results],
        "outcomes": [item.outcome for item in results],
        "answers": [item.answer for item in results],
        "bytes": [item.size for item in results],
    }


def _delivery_columns(results: Sequence[AttemptResult], now: datetime) -> dict[str, Any]:
    return {
        "ids": [item.reserved.delivery_id for item in results],
        "attempts": [item.reserved.attempt for item in results],
        "states": [
            "succeeded" if item.succeeded else "pending" if item.next_attempt_at is not None else "failed"
            for item in results
        ],
        "next_attempts": [item.next_attempt_at for item in results],
        "reasons": [item.reason for item in results],
        "now": now,
    }
