"""KSeF's limits for a context, as its API reports them: sizes, counts, and requests in three windows.

Source: KSeF API 2.9, GET /limits/context and GET /rate-limits; ksef-docs, limity/limity-api.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from app.ksef.answers import Answer
from app.ksef.models import read_json_object
from app.ksef.transport import Call, LimitGroup

BYTES_IN_MB = 1_000_000
"""KSeF counts in decimal megabytes."""

CONTEXT = Call(LimitGroup.OTHER, "GET", "/limits/context", frozenset({200}))
RATES = Call(LimitGroup.OTHER, "GET", "/rate-limits", frozenset({200}))

_OLDER_SHARING = {LimitGroup.BATCH_SESSION_CLOSE.value: LimitGroup.BATCH_SESSION.value}
"""The counter that opening and closing batch sessions shared before API 2.8."""


@dataclass(frozen=True, slots=True)
class ContextLimits:
    """Limits of one batch session's content for this context. None: not reported by KSeF, so our setting applies."""

    max_invoices: int | None
    max_invoice_bytes: int | None
    max_invoice_with_attachment_bytes: int | None


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The most requests in any second, minute and hour; None is no limit."""

    per_second: int | None
    per_minute: int | None
    per_hour: int | None


NO_LIMIT = RateLimit(None, None, None)

DEFAULT_RATE_LIMITS: Mapping[str, RateLimit] = MappingProxyType(
    {
        "batchSession": RateLimit(10, 20, 60),
        "batchSessionClose": RateLimit(20, 40, 120),
        "invoiceStatus": RateLimit(30, 120, 1200),
        "sessionList": RateLimit(5, 10, 60),
        "sessionInvoiceList": RateLimit(10, 20, 200),
        "sessionMisc": RateLimit(10, 120, 1200),
        "invoiceMetadata": RateLimit(8, 16, 20),
        "invoiceDownload": RateLimit(8, 16, 64),
        "other": RateLimit(10, 30, 120),
        "anonymous": RateLimit(60, None, None),
    }
)
"""The limits that KSeF API 2.9 documents, used until KSeF has reported its own."""


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The limits of all groups, by KSeF's names."""

    groups: Mapping[str, RateLimit]

    def counter_of(self, group: str) -> str:
        """Return the group that counts requests of this group: itself, except with an older version of KSeF."""
        older = _OLDER_SHARING.get(group)
        return older if older is not None and group not in self.groups and older in self.groups else group

    def limit_of(self, group: str) -> RateLimit:
        """Return the limit of the group's counter. A group that KSeF does not name has its documented default."""
        if group == LimitGroup.STORAGE.value:
            return NO_LIMIT
        counter = self.counter_of(group)
        return self.groups.get(counter) or DEFAULT_RATE_LIMITS.get(counter, DEFAULT_RATE_LIMITS["other"])


def read_context_limits(answer: Answer) -> ContextLimits:
    """Read the limits of a batch session of a context."""
    document = read_json_object(answer)
    batch = document.get("batchSession")
    limits = batch if isinstance(batch, dict) else {}
    return ContextLimits(
        max_invoices=_count(limits.get("maxInvoices")),
        max_invoice_bytes=_megabytes(limits.get("maxInvoiceSizeInMB")),
        max_invoice_with_attachment_bytes=_megabytes(limits.get("maxInvoiceWithAttachmentSizeInMB")),
    )


def read_rate_limits(answer: Answer) -> RateLimits:
    """Read the request limits of a context."""
    document = read_json_object(answer)
    return RateLimits(
        MappingProxyType({name: _rate(name, value) for name, value in document.items() if isinstance(value, dict)})
    )


def _rate(group: str, value: dict[str, Any]) -> RateLimit:
    known = DEFAULT_RATE_LIMITS.get(group, DEFAULT_RATE_LIMITS["other"])
    return RateLimit(
        _most(value.get("perSecond"), known.per_second),
        _most(value.get("perMinute"), known.per_minute),
        _most(value.get("perHour"), known.per_hour),
    )


def _most(value: object, documented: int | None) -> int | None:
    """Read a limit, -1 for none. An unreadable value is not read as "no limit": it gives the documented one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return None if value < 0 else value
    return documented


def _count(value: object) -> int | None:
    """Read a count; None for no limit (-1) or an unreadable value."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _megabytes(value: object) -> int | None:
    count = _count(value)
    return None if count is None else count * BYTES_IN_MB
