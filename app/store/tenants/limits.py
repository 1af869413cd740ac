"""What KSeF said of each tenant's limits: requests in three windows, and how much a session may hold."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from app.ksef.limits import ContextLimits, RateLimit, RateLimits
from app.store.database import Database, queries
from app.store.ksef.quota import windows

_SQL: Final = queries("limits")

GOOD_FOR: Final = timedelta(hours=1)
"""KSeF may raise and lower limits at any time; after this they are asked for again."""
ASK_AT_MOST_EVERY: Final = timedelta(minutes=5)
"""The questions themselves are counted, in a group that allows 120 an hour."""


@dataclass(frozen=True, slots=True)
class KnownLimits:
    """A tenant's limits. Before KSeF was asked: the documented defaults, and no word on sessions."""

    rates: RateLimits
    context: ContextLimits | None = None
    lowered_to: int | None = None
    """Invoices in a session, as a refusal (session status 420) taught us."""
    fetched_at: datetime | None = None
    stale: bool = False

    @property
    def session_max_invoices(self) -> int | None:
        """Invoices that KSeF takes in a session; None when it never said."""
        said = self.context.max_invoices if self.context else None
        known = [most for most in (said, self.lowered_to) if most is not None]
        return min(known, default=None)

    def is_old(self, now: datetime) -> bool:
        """Whether KSeF should be asked again."""
        return self.stale or self.fetched_at is None or self.fetched_at <= now - GOOD_FOR


class LimitsStore:
    """Rows of limits, one a tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, tenant_id: int) -> KnownLimits:
        """Give what is known, old or not."""
        row = await self._database.fetch_one(_SQL["load_limits"], {"tenant_id": tenant_id})
        if row is None:
            return KnownLimits(RateLimits({}))
        rates = {group: RateLimit(*values) for group, values in (row["rate_limits"] or {}).items()}
        context = ContextLimits(**row["context_limits"]) if row["context_limits"] is not None else None
        return KnownLimits(RateLimits(rates), context, row["session_max_invoices"], row["fetched_at"], row["stale"])

    async def claim_refresh(self, tenant_id: int, *, now: datetime) -> bool:
        """Say whether this caller is to ask KSeF: limits are old, and nobody has asked lately."""
        row = await self._database.fetch_one(
            _SQL["claim_refresh"],
            {"tenant_id": tenant_id, "pause": ASK_AT_MOST_EVERY, "good_for": GOOD_FOR, "now": now},
        )
        return row is not None

    async def save(self, tenant_id: int, rates: RateLimits, context: ContextLimits, *, now: datetime) -> None:
        """Keep what KSeF said just now."""
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
        """Have the limits read again soon: KSeF just acted by others."""
        await self._database.execute(_SQL["distrust_limits"], {"tenant_id": tenant_id})

    async def lower_session_limit(self, tenant_id: int, to: int) -> None:
        """Seal no more than `to` invoices into a session until KSeF itself says more; never raises the limit."""
        await self._database.execute(_SQL["lower_session_limit"], {"tenant_id": tenant_id, "most": max(1, to)})
