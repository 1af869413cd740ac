"""From the queue to a verdict: sealing, packing, dispatch and tracking against the sandbox."""

import hashlib
import io
import tarfile
import zipfile
from datetime import timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from app.clock import utc_now
from app.domain.ids import chunk_id, time_ordered_id
from app.domain.states import InvoiceState, SessionState, UploadState
from app.errors import NotFound
from app.store.sessions.session import Session
from app.store.tenants.tenants import Tenant
from app.store.uploads.invoices import InvoiceFilter
from app.store.uploads.singles import NewSingle
from app.store.uploads.uploads import Upload
from invoicegen.invoices import GeneratedInvoice
from tests.support.road import add_tenant, add_upload, carry, invoices, read, seal_and_pack, zip_of
from tests.support.sandbox_process import SandboxHandle
from workers import maintenance, sealing
from workers.context import RetryLater, WorkerContext
from workers.duplicates.originals import find_originals
from workers.intake.singles import check_singles
from workers.sessions import dispatch, packing
from workers.sessions.advance import advance_session


async def _queued(context: WorkerContext, documents: list[GeneratedInvoice], **tenant: str) -> tuple[Tenant, Upload]:
    owner = await add_tenant(context.store, **tenant)
    return owner, await read(context, await add_upload(context.store, owner, zip_of(documents)))


def _with(context: WorkerContext, **settings: Any) -> WorkerContext:
    fields = {name: getattr(context, name) for name in WorkerContext.__dataclass_fields__}
    return WorkerContext(**(fields | {"settings": context.settings.model_copy(update=settings)}))


async def _package(context: WorkerContext, session: Session) -> bytes:
    key, iv = await context.store.packages.encryption_key(session.id), session.iv
    assert iv is not None
    plain = b""
    for part in await context.store.packages.parts(session.id):
        encrypted = await context.store.blobs.read(part.blob_key)
        assert (len(encrypted), hashlib.sha256(encrypted).digest()) == (part.size, part.sha256)
        decryptor, unpadder = Cipher(AES256(key), CBC(iv)).decryptor(), PKCS7(128).unpadder()
        plain += unpadder.update(decryptor.update(encrypted) + decryptor.finalize()) + unpadder.finalize()
    assert hashlib.sha256(plain).digest() == session.package_sha256
    return plain


def _ledger(sandbox: SandboxHandle) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{sandbox.control_url}/ledger").raise_for_status().json()
    return answer


def _fault(sandbox: SandboxHandle, **rule: Any) -> None:
    httpx.post(f"{sandbox.control_url}/faults", json=rule).raise_for_status()


async def test_a_lane_is_sealed_at_the_most_invoices_and_the_rest_waits(context: WorkerContext) -> None:
    patient = _with(context, session_max_invoices=20, linger_seconds=3600)
    tenant, upload = await _queued(patient, invoices(50))
    sessions = await seal_and_pack(patient, tenant)
    assert [session.invoices for session in sessions] == [20, 20]
    counts = (await context.store.uploads.get(tenant.id, upload.id)).counts
    assert (counts[InvoiceState.PACKED], counts[InvoiceState.QUEUED]) == (40, 10)


async def test_sessions_take_the_oldest_invoices_first(context: WorkerContext) -> None:
    patient = _with(context, session_max_invoices=20, linger_seconds=3600)
    documents = invoices(40)
    tenant, _ = await _queued(patient, documents)
    first, second = await seal_and_pack(patient, tenant)
    names = [
        row["name"]
        for session in (first, second)
        for _, row in await context.store.invoices.page(tenant.id, InvoiceFilter(session_id=session.id))
    ]
    assert names == [one.name for one in documents]


async def test_a_lane_waits_for_more_until_its_oldest_invoice_is_old_enough(context: WorkerContext) -> None:
    tenant, _ = await _queued(context, invoices(3))
    lane = (await context.store.chunks.queued_by_lane())[0]["lane_id"]
    patient = _with(context, linger_seconds=60)
    await sealing.seal_lane(patient, lane)
    assert await context.store.sessions.page(tenant.id, before=None, state=None, limit=10) == []

    fields = {name: getattr(patient, name) for name in WorkerContext.__dataclass_fields__}
    later = WorkerContext(**(fields | {"clock": lambda: utc_now() + timedelta(seconds=61)}))
    await sealing.seal_lane(later, lane)
    assert len(await context.store.sessions.page(tenant.id, before=None, state=None, limit=10)) == 1


async def test_a_flush_seals_what_is_queued_at_once(context: WorkerContext) -> None:
    patient = _with(context, linger_seconds=3600)
    tenant, _ = await _queued(patient, invoices(3))
    lane = (await context.store.chunks.queued_by_lane())[0]["lane_id"]
    assert await context.store.tenants.request_flush(tenant.id, now=utc_now()) == [lane]
    await sealing.seal_lane(patient, lane)
    assert [s.invoices for s in await context.store.sessions.page(tenant.id, before=None, state=None, limit=10)] == [3]


async def test_a_session_is_sealed_below_the_bytes_that_its_parts_can_hold(context: WorkerContext) -> None:
    # Fifty parts of a thousand bytes hold some thirty of these invoices.
    small = _with(context, part_bytes=1_000)
    documents = invoices(100)
    tenant, _ = await _queued(small, documents)
    sessions = await seal_and_pack(small, tenant)
    assert len(sessions) > 1
    assert sum(session.invoices for session in sessions) == 100
    for session in sessions:
        assert session.state is SessionState.PACKED
        assert len(await context.store.packages.parts(session.id)) <= 50
        assert session.package_bytes is not None
        assert session.package_bytes <= 50_000


async def test_a_disabled_tenant_opens_no_more_sessions(context: WorkerContext) -> None:
    tenant, _ = await _queued(context, invoices(2))
    await context.store.tenants.disable(tenant.id, now=utc_now())
    assert await seal_and_pack(context, tenant) == []


@pytest.mark.parametrize("compression", ["zip", "targz"])
async def test_a_package_holds_exactly_the_documents_that_came_in(context: WorkerContext, compression: str) -> None:
    documents = invoices(25)
    small = _with(context, part_bytes=7_000)
    tenant = await add_tenant(context.store, compression=compression)
    await read(small, await add_upload(context.store, tenant, zip_of(documents)))
    (session,) = await seal_and_pack(small, tenant)
    package = await _package(context, session)
    if compression == "zip":
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
    else:
        with tarfile.open(fileobj=io.BytesIO(package)) as tar:
            contents = {m.name: file.read() for m in tar.getmembers() if (file := tar.extractfile(m)) is not None}
    assert sorted(contents.values()) == sorted(one.xml for one in documents)
    ids = [key for key, _ in await context.store.invoices.page(tenant.id, InvoiceFilter(session_id=session.id))]
    assert list(contents) == [f"inv_{key.hex}.xml" for key in ids]


async def test_packing_again_after_a_crash_gives_the_same_package_under_another_key(context: WorkerContext) -> None:
    tenant, _ = await _queued(context, invoices(5))
    (session,) = await seal_and_pack(context, tenant)
    first_key = await context.store.packages.encryption_key(session.id)
    # As if the process had died after the parts were written and before the commit.
    await context.store.database.execute("UPDATE sessions SET state = 'sealed'")
    await packing.pack_session(context, session.id)
    again = await context.store.sessions.get(tenant.id, session.id)
    assert again.package_sha256 == session.package_sha256
    assert await context.store.packages.encryption_key(session.id) != first_key
    await _package(context, again)


@pytest.mark.parametrize("compression", ["zip", "targz"])
async def test_every_invoice_comes_back_with_its_number(
    road: WorkerContext, sandbox: SandboxHandle, compression: str
) -> None:
    several_parts = _with(road, part_bytes=20_000)
    tenant = await add_tenant(road.store, compression=compression)
    upload = await read(several_parts, await add_upload(road.store, tenant, zip_of(invoices(60))))
    (session,) = await seal_and_pack(several_parts, tenant)
    await carry(several_parts, [session])
    done = await road.store.sessions.get(tenant.id, session.id)
    assert (done.state, done.accepted, done.rejected) == (SessionState.COMPLETED, 60, 0)
    final = await road.store.uploads.get(tenant.id, upload.id)
    assert (final.state, final.counts[InvoiceState.ACCEPTED]) == (UploadState.COMPLETED, 60)
    rows = [row for _, row in await road.store.invoices.page(tenant.id, InvoiceFilter(upload_id=upload.id))]
    numbers = {row["ksef_number"] for row in rows}
    assert len(numbers) == 60
    assert all(row["invoicing_mode"] == "Online" for row in rows)
    ledger = _ledger(sandbox)
    assert (ledger["accepted"], ledger["distinct"], ledger["duplicate_attempts"]) == (60, 60, 0)
    (page,) = await road.store.sessions.upo_pages(session.tenant_id, session.id)
    stored = await road.store.blobs.read(page["blob_key"])
    assert hashlib.sha256(stored).digest() == bytes(page["sha256"])
    assert all(number.encode() in stored for number in numbers)
    with pytest.raises(NotFound):
        await road.store.packages.encryption_key(session.id)


async def test_what_ksef_refuses_is_rejected_with_its_words_and_frees_the_number(
    road: WorkerContext, sandbox: SandboxHandle
) -> None:
    tenant = await add_tenant(road.store)
    documents = invoices(4)
    # The same number was issued before, with another content.
    taken = GeneratedInvoice(
        documents[0].number, "a.xml", documents[0].xml.replace(b"</Faktura>", b" </Faktura>"), "VAT"
    )
    upload = await read(road, await add_upload(road.store, tenant, zip_of([taken])))
    await carry(road, await seal_and_pack(road, tenant))
    # Forget it here, so that only KSeF knows.
    await road.store.database.execute("DELETE FROM claims")
    second = await read(road, await add_upload(road.store, tenant, zip_of(documents)))
    sessions = await seal_and_pack(road, tenant)
    await carry(road, sessions)
    counts = (await road.store.uploads.get(tenant.id, second.id)).counts
    assert (counts[InvoiceState.ACCEPTED], counts[InvoiceState.SENT]) == (3, 1)
    await find_originals(road, tenant.id)
    ((_, refused),) = await road.store.invoices.page(tenant.id, InvoiceFilter(states=["rejected"]))
    (_, original), *_ = await road.store.invoices.page(tenant.id, InvoiceFilter(upload_id=upload.id))
    assert [finding["rule"] for finding in refused["findings"]] == ["duplicate-other"]
    assert refused["findings"][0]["ksef_number"] == original["ksef_number"]
    row = await road.store.database.fetch_one("SELECT count(*) AS n FROM claims")
    assert row is not None
    assert row["n"] == 3


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"method": "POST", "path": "/sessions/batch$", "status": 500, "times": 2}, id="open answers 500"),
        pytest.param({"method": "POST", "path": "/sessions/batch$", "cut": "after", "times": 1}, id="open is cut after"),
        pytest.param({"method": "PUT", "path": "/storage/", "status": 200, "body": "<html>_Incapsula_Resource</html>", "content_type": "text/html", "times": 1}, id="part gets a web page"),
        pytest.param({"method": "PUT", "path": "/storage/", "cut": "after", "times": 2}, id="part is cut after"),
        pytest.param({"method": "POST", "path": "/close$", "cut": "after", "times": 1}, id="close is cut after"),
        pytest.param({"method": "POST", "path": "/close$", "cut": "before", "times": 1}, id="close is cut before"),
        pytest.param({"method": "POST", "path": "/close$", "answer_status": 502, "times": 1}, id="close works and says 502"),
        pytest.param({"method": "POST", "path": "/close$", "status": 500, "times": 2}, id="close answers 500"),
        pytest.param({"method": "GET", "path": "/sessions/[^/]+$", "status": 500, "times": 2}, id="status answers 500"),
        pytest.param({"method": "GET", "path": "/upo", "status": 200, "body": "<html>_Incapsula_Resource</html>", "content_type": "text/html", "times": 1}, id="receipt is a web page"),
    ],
)  # fmt: skip
async def test_trouble_on_the_way_loses_nothing_and_sends_nothing_twice(
    road: WorkerContext, sandbox: SandboxHandle, fault: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_PART_PAUSE_SECONDS", 0.0)
    tenant, upload = await _queued(road, invoices(8))
    sessions = await seal_and_pack(road, tenant)
    _fault(sandbox, **fault)
    await carry(road, sessions)
    assert (await road.store.uploads.get(tenant.id, upload.id)).counts[InvoiceState.ACCEPTED] == 8
    ledger = _ledger(sandbox)
    assert (ledger["accepted"], ledger["distinct"], ledger["duplicate_attempts"]) == (8, 8, 0)


async def test_a_package_that_ksef_cannot_read_travels_again_and_then_gives_up_with_a_reason(
    road: WorkerContext, sandbox: SandboxHandle
) -> None:
    tenant, upload = await _queued(road, invoices(3))
    seen = 0
    while (await road.store.uploads.get(tenant.id, upload.id)).state is not UploadState.COMPLETED:
        sessions = [s for s in await seal_and_pack(road, tenant) if not s.state.is_final]
        seen += len(sessions)
        # Damaged on our disk after the hashes were taken: storage refuses nothing, KSeF finds the hash wrong.
        for session in sessions:
            await road.store.database.execute(
                "UPDATE sessions SET iv = %(iv)s WHERE id = %(id)s", {"iv": bytes(16), "id": session.id}
            )
        await carry(road, sessions)
    assert seen == 2, "one new session, made anew"
    final = await road.store.uploads.get(tenant.id, upload.id)
    assert final.counts[InvoiceState.FAILED] == 3
    rows = [row for _, row in await road.store.invoices.page(tenant.id, InvoiceFilter(upload_id=upload.id))]
    assert all(row["findings"][-1]["rule"] == "gave-up" for row in rows)
    assert _ledger(sandbox)["accepted"] == 0
    again = await read(road, await add_upload(road.store, tenant, zip_of(invoices(3))))
    assert again.counts[InvoiceState.QUEUED] == 3, "the numbers were released"


async def test_two_workers_with_the_same_session_do_not_both_send_it(
    road: WorkerContext, sandbox: SandboxHandle
) -> None:
    tenant, _ = await _queued(road, invoices(2))
    (session,) = await seal_and_pack(road, tenant)
    async with road.owning(session.id) as owned:
        assert owned is not None
        with pytest.raises(RetryLater):
            await advance_session(road, session.id)
    await carry(road, [session])
    assert len(_ledger(sandbox)["sessions"]) == 1


async def test_the_sweep_sends_a_job_to_everything_that_waits_and_has_none(context: WorkerContext) -> None:
    tenant, _ = await _queued(context, invoices(2))
    unread = await add_upload(context.store, tenant, zip_of(invoices(1, start=50)))
    (session,) = await seal_and_pack(context, tenant)
    await read(context, await add_upload(context.store, tenant, zip_of(invoices(1, start=60))))
    await context.store.database.execute("DELETE FROM procrastinate_jobs")
    for _ in range(2):
        await maintenance.sweep(context)
    rows = await context.store.database.fetch_all(
        "SELECT task_name, args FROM procrastinate_jobs WHERE status = 'todo' ORDER BY task_name"
    )
    assert {(row["task_name"], str(next(iter(row["args"].values())))) for row in rows} >= {
        ("dispatch.dispatch_session", str(session.id)),
        ("intake.read_upload", str(unread.id)),
    }
    assert [row["task_name"] for row in rows].count("sealing.seal_lane") == 1
    assert [row["task_name"] for row in rows].count("dispatch.dispatch_session") == 1


async def test_the_sweep_defers_a_sealing_job_only_for_a_lane_that_is_due_or_has_none(context: WorkerContext) -> None:
    patient = _with(context, linger_seconds=60)
    tenant, _ = await _queued(patient, invoices(3))
    (lane,) = await context.store.chunks.queued_by_lane()

    async def jobs() -> list[bool]:
        rows = await context.store.database.fetch_all(
            "SELECT scheduled_at IS NULL AS now FROM procrastinate_jobs WHERE task_name = 'sealing.seal_lane' ORDER BY id"
        )
        return [row["now"] for row in rows]

    await context.store.database.execute("DELETE FROM procrastinate_jobs")
    await maintenance.sweep(patient)
    assert await jobs() == [True], "a lane without a job gets one"
    await context.store.database.execute("DELETE FROM procrastinate_jobs")
    await sealing.seal_lane(patient, lane["lane_id"])
    assert await jobs() == [False], "which comes back when the lane is due"
    await maintenance.sweep(patient)
    assert await jobs() == [False], "and until then the sweep adds no other"
    await context.store.tenants.request_flush(tenant.id, now=utc_now())
    await maintenance.sweep(patient)
    assert await jobs() == [False, True], "unless it is due now"


async def test_bytes_go_at_the_end_of_their_retention_and_rows_stay(
    road: WorkerContext, sandbox: SandboxHandle
) -> None:
    tenant, upload = await _queued(road, invoices(3))
    await carry(road, await seal_and_pack(road, tenant))
    await maintenance.expire(road)
    assert [key async for key in road.store.blobs.list_keys("chunks")]
    fields = {name: getattr(road, name) for name in WorkerContext.__dataclass_fields__}
    later = WorkerContext(**(fields | {"clock": lambda: utc_now() + timedelta(days=91)}))
    await maintenance.expire(later)
    assert [key async for key in road.store.blobs.list_keys("chunks")] == []
    assert len([key async for key in road.store.blobs.list_keys("upo")]) == 1
    assert len(await road.store.invoices.page(tenant.id, InvoiceFilter(upload_id=upload.id))) == 3


async def test_single_posts_stay_readable_when_the_row_of_their_group_is_deleted(
    road: WorkerContext, sandbox: SandboxHandle
) -> None:
    store, tenant = road.store, await add_tenant(road.store)
    lane = await store.tenants.ensure_lane(tenant, form_code="FA (3)", offline_mode=False)
    (first, second), now_ms = invoices(2), int(utc_now().timestamp() * 1000)
    # Two groups, made durable together: they share a blob.
    await store.blobs.put("singles/both", first.xml + second.xml)
    for number, (document, offset) in enumerate(((first, 0), (second, len(first.xml)))):
        await store.singles.add_singles(
            tenant_id=tenant.id, lane_id=lane, upload_id=time_ordered_id(now_ms + number, bytes(10)),
            chunk_id=chunk_id(now_ms + number, bytes(10)), blob_key="singles/both",
            singles=[NewSingle(document.name, hashlib.sha256(document.xml).digest(), len(document.xml), offset)],
            offline_mode=False, group_sha256=bytes(32), now=utc_now(),
        )  # fmt: skip
    await check_singles(road, tenant.id)
    await carry(road, await seal_and_pack(road, tenant))
    listed = await store.invoices.page(tenant.id, InvoiceFilter())
    before = await store.invoices.state_counts()
    fields = {name: getattr(road, name) for name in WorkerContext.__dataclass_fields__}
    later = WorkerContext(**(fields | {"clock": lambda: utc_now() + timedelta(days=91)}))
    await maintenance.expire(later)
    assert await store.database.fetch_all("SELECT id FROM uploads") == []
    for prefix in ("singles", "chunks"):
        assert [key async for key in store.blobs.list_keys(prefix)] == []
    assert await store.invoices.page(tenant.id, InvoiceFilter()) == listed
    assert [row["state"] for _, row in listed] == ["accepted", "accepted"]
    for invoice_id, _ in listed:
        one = await store.invoices.get(tenant.id, invoice_id)
        assert one["received_at"] is not None
        assert await store.invoices.page(tenant.id, InvoiceFilter(upload_id=one["upload_id"]))
    assert await store.invoices.state_counts() == before


async def test_blobs_that_no_row_speaks_of_go_when_they_are_old(context: WorkerContext) -> None:
    tenant, upload = await _queued(context, invoices(2))
    await seal_and_pack(context, tenant)
    await add_upload(context.store, tenant, zip_of(invoices(1, start=9)))
    # The body of what was read waits for its removal; here no worker does it.
    await context.store.blobs.delete([f"uploads/{upload.id.hex}"])
    known = {key async for key in context.store.blobs.list_keys("")}
    for orphan in ("uploads/gone", "chunks/gone/x", "sessions/gone/part-01", "singles/gone"):
        await context.store.blobs.put(orphan, b"x")
    assert await maintenance.remove_orphans(context) == 0, "a young blob may be about to be committed"
    fields = {name: getattr(context, name) for name in WorkerContext.__dataclass_fields__}
    later = WorkerContext(**(fields | {"clock": lambda: utc_now() + timedelta(days=2)}))
    assert await maintenance.remove_orphans(later) == 4
    assert {key async for key in context.store.blobs.list_keys("")} == known
    assert upload.counts[InvoiceState.QUEUED] == 2
