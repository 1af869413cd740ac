"""Builds the `CheckContext` of a tenant: NIP, date, size limits, attachment permission.

Uploads, single posts and dry runs use the same one.
"""

from datetime import datetime
from typing import Final

from app.clock import warsaw_day
from app.forms.form import CheckContext
from app.ksef.limits import ContextLimits
from app.store.tenants.permissions import KnownPermissions
from app.store.tenants.tenants import Tenant

MAX_DOCUMENT_BYTES: Final = 3_000_000
"""Most bytes of an invoice with an attachment, unless KSeF states another limit for the tenant (ksef-docs, limity/limity.md)."""
MAX_PLAIN_DOCUMENT_BYTES: Final = 1_000_000
"""Most bytes of an invoice without an attachment."""
_MOST_BYTES: Final = 10_000_000
"""Above every limit of KSeF (KSeF API 2.9, POST /testdata/limits/context/session). A larger value in an answer is lowered to
this, since it would only cost memory."""


def check_context(
    tenant: Tenant,
    permissions: KnownPermissions,
    limits: ContextLimits | None,
    *,
    now: datetime,
    check_nip_checksums: bool,
) -> CheckContext:
    """Return the context of checks for this tenant now. Limits that KSeF has not stated have their documented values."""
    plain, with_attachment = document_limits(limits)
    return CheckContext(
        tenant_nip=tenant.nip,
        today=warsaw_day(now),
        check_nip_checksums=check_nip_checksums,
        attachments_allowed=permissions.attachments_at(now),
        max_bytes=plain,
        max_bytes_with_attachment=with_attachment,
    )


def document_limits(limits: ContextLimits | None) -> tuple[int, int]:
    """Return the most bytes of an invoice of this tenant, without and with an attachment (GET /limits/context)."""
    if limits is None:
        return MAX_PLAIN_DOCUMENT_BYTES, MAX_DOCUMENT_BYTES
    return (
        _bounded(limits.max_invoice_bytes, MAX_PLAIN_DOCUMENT_BYTES),
        _bounded(limits.max_invoice_with_attachment_bytes, MAX_DOCUMENT_BYTES),
    )


def _bounded(said: int | None, documented: int) -> int:
    return min(said, _MOST_BYTES) if said else documented
