"""The stages against the sandbox with clocks that can be moved, so that waiting costs nothing."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx

from app.clock import utc_now
from app.domain.backoff import next_look
from app.ksef.errors import QuotaExhausted
from app.store.tenants.tenants import Tenant
from app.store.uploads.uploads import Upload
from tests.support.road import seal_and_pack
from tests.support.sandbox_process import SandboxHandle
from workers.context import RetryLater, WorkerContext
from workers.duplicates.originals import find_originals
from workers.sessions.advance import advance_session


@dataclass
class BothClocks:
    """Time for us and for the sandbox: it passes by itself and can be moved."""

    control_url: str
    ahead: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self.ahead

    async def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        self.ahead += timedelta(seconds=seconds)
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{self.control_url}/clock", json={"advance_seconds": seconds})
            answer.raise_for_status()


@dataclass
class Road:
    """The stages against the sandbox, with clocks that can be moved."""

    context: WorkerContext
    clocks: BothClocks
    sandbox: SandboxHandle

    def fault(self, **rule: Any) -> None:
        """Have the sandbox misbehave."""
        httpx.post(f"{self.sandbox.control_url}/faults", json=rule).raise_for_status()

    def ledger(self) -> dict[str, Any]:
        """What KSeF's own records say."""
        answer: dict[str, Any] = httpx.get(f"{self.sandbox.control_url}/ledger").raise_for_status().json()
        return answer

    async def finish(self, tenant: Tenant, upload: Upload, *, rounds: int = 400) -> Upload:
        """Run the stages, as the jobs would, until every invoice of an upload has its last state."""
        store = self.context.store
        for _ in range(rounds):
            for session in await seal_and_pack(self.context, tenant):
                if session.state.is_final:
                    continue
                try:
                    await advance_session(self.context, session.id)
                except RetryLater as later:
                    await self.clocks.advance(later.seconds)
                else:
                    # A look comes again after a while, longer each time, and KSeF's clock runs meanwhile.
                    await self.clocks.advance(next_look(session.polls, session.invoices, 0.5))
            await self.settle(tenant)
            found = await store.uploads.get(tenant.id, upload.id)
            if found.completed_at is not None:
                return found
            await self.clocks.advance(await self._pause_of_search(tenant))
        raise AssertionError(f"no end after {rounds} rounds: {found.counts}")

    async def _pause_of_search(self, tenant: Tenant) -> float:
        """Return the seconds until a suspected duplicate is searched for again; none when there is none."""
        row = await self.context.store.database.fetch_one(
            "SELECT min(next_at) AS at FROM suspected_duplicates WHERE settled_at IS NULL AND tenant_id = %(tenant_id)s",
            {"tenant_id": tenant.id},
        )
        waits = row is not None and row["at"] is not None
        return max(0.0, (row["at"] - self.clocks()).total_seconds()) if row is not None and waits else 0.0

    async def settle(self, tenant: Tenant) -> None:
        """Run the job that settles suspected duplicates once, and let the time pass that it asks for."""
        try:
            await find_originals(self.context, tenant.id)
        except RetryLater as later:
            await self.clocks.advance(later.seconds)
        except QuotaExhausted as used:
            await self.clocks.advance(used.wait_seconds)
