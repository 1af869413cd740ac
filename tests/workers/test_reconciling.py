"""Reconciliation with KSeF, against the sandbox: what it has accepted is accepted here, and nothing is sent before that."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from app.domain.states import InvoiceState, SessionState, UploadState
from app.ksef.client import KsefClient
from app.ksef.models import ListedSession
from app.store.tenants.tenants import Tenant
from app.store.uploads.invoices import InvoiceFilter
from app.store.uploads.uploads import Upload
from tests.support.ksef_by_hand import HandClient
from tests.support.road import NIP, add_tenant, add_upload, carry, invoices, read, seal_and_pack, zip_of
from tests.support.sandbox_process import SandboxHandle
from workers import maintenance
from workers.context import RetryLater, WorkerContext
from workers.reconciling import reconcile, reconcile_due_tenant

pytestmark = pytest.mark.slow

HOUR = timedelta(hours=1)


async def sent(road: WorkerContext, count: int) -> tuple[Tenant, Upload]:
    tenant = await add_tenant(road.store)
    upload = await read(road, await add_upload(road.store, tenant, zip_of(invoices(count))))
    await carry(road, await seal_and_pack(road, tenant))
    return tenant, upload


async def forget_the_session(road: WorkerContext, count: int) -> None:
    """Make the records those of a backup that was made before the session was sealed."""
    database = road.store.database
    await database.execute(
        "UPDATE invoices SET state = 'queued', session_id = NULL, ksef_number = NULL, acquired_at = NULL, upo_page = NULL"
    )
    await database.execute("UPDATE chunks SET queued = %(n)s", {"n": count})
    await database.execute(
        "UPDATE uploads SET queued = %(n)s, accepted = 0, completed_at = NULL, state = 'in_progress'", {"n": count}
    )
    for table in ("ksef_numbers", "events", "session_chunks", "upo_pages", "parts", "session_history", "sessions"):
        await database.execute(f"DELETE FROM {table}")


async def rows(road: WorkerContext, tenant: Tenant) -> list[dict[str, Any]]:
    return [row for _, row in await road.store.invoices.page(tenant.id, InvoiceFilter())]


def sessions_at_ksef(sandbox: SandboxHandle) -> int:
    return len(httpx.get(f"{sandbox.control_url}/ledger").raise_for_status().json()["sessions"])


async def test_a_restored_installation_sends_nothing_before_it_knows_what_ksef_has(
    road: WorkerContext, sandbox: SandboxHandle
) -> None:
    tenant, upload = await sent(road, 4)
    before = {row["id"]: row["ksef_number"] for row in await rows(road, tenant)}
    await forget_the_session(road, 4)
    since = road.clock() - HOUR
    await road.store.tenants.require_reconciliation(tenant.id, since=since)
    assert await seal_and_pack(road, tenant) == []
    await maintenance.sweep(road)
    job = await road.store.database.fetch_one(
        "SELECT args FROM procrastinate_jobs WHERE task_name = 'reconciling.reconcile_tenant' AND status = 'todo'"
    )
    assert job == {"args": {"tenant_id": tenant.id}}
    await reconcile_due_tenant(road, tenant.id)
    found = await rows(road, tenant)
    assert {row["id"]: row["ksef_number"] for row in found} == before
    assert {row["state"] for row in found} == {"accepted"}
    assert (await road.store.tenants.get(tenant.id)).reconcile_since is None
    done = await road.store.uploads.get(tenant.id, upload.id)
    assert (done.state, done.counts[InvoiceState.ACCEPTED]) == (UploadState.COMPLETED, 4)
    assert await seal_and_pack(road, tenant) == [], "nothing is left to send"
    assert sessions_at_ksef(sandbox) == 1
    receipts = await road.store.database.fetch_all("SELECT DISTINCT blob_key FROM invoice_receipts")
    stored = await road.store.blobs.read(receipts[0]["blob_key"])
    assert all(number.encode() in stored for number in before.values())
    acts = await road.store.database.fetch_all("SELECT act FROM audit_rows ORDER BY number")
    assert [row["act"] for row in acts][-2:] == ["tenant.reconciliation-required", "tenant.reconciled"]


async def test_what_was_due_meanwhile_is_sealed_once_the_records_are_reconciled(road: WorkerContext) -> None:
    tenant = await add_tenant(road.store)
    await read(road, await add_upload(road.store, tenant, zip_of(invoices(2))))
    await road.store.database.execute("DELETE FROM procrastinate_jobs")
    await road.store.tenants.require_reconciliation(tenant.id, since=road.clock() - HOUR)
    await reconcile_due_tenant(road, tenant.id)
    jobs = await road.store.database.fetch_all("SELECT task_name FROM procrastinate_jobs WHERE status = 'todo'")
    assert [job["task_name"] for job in jobs] == ["sealing.seal_lane"]


async def test_a_packed_session_gives_up_what_ksef_has_and_sends_the_rest(
    road: WorkerContext, sandbox: SandboxHandle
) -> None:
    documents = invoices(3)
    tenant = await add_tenant(road.store)
    await read(road, await add_upload(road.store, tenant, zip_of(documents)))
    (session,) = await seal_and_pack(road, tenant)
    other = HandClient(sandbox.base_url, NIP).login()
    other.send_documents({one.name: one.xml for one in documents[:2]})
    other.close()
    changes = await reconcile(road, tenant, road.clock() - HOUR)
    assert [change.before for change in changes] == [InvoiceState.PACKED] * 2
    ended = await road.store.sessions.get(tenant.id, session.id)
    assert (ended.state, ended.accepted, ended.requeued) == (SessionState.FAILED, 2, 1)
    again = [one for one in await seal_and_pack(road, tenant) if not one.state.is_final]
    assert [one.invoices for one in again] == [1]
    await carry(road, again)
    found = await rows(road, tenant)
    assert [row["state"] for row in found] == ["accepted"] * 3
    ledger = httpx.get(f"{sandbox.control_url}/ledger").json()
    assert (ledger["accepted"], ledger["duplicate_attempts"]) == (3, 0)


async def test_a_dry_run_says_what_would_change_and_changes_nothing(road: WorkerContext) -> None:
    tenant, _ = await sent(road, 2)
    await forget_the_session(road, 2)
    changes = await reconcile(road, tenant, road.clock() - HOUR, dry_run=True)
    assert [change.before for change in changes] == [InvoiceState.QUEUED] * 2
    assert {row["state"] for row in await rows(road, tenant)} == {"queued"}
    assert await road.store.database.fetch_all("SELECT 1 FROM invoice_receipts") == []


async def test_what_was_rejected_although_ksef_has_it_is_accepted(road: WorkerContext) -> None:
    """The verdict of versions that took every duplicate for another document."""
    tenant, upload = await sent(road, 2)
    await forget_the_session(road, 2)
    await road.store.database.execute(
        """UPDATE invoices SET state = 'rejected', findings = '[{"rule": "duplicate-other", "severity": "error"}]'"""
    )
    await road.store.database.execute("UPDATE chunks SET queued = 0")
    await road.store.database.execute("UPDATE uploads SET queued = 0, rejected = 2")
    await reconcile(road, tenant, road.clock() - HOUR)
    found = await rows(road, tenant)
    assert {(row["state"], row["findings"][0]["rule"]) for row in found} == {("accepted", "accepted-earlier")}
    counts = (await road.store.uploads.get(tenant.id, upload.id)).counts
    assert (counts[InvoiceState.ACCEPTED], counts[InvoiceState.REJECTED]) == (2, 0)


async def test_a_repeat_and_records_that_agree_change_nothing(road: WorkerContext) -> None:
    tenant, _ = await sent(road, 2)
    assert await reconcile(road, tenant, road.clock() - HOUR) == []
    await forget_the_session(road, 2)
    assert len(await reconcile(road, tenant, road.clock() - HOUR)) == 2
    assert await reconcile(road, tenant, road.clock() - HOUR) == []


async def test_a_session_that_ksef_still_processes_and_we_do_not_know_is_waited_for(
    road: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant, _ = await sent(road, 2)
    await forget_the_session(road, 2)
    since = road.clock() - HOUR
    await road.store.tenants.require_reconciliation(tenant.id, since=since)
    listed = KsefClient.sessions_since

    async def still_processing(client: KsefClient, kind: str, moment: datetime) -> AsyncIterator[ListedSession]:
        async for one in listed(client, kind, moment):
            yield one.model_copy(update={"status": one.status.model_copy(update={"code": 150})})

    with monkeypatch.context() as patched:
        patched.setattr(KsefClient, "sessions_since", still_processing)
        with pytest.raises(RetryLater, match="still processes a session"):
            await reconcile_due_tenant(road, tenant.id)
        assert (await road.store.tenants.get(tenant.id)).reconcile_since == since
        assert {row["state"] for row in await rows(road, tenant)} == {"queued"}
    await reconcile_due_tenant(road, tenant.id)
    assert (await road.store.tenants.get(tenant.id)).reconcile_since is None
    assert {row["state"] for row in await rows(road, tenant)} == {"accepted"}
