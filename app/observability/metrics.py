"""All metrics of the service (names, help, labels) and their exposition for all processes of one machine.

Counters and histograms are written by the process that does the work and read through the API process. For that,
prometheus_client keeps the values of each process in files of one folder. It decides so when it is imported, by the
environment variable PROMETHEUS_MULTIPROC_DIR, so the starter of API and worker processes sets it for them:

    environment = os.environ | process_environment(settings)    # from app.observability.metrics_folder, which imports no client

A process started without it counts in its own memory, and only its own `/metrics` shows that. Gauges that the database can
answer (invoices and sessions by state, queues) are read there at each scrape, see `app.api.database_gauges`.
"""

import os
import platform
from collections.abc import Mapping
from itertools import product
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app import __version__
from app.forms.rules import RULES
from app.observability.metrics_folder import FOLDER_VARIABLE

# No use is made of the second series that every counter would get, with the time of its first use.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library leaves this function untyped

REGISTRY: Final = CollectorRegistry(auto_describe=True)
"""Metrics of this process; the default registry of prometheus_client is left alone."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

STAGES: Final = (
    "receive", "single", "read", "check", "commit", "seal", "pack", "open", "put_part", "close", "track", "upo",
    "verdicts", "deliver",
)  # fmt: skip
"""Values of `stage`, in the order in which an invoice passes them."""

LIMIT_GROUPS: Final = ("batchSession", "batchSessionClose", "sessionMisc", "sessionInvoiceList")
"""Groups whose remaining requests are shown before the first request; any other group appears with its first one."""

REQUEST_GROUPS: Final = (*LIMIT_GROUPS, "invoiceStatus", "sessionList", "storage")
"""Groups whose requests are counted from zero: those that the sending of every session uses."""

REQUEST_STATUSES: Final = ("200", "429", "none")

REFUSALS: Final = (
    "tenant-concurrent-uploads", "tenant-unread-uploads", "tenant-spooled-bytes", "tenant-waiting-invoices", "tenant-busy",
    "busy", "spool", "queue", "disk",
)  # fmt: skip
"""Values of `reason`: first a tenant's own limits (429), then limits of the process and the installation (503)."""

CHECKS: Final[tuple[tuple[str, str], ...]] = (
    ("fast", "valid"), ("full", "valid"), ("full", "invalid"), ("full", "crashed"),
)  # fmt: skip
"""Values of `path` and `result` that occur together: the fast path recognises valid invoices only."""

DELIVERY_OUTCOMES: Final = ("succeeded", "retried", "failed", "gone")
DISABLED_REASONS: Final = ("failing", "gone")

UPLOAD_BYTES: Final = Counter(
    "ksefd_upload_bytes_total", "Bytes of acknowledged request bodies, single posts included.", registry=REGISTRY
)
STAGE_SECONDS: Final = Histogram(
    "ksefd_stage_seconds",
    "Seconds that one run of a stage took (one body, one chunk, one session, one part).",
    ["stage"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600),
    registry=REGISTRY,
)
VALIDATION_FINDINGS: Final = Counter(
    "ksefd_validation_findings_total", "Findings of the local check, by rule.", ["rule"], registry=REGISTRY
)
CHECKED: Final = Counter(
    "ksefd_checks_total",
    "Checks of documents, by the path that was taken and by result.",
    ["path", "result"],
    registry=REGISTRY,
)
SESSION_SECONDS: Final = Histogram(
    "ksefd_session_seconds",
    "Seconds from the sealing of a session to its last state.",
    buckets=(1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600),
    registry=REGISTRY,
)
PART_BYTES: Final = Counter(
    "ksefd_part_bytes_total", "Bytes of encrypted parts that KSeF's storage took.", registry=REGISTRY
)
KSEF_REQUESTS: Final = Counter(
    "ksefd_ksef_requests_total",
    "Requests to KSeF by limit group and HTTP status; 'none' when no answer came.",
    ["group", "status"],
    registry=REGISTRY,
)
WEBHOOK_DELIVERIES: Final = Counter(
    "ksefd_webhook_deliveries_total", "Attempts to deliver an event, by outcome.", ["outcome"], registry=REGISTRY
)
WEBHOOK_LAG_SECONDS: Final = Histogram(
    "ksefd_webhook_lag_seconds",
    "Seconds from an event to its successful delivery.",
    buckets=(0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 7200, 86400),
    registry=REGISTRY,
)
REFUSED_REQUESTS: Final = Counter(
    "ksefd_refused_requests_total",
    "Uploads and single posts that were put off because too much waits, by the limit that was reached.",
    ["reason"],
    registry=REGISTRY,
)
WEBHOOKS_DISABLED: Final = Counter(
    "ksefd_webhooks_disabled_total",
    "Webhooks that were disabled because they failed for days, or answered 410.",
    ["reason"],
    registry=REGISTRY,
)
BUILD_INFO: Final = Gauge(
    "ksefd_build_info",
    "Always 1; the labels say which version runs.",
    ["version", "python"],
    multiprocess_mode="max",
    registry=REGISTRY,
)

METRICS: Final[tuple[MetricWrapperBase, ...]] = (
    UPLOAD_BYTES, STAGE_SECONDS, VALIDATION_FINDINGS, CHECKED, SESSION_SECONDS, PART_BYTES, KSEF_REQUESTS,
    WEBHOOK_DELIVERIES, WEBHOOK_LAG_SECONDS, WEBHOOKS_DISABLED, REFUSED_REQUESTS, BUILD_INFO,
)  # fmt: skip


def start_at_zero() -> None:
    """Create every series whose labels are known beforehand, so that a rate over its first event is right. Safe to repeat."""
    for stage in STAGES:
        STAGE_SECONDS.labels(stage=stage)
    for rule in RULES:
        VALIDATION_FINDINGS.labels(rule=rule)
    for path, result in CHECKS:
        CHECKED.labels(path=path, result=result)
    for group, status in product(REQUEST_GROUPS, REQUEST_STATUSES):
        KSEF_REQUESTS.labels(group=group, status=status)
    for outcome in DELIVERY_OUTCOMES:
        WEBHOOK_DELIVERIES.labels(outcome=outcome)
    for reason in DISABLED_REASONS:
        WEBHOOKS_DISABLED.labels(reason=reason)
    for reason in REFUSALS:
        REFUSED_REQUESTS.labels(reason=reason)
    BUILD_INFO.labels(version=__version__, python=platform.python_version()).set(1)


def count_checks(checks: Mapping[tuple[str, str], int]) -> None:
    """Count checks by (path, result)."""
    for (path, result), count in checks.items():
        CHECKED.labels(path=path, result=result).inc(count)


def exposition(*more: Collector) -> bytes:
    """Return the metrics of all processes of this machine and of `more` collectors in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    if os.environ.get(FOLDER_VARIABLE):
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library leaves this constructor untyped
    else:
        registry.register(REGISTRY)
    for collector in more:
        registry.register(collector)
    return generate_latest(registry)
