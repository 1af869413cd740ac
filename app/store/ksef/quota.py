"""KSeF's request limits, asked and booked in one statement over three sliding windows, shared by all workers.

A row is a counter of a context: times of the requests of the last hour, room reserved for closing open sessions, and the times
promised to jobs that wait, so that they return one after the other and find room. The clock is the database's, since the
clocks of workers differ; a test may pass its own time.
Source: KSeF API 2.9, GET /rate-limits; ksef-docs, limity/limity-api.md (sliding windows of a second, a minute and an hour).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from app.clock import Clock, utc_now
from app.ksef.limits import DEFAULT_RATE_LIMITS, RateLimit
from app.store.database import Database, queries

_SQL: Final = queries("quota")

ADDRESS: Final = 0
"""Replaces the tenant's number in counters of KSeF by address: calls without login."""
EVERYTHING: Final = "*"
"""The counter that pauses all others of its tenant."""

SEARCH: Final = "/search"
"""Ends the name of the counter that bounds what searches take of a group; the group itself counts them, too."""

# A request arrives later than it is booked, and the next one may arrive sooner: each window is counted this much longer.
# The second's pad is as long as the others' because a delay of a second is as likely there.
_SECOND: Final = timedelta(seconds=1 + 1.1)
_MINUTE: Final = timedelta(seconds=60 + 1.5)
_HOUR: Final = timedelta(seconds=3600 + 1.5)
PAD_SECONDS: Final = 1.1
"""A request that was answered within this time was surely counted by KSeF where we count it."""

_RESERVATION: Final = timedelta(hours=1)
"""A session that is not closed by then has most likely died; should it be closed after all, its close asks like any other."""
_CLOSE_GRACE: Final = timedelta(seconds=3)
"""How long openings wait after the time promised to a close."""
_LATENESS: Final = timedelta(seconds=3)
"""How late a waiting job usually starts at most: workers poll for due jobs every two seconds."""
_HORIZON: Final = timedelta(minutes=5)
"""Slots are promised at most this far behind the first free one. Later callers retry within this time."""


@dataclass(frozen=True, slots=True)
class Booking:
    """Answer of `book`: booked at a time, or the time of the next try."""

    booked_at: datetime | None
    retry_at: datetime | None
    wait_seconds: float
    """Until `retry_at`; 0 when booked."""
    reason: str | None
    """The reason of a pause that KSeF or its front layer ordered; None for our own count."""


@dataclass(frozen=True, slots=True)
class Used:
    """Requests of the last minute and hour."""

    minute: int
    hour: int


@dataclass(frozen=True, slots=True)
class Remaining:
    """Requests left in the windows of a counter; None is without limit."""

    second: int | None
    minute: int | None
    hour: int | None
    blocked_until: datetime | None


class QuotaStore:
    """Rows of counters, by tenant and by KSeF's name of the limit group."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def book(
        self,
        tenant_id: int,
        counter: str,
        limit: RateLimit,
        *,
        pausers: Sequence[int] = (),
        reserves: bool = False,
        closes: bool = False,
        now: datetime | None = None,
    ) -> Booking:
        """Book one request now, or learn when to ask again; nothing is booked then.

        `reserves`: an opening whose close is counted here too; room for it is kept. `closes`: that close; it takes the room
        kept for it, and goes before all others when it has to wait. `pausers` are more tenants whose pause of EVERYTHING holds
        here. Any number of workers may ask at the same time.
        """
        parameters = {
            "tenant_id": tenant_id,
            "counter": counter,
            "everything": EVERYTHING,
            "pausers": sorted({tenant_id, *pausers}),
            "per_second": limit.per_second,
            "per_minute": limit.per_minute,
            "per_hour": limit.per_hour,
            "keep": _longest(limit),
            "reserves": reserves,
            "closes": closes,
            "close_grace": _CLOSE_GRACE,
            "lateness": _LATENESS,
            "horizon": _HORIZON,
            "now": now,
        } | _SPANS
        row = await self._database.fetch_one(_SQL["book"], parameters)
        if row is None:
            await self._database.execute(_SQL["make_counter"], {"tenant_id": tenant_id, "counter": counter})
            row = await self._database.fetch_one(_SQL["book"], parameters)
        assert row is not None  # noqa: S101 - the row was made, and rows of this table are never deleted
        if row["retry_at"] is None:
            return Booking(row["booked_at"], None, 0.0, None)
        return Booking(None, row["retry_at"], max(0.0, row["wait_seconds"]), row["blocked_reason"])

    async def made_later(
        self, tenant_id: int, counter: str, booked_at: datetime, *, now: datetime | None = None
    ) -> None:
        """Count a request from now instead of from when it was booked."""
        await self._database.execute(
            _SQL["made_later"], {"tenant_id": tenant_id, "counter": counter, "booked_at": booked_at, "now": now}
        )

    async def release(self, tenant_id: int, counter: str) -> None:
        """Give up the room kept for one close: its session was not opened, or will never be closed."""
        await self._database.execute(_SQL["release"], {"tenant_id": tenant_id, "counter": counter})

    async def block(
        self, tenant_id: int, counter: str, pause: timedelta, *, reason: str, now: datetime | None = None
    ) -> None:
        """Book nothing for a while, even with room left; EVERYTHING pauses the whole tenant. Never shortens a pause."""
        await self._database.execute(
            _SQL["block"],
            {"tenant_id": tenant_id, "counter": counter, "pause": pause, "reason": reason, "now": now},
        )

    async def unblock(self, tenant_id: int) -> None:
        """End all pauses of a tenant."""
        await self._database.execute(_SQL["unblock"], {"tenant_id": tenant_id})

    async def used(self, tenant_id: int, counter: str, *, now: datetime | None = None) -> Used:
        """Return how many requests of a counter were booked within a minute and an hour, without those of searches."""
        parameters = {"tenant_id": tenant_id, "counter": counter, "share": counter + SEARCH, "now": now} | _SPANS
        row = await self._database.fetch_one(_SQL["used"], parameters)
        return Used(**row) if row is not None else Used(0, 0)

    async def remaining(self, tenant_id: int | None, *, now: datetime | None = None) -> dict[str, Remaining]:
        """Return the requests left by counter: of a tenant, or the least over all tenants. Unused counters are missing."""
        rows = await self._database.fetch_all(
            _SQL["remaining"], {"tenant_id": tenant_id, "defaults": _DEFAULTS, "now": now} | _SPANS
        )
        return {
            row["limit_group"]: Remaining(row["second"], row["minute"], row["hour"], row["blocked_until"])
            for row in rows
        }


def counting_time(clock: Clock) -> datetime | None:
    """Return None for a machine's own clock, so that the database's time counts, or the time of a test's clock."""
    return None if clock is utc_now else clock()


def windows(limit: RateLimit) -> list[int | None]:
    """Write a limit as the store keeps it: requests a second, a minute, an hour."""
    return [limit.per_second, limit.per_minute, limit.per_hour]


def _longest(limit: RateLimit) -> timedelta:
    limited = [span for most, span in zip(windows(limit), (_SECOND, _MINUTE, _HOUR), strict=True) if most is not None]
    return max(limited, default=timedelta(0))


_SPANS: Final[dict[str, Any]] = {"second": _SECOND, "minute": _MINUTE, "hour": _HOUR, "reservation": _RESERVATION}
_DEFAULTS: Final = json.dumps({group: windows(limit) for group, limit in DEFAULT_RATE_LIMITS.items()})
