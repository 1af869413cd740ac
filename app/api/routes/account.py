"""`/v1/me`, `/v1/flush` and `/v1/release`: a tenant's limits and quota, and its queued and late invoices."""

from typing import Any

from fastapi import APIRouter

from app.api.dependencies import CurrentSettings, CurrentState, CurrentStore, CurrentTenant, Now
from app.api.http.problems import declare
from app.api.responses.quota import quota_shape
from app.api.responses.schemas import Account, FlushResult, ReleaseResult
from app.domain.timestamps import iso_utc
from app.errors import Unauthorized
from app.store.ksef.quota import counting_time
from app.store.tenants.check_context import document_limits

router = APIRouter(prefix="/v1", tags=["account"])


@router.get("/me", response_model=Account, responses=declare(Unauthorized))
async def get_account(
    state: CurrentState, store: CurrentStore, settings: CurrentSettings, tenant: CurrentTenant
) -> dict[str, Any]:
    """Show the tenant of the API key, the limits of this installation, and the rest of KSeF's limits."""
    known = await store.limits.of(tenant.id)
    left = await store.quota.remaining(tenant.id, now=counting_time(state.clock))
    most = settings.session_max_invoices
    return {
        "tenant": {
            "id": tenant.public_id,
            "nip": tenant.nip,
            "name": tenant.name,
            "credential": tenant.credential_kind,
            "compression": tenant.compression,
            "late_invoices": tenant.late_invoices,
            "created_at": iso_utc(tenant.created_at),
        },
        "environment": settings.ksef_env.value,
        "ksef_url": settings.ksef_base_url,
        "limits": {
            "max_upload_bytes": settings.max_upload_bytes,
            "max_invoice_bytes": max(document_limits(known.context)),
            "session_max_invoices": min(most, known.session_max_invoices or most),
            "part_bytes": settings.part_bytes,
            "linger_seconds": settings.linger_seconds,
            "midnight_margin_seconds": settings.midnight_margin_seconds,
            "retention_days": settings.retention_days,
        },
        "held_invoices": await store.late_invoices.count_awaiting_decision(tenant.id),
        "ksef": (await state.store.outages.read(settings.ksef_base_url)).as_json(state.clock()),
        "attachments": (await store.permissions.of(tenant.id)).as_json(state.clock()),
        "accepts_uploads": await state.admission.accepts(tenant.id),
        "waiting": await state.admission.usage_of(tenant.id),
        "quota": quota_shape(known.rates, left),
    }


@router.post("/flush", status_code=202, response_model=FlushResult, responses=declare(Unauthorized))
async def flush_invoices(store: CurrentStore, tenant: CurrentTenant, now: Now) -> dict[str, Any]:
    """Seal the queued invoices now. Invoices that arrive later wait for others as usual."""
    lanes = await store.tenants.request_flush(tenant.id, now=now)
    return {"lanes": len(lanes), "queued": await store.chunks.seal_soon(tenant.id)}


@router.post("/release", status_code=202, response_model=ReleaseResult, responses=declare(Unauthorized))
async def release_all_invoices(store: CurrentStore, tenant: CurrentTenant) -> dict[str, Any]:
    """Send the invoices that wait for a decision, as offline invoices, since they missed their day.

    One call releases at most some 50,000 invoices. Repeat it while `held_invoices` is not 0.
    """
    released = await store.late_invoices.release_all(tenant.id)
    return {"released": released, "held_invoices": await store.late_invoices.count_awaiting_decision(tenant.id)}
