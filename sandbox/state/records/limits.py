"""The limits of a context."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Limits of one session's content; megabytes are 1,000,000 bytes."""

    max_invoices: int
    max_invoice_mb: int = 1
    max_invoice_with_attachment_mb: int = 3


@dataclass(frozen=True, slots=True)
class ContextLimits:
    """The limits that `/testdata/limits/context/session` sets for a context."""

    online: SessionLimits
    batch: SessionLimits
    collective: int
