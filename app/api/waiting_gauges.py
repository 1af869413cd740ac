"""Gauges of what waits beside what may, of the disk, and of the workers' heartbeats."""

import math

from prometheus_client.core import GaugeMetricFamily, Metric

from app.api.intake.admission import Limits
from app.store.store import Store


async def waiting_families(store: Store, limits: Limits) -> list[Metric]:
    """Read the gauges. Raises TryLater when the database does not answer."""
    total = (await store.admission.usage()).total
    amount = GaugeMetricFamily(
        "ksefd_waiting",
        "What waits: uploads to be read, their bytes, and invoices for which KSeF has no session yet.",
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
    heard = GaugeMetricFamily(
        "ksefd_worker_heartbeat_age_seconds",
        "Seconds since a worker was heard: the one heard last, and the one heard longest ago; +Inf without any.",
        labels=["which"],
    )
    heard.add_metric(["newest"], ages[0] if ages else math.inf)
    heard.add_metric(["oldest"], ages[-1] if ages else math.inf)
    families: list[Metric] = [amount, most, heard]
    space = await store.disk.space()
    if space is not None:
        families += [
            GaugeMetricFamily("ksefd_disk_free_bytes", "Free bytes of the disk that blobs are on.", value=space.free),
            GaugeMetricFamily(
                "ksefd_disk_reserved_bytes", "Free bytes below which no more uploads are taken.", value=space.reserved
            ),
        ]
    return families
