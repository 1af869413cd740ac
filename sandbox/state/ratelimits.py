"""Request limits: three sliding windows for each context, address and limit group.

Groups and numbers are the contract's: `x-rate-limits` of every operation and GET /rate-limits of KSeF API 2.9; before API 2.8
closing a session counted in the group of opening one. Anonymous operations are counted for each address. Part uploads and
receipt links belong to no group (ksef-docs, limity-api.md).

By that page a block grows with the number and the scale of violations; the formula is not documented. Here the first
violation costs the wait of the windows, and each further one within an hour doubles it, up to an hour. Requests in the first
second of a block count as sent before it and cost nothing.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from sandbox.errors import TooManyRequests
from sandbox.options import ApiVersion

Limits: TypeAlias = tuple[int, int, int]
"""Requests in a second, a minute and an hour; -1 for any number."""
LimitKey: TypeAlias = tuple[str, str, str]
"""Context, address, group."""

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
NOT_OVERRIDABLE = frozenset({"onlineSessionClose", "batchSessionClose", "anonymous", "global"})
"""Groups that POST /testdata/rate-limits cannot change (KSeF API 2.9, ApiRateLimitsOverride)."""
_UNLISTED_2_7 = NOT_OVERRIDABLE
_LIMITS_2_7 = DEFAULT_LIMITS | {"collectiveIdentifier": (10, 60, 120)}
_SHARED_2_7 = {"onlineSessionClose": "onlineSession", "batchSessionClose": "batchSession"}
_WINDOWS = ((1.0, "sekundę"), (60.0, "minutę"), (3600.0, "godzinę"))
_LONGEST_BLOCK_SECONDS = 3600.0
_MEMORY_SECONDS = 3600.0
_ON_THEIR_WAY_SECONDS = 1.0


@dataclass(slots=True)
class Block:
    """One caller's violations within the last hour, and the end of its block in the group."""

    violations: deque[float]
    since: float = 0.0
    until: float = 0.0
    limit: int = 0
    window: str = ""


@dataclass(slots=True)
class RateLimiter:
    """Counter of requests. A rejected request is not counted, so that waiting always helps."""

    limits: dict[str, Limits]
    """The limits by group."""
    shared: dict[str, str] = field(default_factory=dict)
    """Group -> the group that counts its requests."""
    unlisted: frozenset[str] = frozenset()
    """Groups that GET /rate-limits does not list."""
    growing: bool = False
    """Whether blocks grow with repeated violations."""
    overrides: dict[str, dict[str, Limits]] = field(default_factory=dict)
    """Limits of single contexts, by `Type:value` and group."""
    bookings: list[tuple[LimitKey, float]] = field(default_factory=list)
    """Admitted requests since this list was last saved; empty unless `remember`."""
    remember: bool = False
    blocks: dict[LimitKey, Block] = field(default_factory=dict)
    _seen: dict[LimitKey, deque[float]] = field(default_factory=dict)

    def limits_of(self, context: str) -> dict[str, Limits]:
        """Return the limits of a context, as GET /rate-limits lists them."""
        listed = {group: limits for group, limits in self.limits.items() if group not in self.unlisted}
        return listed | self.overrides.get(context, {})

    def override(self, context: str, limits: dict[str, Limits]) -> None:
        """Set limits of one context; groups that are not named keep theirs."""
        self.overrides[context] = {group: values for group, values in limits.items() if group not in self.unlisted}

    def restore_default(self, context: str) -> None:
        """Reset a context to the default limits."""
        self.overrides.pop(context, None)

    def book(self, context: str, address: str, group: str, now: datetime) -> None:
        """Count one request, or raise TooManyRequests when one of the three windows is full or a block is in force."""
        group = self.shared.get(group, group)
        limits = self.overrides.get(context, {}).get(group) or self.limits[group]
        longest = max((span for (span, _), limit in zip(_WINDOWS, limits, strict=True) if limit >= 0), default=0)
        if not longest:
            return
        moment = now.timestamp()
        key = context, address, group
        times = self._seen.setdefault(key, deque())
        while times and times[0] <= moment - longest:
            times.popleft()
        if self.growing:
            self._check_block(key, moment)
        full = _fullest(times, limits, moment)
        if full is not None:
            raise self._violated(key, moment, *full)
        times.append(moment)
        if self.remember:
            self.bookings.append((key, moment))

    def recall(self, key: LimitKey, moment: float) -> None:
        """Count a request of an earlier run; calls must be in the order of time."""
        self._seen.setdefault(key, deque()).append(moment)

    def clear(self) -> None:
        """Delete all requests, blocks and overrides."""
        self._seen.clear()
        self.blocks.clear()
        self.overrides.clear()
        self.bookings.clear()

    def _check_block(self, key: LimitKey, moment: float) -> None:
        block = self.blocks.get(key)
        if block is None or moment >= block.until:
            return
        if moment - block.since > _ON_THEIR_WAY_SECONDS:
            raise self._violated(key, moment, block.limit, block.window, block.until - moment)
        raise TooManyRequests(block.limit, block.window, _whole(block.until - moment))

    def _violated(self, key: LimitKey, moment: float, limit: int, window: str, wait: float) -> TooManyRequests:
        if self.growing:
            block = self.blocks.setdefault(key, Block(deque()))
            while block.violations and block.violations[0] <= moment - _MEMORY_SECONDS:
                block.violations.popleft()
            # If a window's wait is longer than the longest block, the window decides.
            wait = max(wait, min(wait * 2 ** len(block.violations), _LONGEST_BLOCK_SECONDS))
            block.violations.append(moment)
            block.since, block.until, block.limit, block.window = moment, moment + wait, limit, window
        return TooManyRequests(limit, window, _whole(wait))


def make_limiter(version: ApiVersion, *, enforced: bool) -> RateLimiter:
    """Create the limiter of one version of the API; without enforcement every group is listed as unlimited.

    Before API 2.8 no anonymous group was listed, although ksef-docs already named 60 requests a second for each address for
    those operations; so they are counted in both versions.
    """
    old = version is ApiVersion.V2_7
    limits = dict(_LIMITS_2_7 if old else DEFAULT_LIMITS)
    return RateLimiter(
        limits if enforced else dict.fromkeys(limits, UNLIMITED),
        dict(_SHARED_2_7) if old else {},
        _UNLISTED_2_7 if old else frozenset(),
        growing=enforced,
    )


def _fullest(times: deque[float], limits: Limits, moment: float) -> tuple[int, str, float] | None:
    """Return limit, name and seconds to wait of the full window with the longest wait, or None."""
    worst: tuple[int, str, float] | None = None
    for (span, name), limit in zip(_WINDOWS, limits, strict=True):
        if limit < 0 or len(times) < limit:
            continue
        # The time when the oldest counted request leaves the window; with limit 0 no request is ever admitted.
        leaves = times[-limit] + span if limit else moment + span
        if leaves > moment and (worst is None or leaves - moment > worst[2]):
            worst = limit, name, leaves - moment
    return worst


def _whole(seconds: float) -> int:
    return max(1, math.ceil(seconds))
