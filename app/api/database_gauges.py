"""Gauges that are read from the database when somebody scrapes, at most once in a few seconds."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import anyio
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.api.intake.admission import Limits
from app.api.responses.quota import quota_gauge
from app.api.waiting_gauges import waiting_families
from app.clock import Clock
from app.domain.outage import KsefState
from app.domain.states import InvoiceState, SessionState
from app.store.ksef.quota import counting_time
from app.store.store import Store

FRESH_FOR: Final = timedelta(seconds=5)

UNFINISHED: Final = (SessionState.OPEN, SessionState.CLOSING, SessionState.PROCESSING)
"""States of a session that KSeF has opened and not decided."""


class DatabaseGauges:
    """Reads what is known of invoices, queues and sessions; every API process of an installation gives the same."""

    def __init__(self, store: Store, ksef_url: str, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._ksef_url = ksef_url
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
        unfinished = GaugeMetricFamily(
            "ksefd_oldest_unfinished_session_seconds",
            "Seconds since the opening of the oldest session in a state between opening and verdict; 0 without one.",
            labels=["state"],
        )
        opened = await self._store.sessions.oldest_opened()
        for unfinished_state in UNFINISHED:
            since = opened.get(unfinished_state)
            unfinished.add_metric([unfinished_state.value], max(0.0, (now - since).total_seconds()) if since else 0.0)
        standing = (await self._store.outages.read(self._ksef_url)).standing(now)
        available = GaugeMetricFamily(
            "ksefd_ksef_available",
            "1 while KSeF answers or an operator says so; 0 while it is away and sending pauses.",
            value=float(standing.state is KsefState.AVAILABLE),
        )
        quota = quota_gauge(await self._store.quota.remaining(None, now=counting_time(self._clock)))
        waiting = await waiting_families(self._store, self._limits)
        return [quota, invoices, queued, age, sessions, unfinished, available, *waiting]


class _Fixed(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
