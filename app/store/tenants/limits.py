"""KSeF's limits for each tenant, as KSeF reported them: requests in three windows, and sizes of sessions."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from app.ksef.limits import ContextLimits, RateLimit, RateLimits
from app.store.database import Database, queries
from app.store.ksef.quota import windows

_SQL: Final = queries("limits")

GOOD_FOR: Final = timedelta(hours=1)
"""Age at which limits are read again, since KSeF may change them at any time."""
ASK_AT_MOST_EVERY: Final = timedelta(minutes=5)
"""Shortest time between two readings: they count themselves, in a group of 120 requests an hour."""


@dataclass(frozen=True, slots=True)
class KnownLimits:
    """A tenant's limits. Before the first reading: the documented defaults, and none for sessions."""

    rates: RateLimits
    context: ContextLimits | None = None
    lowered_to: int | None = None
    """Most invoices in a session, learnt from a refusal (session status 420)."""
    fetched_at: datetime | None = None
    stale: bool = False

    @property
    def session_max_invoices(self) -> int | None:
        """Most invoices in a session by KSeF's answers; None before any answer."""
        said = self.context.max_invoices if self.context else None
        known = [most for most in (said, self.lowered_to) if most is not None]
        return min(known, default=None)

    def is_old(self, now: datetime) -> bool:
        """Return whether the limits should be read again."""
        return self.stale or self.fetched_at is None or self.fetched_at <= now - GOOD_FOR


class LimitsStore:
    """Rows of limits, one a tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, tenant_id: int) -> KnownLimits:
        """Return the stored limits, however old."""
        row = await self._database.fetch_one(_SQL["load_limits"], {"tenant_id": tenant_id})
        if row is None:
            return KnownLimits(RateLimits({}))
        rates = {group: RateLimit(*values) for group, values in (row["rate_limits"] or {}).items()}
        context = ContextLimits(**row["context_limits"]) if row["context_limits"] is not None else None
        return KnownLimits(RateLimits(rates), context, row["session_max_invoices"], row["fetched_at"], row["stale"])

    async def reserve_refresh(self, tenant_id: int, *, now: datetime) -> bool:
        """Return whether this caller is to read the limits: they are old, and no other caller has read them lately."""
        row = await self._database.fetch_one(
            _SQL["reserve_refresh"],
            {"tenant_id": tenant_id, "pause": ASK_AT_MOST_EVERY, "good_for": GOOD_FOR, "now": now},
        )
        return row is not None

    async def save(self, tenant_id: int, rates: RateLimits, context: ContextLimits, *, now: datetime) -> None:
        """Store the limits that KSeF has just reported."""
        await self._database.execute(
            _SQL["save_limits"],
            {
                "tenant_id": tenant_id,
                "rate_limits": json.dumps({group: windows(limit) for group, limit in rates.groups.items()}),
                "context_limits": json.dumps(asdict(context)),
                "now": now,
            },
        )

    async def distrust(self, tenant_id: int) -> None:
        """Have the limits read again soon, since KSeF has just enforced others."""
        await self._database.execute(_SQL["distrust_limits"], {"tenant_id": tenant_id})

    async def lower_session_limit(self, tenant_id: int, to: int) -> None:
        """Seal no more than `to` invoices into a session until KSeF itself reports more; never raises the limit."""
        await self._database.execute(_SQL["lower_session_limit"], {"tenant_id": tenant_id, "most": max(1, to)})
