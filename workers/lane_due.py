"""Computes when the oldest invoices of a lane are to be sealed; the sealing stage and the sweep use it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from app.domain.sealing import due_at
from app.package.limits import max_package_bytes
from app.store.sessions.sealing import Backlog
from workers.context import WorkerContext


async def due_of(context: WorkerContext, lane: Mapping[str, Any], waiting: Backlog, *, now: datetime) -> datetime:
    """Return when the oldest invoices of a lane are to be sealed: now, if they fill a session or a flush was requested."""
    settings = context.settings
    if waiting.oldest is None:
        return datetime.max.replace(tzinfo=UTC)
    flushed = lane["flush_requested_at"] is not None and waiting.oldest <= lane["flush_requested_at"]
    full = waiting.bytes >= max_package_bytes(settings.part_bytes, lane["compression"])
    if flushed or full or waiting.invoices >= await max_invoices_of(context, lane["tenant_id"]):
        return now
    return due_at(
        waiting.oldest,
        linger=timedelta(seconds=settings.linger_seconds),
        oldest_of_today=None if lane["offline_mode"] else waiting.oldest_of_today,
        margin=timedelta(seconds=settings.midnight_margin_seconds),
        now=now,
    )


async def max_invoices_of(context: WorkerContext, tenant_id: int) -> int:
    """Return the most invoices that a session of a tenant may have: the setting, or what KSeF's answers lowered it to."""
    most = context.settings.session_max_invoices
    return min(most, await context.quota.session_max_invoices(tenant_id) or most)
