"""Remaining requests under KSeF's limits, for `/v1/me` and the metrics."""

from collections.abc import Mapping
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily

from app.domain.timestamps import iso_utc
from app.ksef.limits import DEFAULT_RATE_LIMITS, RateLimit, RateLimits
from app.observability.metrics import LIMIT_GROUPS
from app.store.ksef.quota import EVERYTHING, Remaining

_WINDOWS: Final = ("second", "minute", "hour")
SHOWN: Final = (
    "batchSession",
    "batchSessionClose",
    "sessionMisc",
    "sessionInvoiceList",
    "invoiceStatus",
    "sessionList",
    "other",
)
"""Limit groups that sending uses and that KSeF counts for each context."""


def quota_shape(rates: RateLimits, remaining: Mapping[str, Remaining]) -> dict[str, Any]:
    """Return the remaining requests by group and window, null without limit; `blocked_until` of a group, or of all groups.

    Where KSeF counts two groups together, both show the remaining requests of the two.
    """
    shape: dict[str, Any] = {}
    for group in SHOWN:
        left = remaining.get(rates.counter_of(group)) or _unused(rates.limit_of(group))
        shape[group] = {name: getattr(left, name) for name in _WINDOWS}
        if left.blocked_until is not None:
            shape[group]["blocked_until"] = iso_utc(left.blocked_until)
    pause = remaining.get(EVERYTHING)
    if pause is not None and pause.blocked_until is not None:
        shape["blocked_until"] = iso_utc(pause.blocked_until)
    return shape


def quota_gauge(remaining: Mapping[str, Remaining]) -> GaugeMetricFamily:
    """Return the gauge of the requests left for the context that has used most. A window without limit has no series."""
    gauge = GaugeMetricFamily(
        "ksefd_ksef_quota_remaining",
        "Requests left in a window of a limit group, for the context that has used most of it.",
        labels=["group", "window"],
    )
    unused = {group: _unused(DEFAULT_RATE_LIMITS[group]) for group in LIMIT_GROUPS}
    for group, left in sorted((unused | dict(remaining)).items()):
        for window in _WINDOWS:
            value = getattr(left, window)
            if group != EVERYTHING and value is not None:
                gauge.add_metric([group, window], value)
    return gauge


def _unused(limit: RateLimit) -> Remaining:
    return Remaining(limit.per_second, limit.per_minute, limit.per_hour, None)
