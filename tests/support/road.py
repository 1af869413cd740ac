"""Short ways for tests of the stages: a tenant, invoices, an upload, and the stages run one after the other."""

import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from uuid import UUID

from app.clock import utc_now, warsaw_day
from app.domain.ids import time_ordered_id
from app.ksef.login.certificates import self_signed_seal
from app.reading.kinds import BodyKind
from app.store.sessions.session import Session
from app.store.store import Store
from app.store.tenants.tenants import Tenant
from app.store.uploads.uploads import NewUpload, Upload
from invoicegen.invoices import GeneratedInvoice, generate_invoices, write_zip
from tests.support.waiting import poll
from workers import sealing
from workers.context import RetryLater, WorkerContext
from workers.intake import uploads as intake
from workers.sessions import packing
from workers.sessions.advance import advance_session

NIP = "5265877635"


@cache
def _seal(nip: str) -> dict[str, str]:
    """Making a key takes longer than most tests: one for each NIP will do."""
    certificate, key = self_signed_seal(nip, "Spółka testowa", now=utc_now())
    return {"certificate": certificate.decode(), "key": key.decode()}


async def add_tenant(store: Store, *, nip: str = NIP, compression: str = "zip") -> Tenant:
    """Add a tenant that logs in with a seal of its own."""
    return await store.tenants.add(
        nip=nip,
        name="Spółka testowa",
        credential_kind="self_signed",
        credential=_seal(nip),
        compression=compression,
        now=utc_now(),
    )


def invoices(count: int, *, nip: str = NIP, seed: int = 1, start: int = 0) -> list[GeneratedInvoice]:
    """Make valid invoices of today, without attachments, which a seller must first be allowed to send."""
    return list(
        generate_invoices(
            count, seller_nip=nip, issue_date=warsaw_day(utc_now()), seed=seed, start=start, attachments=False
        )
    )


def zip_of(documents: Iterable[GeneratedInvoice]) -> bytes:
    """Put invoices into a ZIP."""
    buffer = io.BytesIO()
    write_zip(buffer, documents)
    return buffer.getvalue()


async def add_upload(
    store: Store,
    tenant: Tenant,
    body: bytes,
    *,
    kind: BodyKind = BodyKind.ZIP,
    boundary: str | None = None,
    atomic: bool = False,
    flush: bool = False,
    idempotency_key: str | None = None,
    now: datetime | None = None,
) -> Upload:
    """Acknowledge a body as the API does."""
    moment = now or utc_now()
    upload_id = time_ordered_id(int(moment.timestamp() * 1000), os.urandom(10))
    blob_key = f"uploads/{upload_id.hex}"
    await store.blobs.put(blob_key, body)
    upload, _ = await store.uploads.add(
        NewUpload(
            id=upload_id,
            tenant_id=tenant.id,
            kind=kind.value,
            boundary=boundary,
            blob_key=blob_key,
            size=len(body),
            sha256=hashlib.sha256(body).digest(),
            reference=None,
            idempotency_key=idempotency_key,
            offline_mode=False,
            flush=flush,
            atomic=atomic,
        ),
        now=moment,
    )
    return upload


async def read(context: WorkerContext, upload: Upload) -> Upload:
    """Read an upload to its end and give it again."""
    await intake.read_upload(context, upload.id)
    return await context.store.uploads.get(upload.tenant_id, upload.id)


async def seal_and_pack(context: WorkerContext, tenant: Tenant) -> list[Session]:
    """Seal what is due and pack it; gives the tenant's sessions, oldest first."""
    for lane in await context.store.chunks.queued_by_lane():
        if not lane["queued"]:
            continue
        await sealing.seal_lane(context, lane["lane_id"])
    sessions = await context.store.sessions.page(tenant.id, before=None, state=None, limit=100)
    for session in sessions:
        await packing.pack_session(context, session.id)
    return [await context.store.sessions.get(tenant.id, session.id) for session in reversed(sessions)]


async def carry(context: WorkerContext, sessions: Sequence[Session]) -> None:
    """Bring sessions to KSeF and back, repeating what asks to be repeated, as the jobs would."""
    for session in sessions:
        await carry_one(context, session.id)


async def carry_one(context: WorkerContext, session_id: UUID) -> None:
    """Bring one session to its last state."""

    async def step() -> bool:
        try:
            await advance_session(context, session_id)
        except RetryLater:
            return False
        return (await context.store.sessions.get_for_job(session_id)).state.is_final

    await poll(step)
