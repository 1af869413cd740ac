"""Gauges of `/metrics` that are read from the database at a scrape, at most once in a few seconds."""

import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

import anyio
from prometheus_client.core import GaugeMetricFamily, Metric, UntypedMetricFamily
from prometheus_client.registry import Collector

from app.api.intake.admission import Limits
from app.api.responses.quota import quota_gauge
from app.clock import Clock
from app.domain.outage import KsefState
from app.domain.states import InvoiceState, SessionState
from app.store.keys.envelope import FIRST
from app.store.ksef.quota import counting_time
from app.store.store import Store

FRESH_FOR: Final = timedelta(seconds=5)

UNFINISHED: Final = (SessionState.OPEN, SessionState.CLOSING, SessionState.PROCESSING)
"""States of a session between its opening and its verdict."""


class DatabaseGauges:
    """Reads the gauges of invoices, queues and sessions; every API process of an installation returns the same."""

    def __init__(self, store: Store, ksef_url: str, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._limits = limits
        self._ksef_url = ksef_url
        self._clock = clock
        self._lock = anyio.Lock()
        self._read: tuple[datetime, Collector] | None = None

    async def collect(self) -> Collector:
        """Return the gauges as a collector for one exposition. Raises TryLater when the database does not answer."""
        async with self._lock:
            now = self._clock()
            if self._read is None or abs(now - self._read[0]) >= FRESH_FOR:
                self._read = (now, _Fixed(await self._families(now)))
            return self._read[1]

    async def _families(self, now: datetime) -> list[Metric]:
        # Not a gauge for Prometheus, because the documented name ends as only a counter's may.
        invoices = UntypedMetricFamily("ksefd_invoices_total", "Invoices by their present state.", labels=["state"])
        counts = await self._store.invoices.state_counts()
        for invoice_state in InvoiceState:
            invoices.add_metric([invoice_state.value], counts.get(invoice_state.value, 0))
        queued = GaugeMetricFamily(
            "ksefd_queued_invoices", "Invoices that wait for a session, by lane number.", labels=["lane"]
        )
        oldest = 0.0
        for lane in await self._store.chunks.queued_by_lane():
            queued.add_metric([str(lane["lane_id"])], lane["queued"])
            if lane["oldest"] is not None:
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
        secrets = GaugeMetricFamily(
            "ksefd_secrets",
            "Stored secrets by the number of the data key that encrypts them; 0 is the master key itself, in earlier versions.",
            labels=["key"],
        )
        for number, count in ({FIRST: 0} | await self._store.keys.secrets_by_key()).items():
            secrets.add_metric([str(number)], count)
        unresolved = GaugeMetricFamily(
            "ksefd_unresolved_invoices",
            "Invoices that KSeF calls duplicates and that could not be compared with their originals for an hour.",
            value=await self._store.duplicates.unresolved_count(),
        )
        quota = quota_gauge(await self._store.quota.remaining(None, now=counting_time(self._clock)))
        waiting = await _queue_and_disk_gauges(self._store, self._limits)
        return [quota, secrets, invoices, queued, age, sessions, unfinished, unresolved, available, *waiting]


async def _queue_and_disk_gauges(store: Store, limits: Limits) -> list[Metric]:
    """Return the gauges of queue sizes and their limits, of worker heartbeats, and of disk space."""
    total = (await store.admission.usage()).total
    amount = GaugeMetricFamily(
        "ksefd_waiting",
        "Queued work: uploads to be read, their bytes, and invoices for which KSeF has no session yet.",
        labels=["what"],
    )
    most = GaugeMetricFamily(
        "ksefd_waiting_limit", "The most that may wait on this installation, by what.", labels=["what"]
    )
    for what, value, limit in (
        ("uploads", total.uploads, limits.uploads),
        ("spooled_bytes", total.spooled_bytes, limits.spooled_bytes),
        ("invoices", total.invoices, limits.invoices),
    ):
        amount.add_metric([what], value)
        most.add_metric([what], limit)
    ages = await store.admission.worker_heartbeats()
    age = GaugeMetricFamily(
        "ksefd_worker_heartbeat_age_seconds",
        "Seconds since the last heartbeat of a worker: of the newest and of the oldest heartbeat; +Inf without any.",
        labels=["which"],
    )
    age.add_metric(["newest"], ages[0] if ages else math.inf)
    age.add_metric(["oldest"], ages[-1] if ages else math.inf)
    families: list[Metric] = [amount, most, age]
    space = await store.disk.space()
    if space is not None:
        families += [
            GaugeMetricFamily("ksefd_disk_free_bytes", "Free bytes of the disk that blobs are on.", value=space.free),
            GaugeMetricFamily(
                "ksefd_disk_reserved_bytes", "Free bytes below which uploads are refused.", value=space.reserved
            ),
        ]
    return families


class _Fixed(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
