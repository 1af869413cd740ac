"""Limits of a chunk, and the check context and recorded findings of the checked ones, for uploads and single posts alike."""

from typing import Final

from app.checking.check_chunk import ChunkOutcome
from app.forms.form import CheckContext
from app.observability import metrics
from app.package.limits import MAX_PACKAGE_BYTES
from app.store.tenants import check_context as tenant_context
from app.store.tenants.tenants import Tenant
from workers.context import WorkerContext

CHUNK_ENTRIES: Final = 1_000
"""Large enough that a commit costs little per invoice, small enough that a crash repeats little: a tenth of a second of a pool
process, which is also how long another tenant waits for its turn."""
CHUNK_BYTES: Final = 4_000_000
"""Payload bytes of a chunk at most, unless a single entry is larger."""

assert MAX_PACKAGE_BYTES > CHUNK_BYTES  # noqa: S101 - one chunk always fits into a session


async def check_context(context: WorkerContext, tenant: Tenant) -> CheckContext:
    """Return the context that a tenant's invoices are checked with, from the permissions and limits that KSeF reported last."""
    return tenant_context.check_context(
        tenant,
        await context.store.permissions.of(tenant.id),
        (await context.quota.limits_of(tenant.id)).context,
        now=context.clock(),
        check_nip_checksums=context.check_nip_checksums,
    )


async def record_findings(context: WorkerContext, tenant_id: int, outcome: ChunkOutcome) -> None:
    """Count the findings of a checked chunk in the metrics.

    After a finding `attachment-not-allowed`, KSeF is asked again whether the tenant may send attachments.
    """
    if outcome.findings["attachment-not-allowed"]:
        await context.store.permissions.record_refused_attachment(tenant_id, now=context.clock())
    metrics.STAGE_SECONDS.labels(stage="check").observe(outcome.seconds)
    for rule, count in outcome.findings.items():
        metrics.VALIDATION_FINDINGS.labels(rule=rule).inc(count)
