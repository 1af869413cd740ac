"""Replays: make missed deliveries of an endpoint due again, in bounded steps that continue after a crash.

A replay sends nothing itself. An event has exactly one delivery at an endpoint, so that a replay never adds a second one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

from psycopg.rows import DictRow

from app.domain.ids import public_id
from app.errors import Conflict, NotFound, RequestError
from app.store.audit.acts import Act
from app.store.audit.record import record
from app.store.database import Connection, Database, queries
from app.store.events.endpoints import lock_endpoint
from app.store.jobs import JobQueue, Task

_SQL: Final = queries("replays")

EVENTS_AT_ONCE: Final = 1_000
"""Events of one step, which is one transaction."""


class ReplayConflict(Conflict):
    """Another replay of this webhook runs; wait for its end."""

    code = "replay-running"
    title = "A replay runs"


class UnknownEvent(RequestError):
    """`since` names an event that does not exist."""

    status = 422
    code = "unknown-event"
    title = "Unknown event"


class Step(StrEnum):
    """Result of a step of a replay."""

    MORE = "more"
    WAIT = "wait"
    """Older transactions are still running; what they write may belong to it."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Range of a replay: from a moment or after an event, up to a moment. `everything` includes deliveries that succeeded."""

    since: datetime | None = None
    since_event: UUID | None = None
    until: datetime | None = None
    """None: the present."""
    types: tuple[str, ...] | None = None
    everything: bool = False


class ReplayStore:
    """Rows of replays."""

    def __init__(self, database: Database, jobs: JobQueue) -> None:
        self._database = database
        self._jobs = jobs

    async def start(self, tenant_id: int, endpoint_id: UUID, wanted: Wanted, *, now: datetime) -> DictRow:
        """Begin a replay, or return the running one if it has the same range.

        Raises NotFound, UnknownEvent, Conflict when the endpoint is disabled, ReplayConflict when another replay runs.
        """
        async with self._database.transaction() as connection:
            endpoint = await lock_endpoint(connection, tenant_id, endpoint_id)
            if endpoint["disabled_at"] is not None:
                raise Conflict("the webhook is disabled; enable it first")
            types = _types(wanted.types, endpoint["event_types"])
            running = await _one(connection, "replay_running", {"endpoint_id": endpoint_id})
            if running is not None:
                if _same(running, wanted, types):
                    return running
                raise ReplayConflict(f"replay {public_id('rpl', running['id'])} of this webhook has not ended yet")
            place = await self._place(connection, tenant_id, wanted.since_event)
            parameters = {
                "id": uuid4(),
                "tenant_id": tenant_id,
                "endpoint_id": endpoint_id,
                "since": wanted.since,
                "since_event": wanted.since_event,
                "until": wanted.until or now,
                "types": types,
                "everything": wanted.everything,
                "now": now,
            } | place
            counted = await _one(connection, "count_missed", parameters)
            row = await _one(connection, "add_replay", parameters | (counted or {}))
            assert row is not None  # noqa: S101 - INSERT ... RETURNING gives a row
            await self._jobs.defer(Task.REPLAY_EVENTS, connection=connection, replay_id=str(row["id"]))
            record(
                connection,
                act=Act.WEBHOOK_REPLAYED,
                tenant_id=tenant_id,
                object=public_id("whk", endpoint_id),
                details={"replay": public_id("rpl", row["id"])},
            )
        return row

    async def get(self, tenant_id: int, replay_id: UUID) -> DictRow:
        """Give one replay. Raises NotFound."""
        row = await self._database.fetch_one(_SQL["get_replay"], {"tenant_id": tenant_id, "id": replay_id})
        if row is None:
            raise NotFound(f"there is no replay {public_id('rpl', replay_id)}")
        return row

    async def of_endpoint(self, tenant_id: int, endpoint_id: UUID, *, limit: int = 100) -> list[DictRow]:
        """Give an endpoint's replays, newest first."""
        return await self._database.fetch_all(
            _SQL["list_replays"], {"tenant_id": tenant_id, "endpoint_id": endpoint_id, "limit": limit}
        )

    async def running_for_job(self) -> list[UUID]:
        """Give the replays that have not ended, of all tenants."""
        return [row["id"] for row in await self._database.fetch_all(_SQL["running_replays"])]

    async def step_for_job(self, replay_id: UUID, *, now: datetime, limit: int = EVENTS_AT_ONCE) -> Step:
        """Make the next events of a replay due, in their order, and remember how far it came. One transaction."""
        async with self._database.transaction() as connection:
            replay = await _one(connection, "lock_replay", {"id": replay_id})
            if replay is None:
                return Step.DONE
            if replay["closed"]:
                await connection.execute(_SQL["end_replay"], {"id": replay_id, "state": "stopped", "now": now})
                return Step.DONE
            cursor = await connection.execute(
                _SQL["next_of_replay"],
                {
                    "tenant_id": replay["tenant_id"],
                    "written_before": replay["written_before"],
                    "written_by": replay["cursor_written_by"],
                    "sequence": replay["cursor_sequence"],
                    "since": replay["since"],
                    "until": replay["until"],
                    "types": replay["event_types"],
                    "limit": limit,
                },
            )
            rows = await cursor.fetchall()
            if rows:
                await self._make_due(connection, replay, rows, now)
            if len(rows) == limit:
                return Step.MORE
            if not replay["complete"]:
                return Step.WAIT
            await connection.execute(_SQL["end_replay"], {"id": replay_id, "state": "completed", "now": now})
            return Step.DONE

    async def _make_due(
        self, connection: Connection, replay: Mapping[str, Any], rows: Sequence[DictRow], now: datetime
    ) -> None:
        made = await _one(
            connection,
            "make_due",
            {
                "endpoint_id": replay["endpoint_id"],
                "sequences": [row["sequence"] for row in rows],
                "everything": replay["everything"],
                "now": now,
            },
        )
        assert made is not None  # noqa: S101 - two counts are one row
        place = {"written_by": rows[-1]["written_by"], "sequence": rows[-1]["sequence"]}
        await connection.execute(_SQL["move_replay"], {"id": replay["id"], "made": made["made"]} | place)

    async def _place(self, connection: Connection, tenant_id: int, event_id: UUID | None) -> dict[str, Any]:
        if event_id is None:
            return {"written_by": None, "sequence": None}
        row = await _one(connection, "event_place", {"tenant_id": tenant_id, "id": event_id})
        if row is None:
            raise UnknownEvent(f"there is no event {public_id('evt', event_id)}, or it is older than what is kept")
        return dict(row)


async def _one(connection: Connection, query: str, parameters: Mapping[str, Any]) -> DictRow | None:
    cursor = await connection.execute(_SQL[query], parameters)
    return await cursor.fetchone()


def _types(asked: Sequence[str] | None, wanted: Sequence[str] | None) -> list[str] | None:
    """Give the types that were asked for and that the endpoint takes; None when that is all."""
    if asked is None:
        return list(wanted) if wanted is not None else None
    return [name for name in asked if wanted is None or name in wanted]


def _same(running: Mapping[str, Any], wanted: Wanted, types: list[str] | None) -> bool:
    # A range without an end ends at the present, which is another one each time it is asked for.
    asked = (wanted.since, wanted.since_event, wanted.until or running["until"], types, wanted.everything)
    return asked == tuple(running[name] for name in ("since", "since_event", "until", "event_types", "everything"))
