"""Request limits: three sliding windows at once, counted per context, address and group.

Source: KSeF API 2.9, `x-rate-limits` of every operation and GET /rate-limits; ksef-docs, limity-api.md.
Part uploads and receipt links belong to no group.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from sandbox.refusals import TooManyRequests

Limits: TypeAlias = tuple[int, int, int]

UNLIMITED: Limits = (-1, -1, -1)
DEFAULT_LIMITS: dict[str, Limits] = {
    "onlineSession": (10, 30, 120),
    "onlineSessionClose": (20, 60, 240),
    "batchSession": (10, 20, 60),
    "batchSessionClose": (20, 40, 120),
    "invoiceSend": (10, 30, 180),
    "invoiceStatus": (30, 120, 1200),
    "sessionList": (5, 10, 60),
    "sessionInvoiceList": (10, 20, 200),
    "sessionMisc": (10, 120, 1200),
    "invoiceMetadata": (8, 16, 20),
    "invoiceExport": (8, 16, 20),
    "invoiceExportStatus": (10, 60, 600),
    "invoiceDownload": (8, 16, 64),
    "collectiveIdentifier": (20, 120, 240),
    "other": (10, 30, 120),
    "anonymous": (60, -1, -1),
    "global": (-1, -1, -1),
}
_WINDOWS = ((1.0, "sekundę"), (60.0, "minutę"), (3600.0, "godzinę"))


@dataclass(slots=True)
class RateLimiter:
    """Counts requests. A refused request is not counted, so that waiting always helps."""

    limits: dict[str, Limits]
    _seen: dict[tuple[str, str, str], deque[float]] = field(default_factory=dict)

    def book(self, context: str, address: str, group: str, now: datetime) -> None:
        """Count one request, or raise TooManyRequests when any of the three windows is full."""
        limits = self.limits[group]
        longest = max((span for (span, _), limit in zip(_WINDOWS, limits, strict=True) if limit >= 0), default=0)
        if not longest:
            return
        moment = now.timestamp()
        times = self._seen.setdefault((context, address, group), deque())
        while times and times[0] <= moment - longest:
            times.popleft()
        refusal = _fullest(times, limits, moment)
        if refusal is not None:
            raise refusal
        times.append(moment)

    def clear(self) -> None:
        """Forget every request."""
        self._seen.clear()


def _fullest(times: deque[float], limits: Limits, moment: float) -> TooManyRequests | None:
    """The window that keeps the caller out for longest, if any is full."""
    worst: TooManyRequests | None = None
    for (span, name), limit in zip(_WINDOWS, limits, strict=True):
        if limit < 0 or len(times) < limit:
            continue
        # The request that must leave the window before another one fits; with limit 0 nothing ever fits.
        leaves = times[-limit] + span if limit else moment + span
        if leaves > moment:
            wait = max(1, math.ceil(leaves - moment))
            if worst is None or wait > worst.retry_after:
                worst = TooManyRequests(limit, name, wait)
    return worst
