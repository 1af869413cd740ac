"""KSeF's availability: a row for each environment, shared by all processes, with notified tenants and waiting sessions."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from app.domain.outage import (
    Availability,
    Health,
    KsefState,
    Override,
    after_answer,
    after_failure,
    reserve_probe,
    standing,
)
from app.domain.timestamps import iso_utc
from app.store.audit.acts import Act
from app.store.audit.record import record
from app.store.database import Connection, Database, queries
from app.store.events.outbox import EventType, Outbox
from app.store.jobs import JobQueue

_SQL: Final = queries("outages")
_HEALTH: Final = tuple(one.name for one in fields(Health))

LATARNIA_PAUSE: Final = timedelta(minutes=10)
"""The ministry asks that Latarnia be asked no more often."""
_LATARNIA_GOOD_FOR: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class KsefRecord:
    """One environment of KSeF as the row has it."""

    health: Health = field(default_factory=Health)
    override: Override | None = None
    notified_state: KsefState = KsefState.AVAILABLE
    """The state in the last event that tenants got."""
    notified_tenants: tuple[int, ...] = ()
    latarnia: Mapping[str, Any] | None = None
    latarnia_at: datetime | None = None

    def standing(self, now: datetime) -> Availability:
        """Return the availability that applies now."""
        return standing(self.health, self.override, now)

    def as_json(self, now: datetime) -> dict[str, Any]:
        """Give the shape that the API shows; `latarnia` only while its last answer is fresh."""
        counts = self.standing(now)
        fresh = self.latarnia_at is not None and now - self.latarnia_at <= _LATARNIA_GOOD_FOR
        return {
            "state": counts.state.value,
            "since": iso_utc(counts.since),
            "reason": counts.reason,
            "ordered": counts.ordered,
            "latarnia": {**self.latarnia, "at": iso_utc(self.latarnia_at)} if self.latarnia and fresh else None,
        }


class OutageStore:
    """Reads and changes the rows. A change of availability adds its events for tenants in the same transaction."""

    def __init__(self, database: Database, jobs: JobQueue, outbox: Outbox) -> None:
        self._database = database
        self._jobs = jobs
        self._outbox = outbox

    async def read(self, ksef_url: str) -> KsefRecord:
        """Return the record of an environment; one that never failed is available."""
        row = await self._database.fetch_one(_SQL["read_ksef"], {"ksef_url": ksef_url})
        return _record(row) if row else KsefRecord()

    async def failed(self, ksef_url: str, reason: str, *, now: datetime) -> KsefRecord:
        """Count a call without an answer, after which KSeF may count as away."""
        return await self._change(
            ksef_url, lambda known: replace(known, health=after_failure(known.health, now, reason)), now=now
        )

    async def answered(self, ksef_url: str, *, now: datetime) -> KsefRecord:
        """Record that KSeF answered. Costs one read when there was no silence to end."""
        known = await self.read(ksef_url)
        if after_answer(known.health, now) is known.health:
            return known
        return await self._change(
            ksef_url, lambda known: replace(known, health=after_answer(known.health, now)), now=now
        )

    async def reserve_probe(self, ksef_url: str, *, now: datetime) -> bool:
        """Return whether this caller is to send the next probe; at most one caller is."""
        won = False

        def reserve(known: KsefRecord) -> KsefRecord:
            nonlocal won
            reserved = reserve_probe(known.health, now)
            won = reserved is not None
            return replace(known, health=reserved) if reserved is not None else known

        await self._change(ksef_url, reserve, now=now)
        return won

    async def order(self, ksef_url: str, override: Override | None, *, now: datetime) -> KsefRecord:
        """Put an operator's order in the place of KSeF's answers, or take it back with None."""
        details: dict[str, Any] = {"ksef_url": ksef_url}
        if override is not None:
            details |= {"state": override.state.value, "until": override.until, "reason": override.reason}
        act = Act.OUTAGE_ORDERED if override is not None else Act.OUTAGE_CLEARED
        return await self._change(
            ksef_url, lambda known: replace(known, override=override), now=now, act=act, details=details
        )

    async def notify_of_expired_order(self, ksef_url: str, *, now: datetime) -> KsefRecord:
        """Notify tenants of a change without a call: an operator's order that has expired."""
        known = await self.read(ksef_url)
        if known.standing(now).state is known.notified_state:
            return known
        return await self._change(ksef_url, lambda known: known, now=now)

    async def wait(self, connection: Connection, session_id: UUID) -> None:
        """Record that a session's job waits for KSeF, so that it is started when KSeF answers again."""
        await connection.execute(_SQL["add_waiting"], {"session_id": session_id})

    async def reserve_latarnia_query(self, ksef_url: str, *, now: datetime) -> bool:
        """Return whether this caller is to query Latarnia: at most one query is sent in ten minutes."""
        parameters = {"ksef_url": ksef_url, "now": now, "pause": LATARNIA_PAUSE}
        return await self._database.fetch_one(_SQL["reserve_latarnia_query"], parameters) is not None

    async def save_latarnia(self, ksef_url: str, said: Mapping[str, Any], *, now: datetime) -> None:
        """Store the answer of Latarnia, for display."""
        parameters = {"ksef_url": ksef_url, "latarnia": json.dumps(said, ensure_ascii=False), "now": now}
        await self._database.execute(_SQL["save_latarnia"], parameters)

    async def _change(
        self,
        ksef_url: str,
        change: Callable[[KsefRecord], KsefRecord],
        *,
        now: datetime,
        act: Act | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> KsefRecord:
        """Change the row under a lock, and add the events of a change of availability; record an operator's act."""
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["make_ksef"], {"ksef_url": ksef_url})
            row = await (await connection.execute(_SQL["lock_ksef"], {"ksef_url": ksef_url})).fetchone()
            assert row is not None  # noqa: S101 - it was made above, and no row is ever deleted
            known = _record(row)
            changed = change(known)
            if changed != known:
                await connection.execute(_SQL["save_ksef"], _columns(ksef_url, changed))
            if act is not None:
                record(connection, act=act, details=details)
            return await self._notify(connection, ksef_url, changed, now=now)

    async def _notify(self, connection: Connection, ksef_url: str, known: KsefRecord, *, now: datetime) -> KsefRecord:
        counts = known.standing(now)
        if counts.state is known.notified_state:
            return known
        rows = await (await connection.execute(_SQL["tenants_at_work"])).fetchall()
        # A tenant that got `ksef.unavailable` also gets `ksef.available`, even if it has nothing waiting any more.
        tenants = sorted({row["id"] for row in rows} | set(known.notified_tenants))
        away = counts.state is KsefState.AWAY
        for tenant_id in tenants:
            await self._outbox.add(
                connection,
                EventType.KSEF_UNAVAILABLE if away else EventType.KSEF_AVAILABLE,
                tenant_id=tenant_id,
                data={
                    "state": counts.state.value,
                    "since": iso_utc(counts.since or now),
                    "reason": counts.reason,
                    "ordered": counts.ordered,
                },
                now=now,
            )
        if not away:
            waiting = await (await connection.execute(_SQL["take_waiting"])).fetchall()
            await self._jobs.wake_sessions(connection, [row["session_id"] for row in waiting])
        notified = tuple(tenants) if away else ()
        await connection.execute(
            _SQL["set_notified"],
            {"ksef_url": ksef_url, "notified_state": counts.state.value, "notified_tenants": list(notified)},
        )
        return replace(known, notified_state=counts.state, notified_tenants=notified)


def _record(row: Mapping[str, Any]) -> KsefRecord:
    ordered = row["ordered_state"]
    return KsefRecord(
        health=Health(**({name: row[name] for name in _HEALTH} | {"state": KsefState(row["state"])})),
        override=Override(KsefState(ordered), row["ordered_at"], row["ordered_until"], row["ordered_reason"])
        if ordered is not None
        else None,
        notified_state=KsefState(row["notified_state"]),
        notified_tenants=tuple(row["notified_tenants"]),
        latarnia=row["latarnia"],
        latarnia_at=row["latarnia_at"],
    )


def _columns(ksef_url: str, record: KsefRecord) -> dict[str, Any]:
    override = record.override
    return {
        "ksef_url": ksef_url,
        **{name: getattr(record.health, name) for name in _HEALTH},
        "state": record.health.state.value,
        "ordered_state": override.state.value if override else None,
        "ordered_at": override.set_at if override else None,
        "ordered_until": override.until if override else None,
        "ordered_reason": override.reason if override else None,
    }
