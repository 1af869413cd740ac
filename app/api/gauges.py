"""Gauges that are read from the database when somebody scrapes, at most once in a few seconds."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import anyio
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.clock import Clock
from app.domain.states import InvoiceState, SessionState
from app.store.store import Store

FRESH_FOR: Final = timedelta(seconds=5)


class DatabaseGauges:
    """Reads what is known of invoices, queues and sessions; every API process of an installation gives the same."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = anyio.Lock()
        self._read: tuple[datetime, Collector] | None = None

    async def collect(self) -> Collector:
        """Give the gauges as a collector for one exposition. Raises TryLater when the database does not answer."""
        async with self._lock:
            now = self._clock()
            if self._read is None or abs(now - self._read[0]) >= FRESH_FOR:
                self._read = (now, _Fixed(await self._families(now)))
            return self._read[1]

    async def _families(self, now: datetime) -> list[Metric]:
        invoices = GaugeMetricFamily("ksefd_invoices_total", "Invoices by their present state.", labels=["state"])
        counts = await self._store.invoices.state_counts()
        for invoice_state in InvoiceState:
            invoices.add_metric([invoice_state.value], counts.get(invoice_state.value, 0))
        queued = GaugeMetricFamily(
            "ksefd_queued_invoices", "Invoices that wait for a session, by lane number.", labels=["lane"]
        )
        oldest = 0.0
        for lane in await self._store.chunks.lanes_with_queue():
            queued.add_metric([str(lane["lane_id"])], lane["queued"])
            oldest = max(oldest, (now - lane["oldest"]).total_seconds())
        sessions = GaugeMetricFamily("ksefd_sessions", "Sessions by their present state.", labels=["state"])
        session_counts = await self._store.sessions.state_counts()
        for session_state in SessionState:
            sessions.add_metric([session_state.value], session_counts.get(session_state.value, 0))
        age = GaugeMetricFamily(
            "ksefd_oldest_queued_seconds", "Seconds that the oldest invoice without a session has waited.", value=oldest
        )
        return [invoices, queued, age, sessions]


class _Fixed(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
