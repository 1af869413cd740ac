"""Reading bodies that came in pieces: the same verdicts as in one, their hash, and repeats."""

import gzip
import hashlib
import os
from datetime import timedelta
from uuid import uuid4

import pytest

from app.clock import utc_now
from app.domain.ids import time_ordered_id
from app.domain.states import InvoiceState, UploadState
from app.reading.kinds import BodyKind
from app.store.blob_files import Segment
from app.store.blobs import BlobStore
from app.store.store import Store
from app.store.tenants.tenants import Tenant
from app.store.uploads.invoices import InvoiceFilter
from app.store.uploads.resumable import NewUnfinished, Unfinished
from app.store.uploads.uploads import Upload
from tests.support.road import add_tenant, add_upload, invoices, read, zip_of
from workers import maintenance
from workers.context import WorkerContext
from workers.intake import body_hash as whole
from workers.intake import uploads as intake


async def add_in_pieces(
    store: Store, tenant: Tenant, body: bytes, *, piece: int, kind: BodyKind = BodyKind.ZIP, sha256: bytes | None = None
) -> Upload:
    """Bring a body in as segments of some bytes each."""
    now = utc_now()
    upload_id = time_ordered_id(int(now.timestamp() * 1000), os.urandom(10))
    new = NewUnfinished(
        id=upload_id, tenant_id=tenant.id, kind=kind.value, boundary=None, size=len(body), declared_sha256=sha256,
        metadata=None, filename=None, reference=None, idempotency_key=None, offline_mode=False, flush=False, atomic=False,
    )  # fmt: skip
    found, _ = await store.resumable.create(new, now=now)
    assert isinstance(found, Unfinished)
    writer = uuid4()
    current: Unfinished | Upload = await store.resumable.begin(tenant.id, upload_id, offset=0, size=None, writer=writer)
    for start in range(0, len(body), piece):
        assert isinstance(current, Unfinished)
        key = f"uploads/{uuid4().hex}"
        await store.blobs.put(key, body[start : start + piece])
        segment = Segment(start, len(body[start : start + piece]), key)
        current = await store.resumable.add(current, segment, writer=writer, now=now)
    assert isinstance(current, Upload)
    return current


async def _names_and_states(store: Store, upload: Upload) -> list[tuple[str, str]]:
    rows = await store.invoices.page(upload.tenant_id, InvoiceFilter(upload_id=upload.id), limit=1000)
    return [(row["name"], row["state"]) for _, row in rows]


@pytest.mark.parametrize("kind", [BodyKind.ZIP, BodyKind.TARGZ])
async def test_a_body_in_pieces_gets_the_verdicts_of_one_in_one_piece(context: WorkerContext, kind: BodyKind) -> None:
    from tests.workers.intake.test_uploads import _tar

    documents = invoices(30)
    body = zip_of(documents) if kind is BodyKind.ZIP else gzip.compress(_tar(documents))
    store, tenant = context.store, await add_tenant(context.store)
    digest = hashlib.sha256(body).digest()
    upload = await add_in_pieces(store, tenant, body, piece=7_001, kind=kind, sha256=digest)
    assert (upload.state, upload.sha256, upload.segmented) == (UploadState.RECEIVED, None, True)
    done = await read(context, upload)
    assert (done.state, done.sha256, done.repeat_of) == (UploadState.IN_PROGRESS, digest, None)
    assert await _names_and_states(store, done) == [(one.name, "queued") for one in documents]
    # Its segments are forgotten, and a job removes their blobs.
    assert await store.resumable.segments_for_job(upload.id) == []
    jobs = await store.database.fetch_all(
        "SELECT args FROM procrastinate_jobs WHERE task_name = 'maintenance.drop_blobs'"
    )
    keys = [key for job in jobs for key in job["args"]["keys"]]
    assert set(keys) == {key async for key in store.blobs.list_keys("uploads")}
    await maintenance.drop_blobs(context, keys)
    await intake.read_upload(context, upload.id)
    assert (await store.uploads.get(tenant.id, upload.id)).counts[InvoiceState.QUEUED] == 30


async def test_of_a_body_with_another_hash_than_declared_nothing_is_taken(context: WorkerContext) -> None:
    tenant = await add_tenant(context.store)
    body = zip_of(invoices(3))
    upload = await add_in_pieces(context.store, tenant, body, piece=5_000, sha256=bytes(32))
    done = await read(context, upload)
    assert done.state is UploadState.FAILED
    assert done.sha256 == hashlib.sha256(body).digest()
    assert [error["reason"] for error in done.errors] == ["digest-mismatch"]
    assert await _names_and_states(context.store, done) == []
    assert done.completed_at is not None


async def test_a_worker_that_died_after_hashing_does_not_hash_again(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await add_tenant(context.store)
    body = zip_of(invoices(3))
    upload = await add_in_pieces(context.store, tenant, body, piece=5_000)
    await context.store.uploads.start_reading_for_job(upload.id)
    await context.store.uploads.set_hash(upload, hashlib.sha256(body).digest(), now=utc_now())

    async def never(_: object) -> bytes:
        raise AssertionError("the body was hashed twice")

    monkeypatch.setattr(whole, "_hash", never)
    assert (await read(context, upload)).counts[InvoiceState.QUEUED] == 3


async def test_the_same_body_again_is_a_repeat_however_it_came(context: WorkerContext) -> None:
    store, tenant = context.store, await add_tenant(context.store)
    other = await add_tenant(store, nip="5213814999")
    body = zip_of(invoices(3))
    first = await add_upload(store, tenant, body)
    again = await add_upload(store, tenant, body)
    pieces = await add_in_pieces(store, tenant, body, piece=5_000)
    assert (first.repeat_of, again.repeat_of, pieces.repeat_of) == (None, first.id, None)
    assert (await read(context, pieces)).repeat_of == first.id
    assert (await add_upload(store, tenant, body[:-1])).repeat_of is None
    assert (await add_upload(store, tenant, body, kind=BodyKind.TAR)).repeat_of is None
    assert (await add_upload(store, other, body)).repeat_of is None
    later = await add_upload(store, tenant, body, now=utc_now() + timedelta(days=7, minutes=1))
    assert later.repeat_of is None
    # Whichever of them is read first: each invoice lives once, the others name it.
    await read(context, again)
    await read(context, first)
    counts = [(await store.uploads.get(tenant.id, one.id)).counts for one in (pieces, again, first)]
    assert [one[InvoiceState.QUEUED] for one in counts] == [3, 0, 0]
    assert [one[InvoiceState.DUPLICATE] for one in counts] == [0, 3, 3]


async def test_segments_are_read_as_one_file_whatever_is_asked(context: WorkerContext) -> None:
    blobs: BlobStore = context.store.blobs
    body = os.urandom(1_000)
    parts, start = [], 0
    for size in (1, 399, 100, 500):
        key = f"uploads/{uuid4().hex}"
        await blobs.put(key, body[start : start + size])
        parts.append(Segment(start, size, key))
        start += size
    file = blobs.open_joined_blocking(parts)
    for offset in (0, 1, 2, 399, 400, 401, 499, 500, 998, 999, 0, 1_000, 5_000):
        file.seek(offset)
        found = b""
        while piece := file.read(64):
            found += piece
        assert found == body[offset:]
        assert file.tell() == max(offset, len(body))
    file.close()
