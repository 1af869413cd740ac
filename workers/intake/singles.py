"""Intake of single posts: checks together the invoices of several groups, each of which was committed at once."""

import hashlib
from typing import Final
from uuid import UUID

from app.checking.check_chunk import ChunkTask
from app.observability.logs import get_logger
from app.reading.entry import Encoding, RawEntry
from app.store.disk import Reserve
from app.store.tenants.tenants import Tenant
from app.store.uploads.singles import SinglesChunk
from workers.context import WorkerContext
from workers.intake.chunks import CHUNK_BYTES, CHUNK_ENTRIES, check_context, record_findings

log = get_logger(__name__)

_GROUPS: Final = 400
"""Groups read for one batch at most; at a low rate of posts a group has a single invoice."""

_BATCHES: Final = 8
"""Batches of one job. The rest of a tenant's posts gets another job, behind those of other tenants."""


async def check_singles(context: WorkerContext, tenant_id: int) -> None:
    """Check the unchecked single posts of a tenant, oldest first; another job checks the rest. Safe to run again at any time."""
    tenant = await context.store.tenants.get(tenant_id)
    for _ in range(_BATCHES):
        async with context.chunk_slots.slot(tenant_id):
            if not await _check_batch(context, tenant):
                return
    async with context.store.database.connection() as connection:
        await context.store.singles.check_singles_soon(connection, tenant_id)


async def _check_batch(context: WorkerContext, tenant: Tenant) -> bool:
    await context.store.disk.require(Reserve.READING)
    tenant_id = tenant.id
    chunks = await context.store.singles.unchecked_singles(tenant_id, limit=_GROUPS)
    if not chunks:
        return False
    batch: list[SinglesChunk] = []
    entries: list[RawEntry] = []
    ids: list[UUID] = []
    uploads: list[UUID] = []
    forms: list[str] = []
    size = 0
    for chunk in chunks:
        rows = await context.store.singles.singles_of_for_job(chunk)
        if batch and (len(entries) + len(rows) > CHUNK_ENTRIES or size > CHUNK_BYTES):
            break
        documents = await context.store.blobs.read(chunk.blob_key)
        batch.append(chunk)
        for row in rows:
            document = documents[row["blob_offset"] : row["blob_offset"] + row["blob_bytes"]]
            entries.append(RawEntry(len(entries), row["name"], Encoding.PLAIN, document, len(document), None))
            ids.append(row["id"])
            uploads.append(chunk.upload_id)
            forms.append(chunk.form_code)
            size += len(document)
    outcome = await context.pool.check(
        ChunkTask(
            tenant_id=tenant_id,
            upload_ids=tuple(uploads),
            chunk_id=batch[0].id,
            entries=tuple(entries),
            context=await check_context(context, tenant),
            now=context.clock(),
            ids=tuple(ids),
            form_codes=tuple(forms),
        )
    )
    [checked] = outcome.forms
    # The name contains the hash of the content, so a repeat after a crash writes the same blob.
    blob_key = f"chunks/singles/{batch[0].id.hex}-{hashlib.sha256(checked.blob).hexdigest()[:16]}"
    await context.store.blobs.put(blob_key, checked.blob)
    await context.store.singles.commit_singles(
        batch,
        tenant_id=tenant_id,
        rows=checked.rows,
        valid=checked.valid,
        blob_key=blob_key,
        now=context.clock(),
    )
    await record_findings(context, tenant_id, outcome)
    await context.store.blobs.delete([chunk.blob_key for chunk in batch])
    for lane_id in sorted({chunk.lane_id for chunk in batch}):
        await context.seal_soon(lane_id)
    return True
