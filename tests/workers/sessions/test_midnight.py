"""Midnight in Warsaw: sealed and opened in time, warned when not, held where the tenant wants to decide."""

import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from app.checking.service import CheckService
from app.clock import utc_now, warsaw_day
from app.domain.ids import chunk_id, public_id, time_ordered_id
from app.domain.states import InvoiceState, SessionState, UploadState
from app.domain.warsaw import end_of_warsaw_day
from app.errors import NotFound
from app.settings import Settings
from app.store.sessions.session import Session
from app.store.store import Store
from app.store.tenants.tenants import Tenant
from app.store.uploads.invoices import InvoiceFilter
from app.store.uploads.late_invoices import NotAwaitingDecision
from app.store.uploads.singles import NewSingle
from app.store.uploads.uploads import Upload
from invoicegen.invoices import GeneratedInvoice, generate_invoices
from tests.support.road import NIP, add_tenant, add_upload, carry, read, zip_of
from tests.support.sandbox_process import SandboxHandle
from workers import maintenance, sealing
from workers.context import RetryLater, WorkerContext
from workers.intake.singles import check_singles
from workers.runtime import worker_context
from workers.sessions import packing
from workers.sessions.advance import advance_session

DAY = warsaw_day(utc_now()) + timedelta(days=1)
MIDNIGHT = end_of_warsaw_day(DAY)


class Hands:
    """A clock whose hands a test sets; it goes on from there."""

    def __init__(self) -> None:
        self._offset = timedelta(0)

    def __call__(self) -> datetime:
        return utc_now() + self._offset

    def before_midnight(self, **step: float) -> None:
        self._offset = MIDNIGHT - timedelta(**step) - utc_now()

    def after_midnight(self, **step: float) -> None:
        self._offset = MIDNIGHT + timedelta(**step) - utc_now()


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest_asyncio.fixture
async def night(settings: Settings, store: Store, pool: CheckService, hands: Hands) -> AsyncIterator[WorkerContext]:
    """The stages near midnight, with lanes that linger long and nobody at KSeF's address."""
    async with worker_context(settings.model_copy(update={"linger_seconds": 7200}), store, pool, hands) as made:
        yield made


@pytest_asyncio.fixture
async def night_road(
    settings: Settings, store: Store, pool: CheckService, hands: Hands, sandbox: SandboxHandle
) -> AsyncIterator[WorkerContext]:
    """The stages near midnight with the sandbox as KSeF; nothing lingers."""
    async with worker_context(settings.model_copy(update={"ksef_url": sandbox.base_url}), store, pool, hands) as made:
        yield made


def set_ksef(sandbox: SandboxHandle, hands: Hands, *, ahead: timedelta = timedelta(0)) -> None:
    """Set KSeF's clock: ours, with a difference."""
    told = httpx.get(f"{sandbox.control_url}/health").raise_for_status().json()["time"]
    theirs = datetime.fromisoformat(told[:26] + "+00:00")
    step = (hands() + ahead - theirs).total_seconds()
    httpx.post(f"{sandbox.control_url}/clock", json={"advance_seconds": step}).raise_for_status()


def storage_is_away(sandbox: SandboxHandle, *, away: bool) -> None:
    if away:
        rule = {"method": "PUT", "path": "/storage/", "status": 503, "times": 50}
        httpx.post(f"{sandbox.control_url}/faults", json=rule).raise_for_status()
    else:
        httpx.delete(f"{sandbox.control_url}/faults").raise_for_status()


def opened_at_ksef(sandbox: SandboxHandle) -> int:
    return len(httpx.get(f"{sandbox.control_url}/ledger").raise_for_status().json()["sessions"])


def issued(day: date, count: int, *, start: int = 0) -> list[GeneratedInvoice]:
    return list(generate_invoices(count, seller_nip=NIP, issue_date=day, seed=7, start=start, attachments=False))


async def take(
    context: WorkerContext, tenant: Tenant, documents: list[GeneratedInvoice], now: datetime | None = None
) -> Upload:
    upload = await add_upload(context.store, tenant, zip_of(documents), now=now or context.clock())
    return await read(context, upload)


async def seal(context: WorkerContext, tenant: Tenant) -> list[Session]:
    """Look at all lanes now; gives the tenant's sessions, oldest first."""
    rows = await context.store.database.fetch_all("SELECT id FROM lanes ORDER BY id")
    for row in rows:
        await sealing.seal_lane(context, row["id"])
    return (await context.store.sessions.page(tenant.id, before=None, state=None, limit=50))[::-1]


async def seal_and_pack(context: WorkerContext, tenant: Tenant) -> list[Session]:
    sessions = [one for one in await seal(context, tenant) if not one.state.is_final]
    for session in sessions:
        await packing.pack_session(context, session.id)
    return [await context.store.sessions.get_for_job(session.id) for session in sessions]


async def shown(context: WorkerContext, tenant: Tenant, **wanted: Any) -> list[tuple[UUID, dict[str, Any]]]:
    return await context.store.invoices.page(tenant.id, InvoiceFilter(**wanted), limit=1000)


def rules(document: dict[str, Any]) -> list[str]:
    return [finding["rule"] for finding in document["findings"]]


async def counts(context: WorkerContext, upload: Upload) -> dict[str, int]:
    found = (await context.store.uploads.get(upload.tenant_id, upload.id)).counts
    return {state.value: n for state, n in found.items() if n}


async def deciding_tenant(context: WorkerContext) -> Tenant:
    tenant = await add_tenant(context.store)
    assert tenant.late_invoices == "send"
    await context.store.tenants.set_late_invoices(tenant.id, "hold")
    return await context.store.tenants.get(tenant.id)


# --- in time ---


async def test_invoices_of_the_day_are_sealed_a_margin_before_midnight_however_long_the_lane_lingers(
    night: WorkerContext, hands: Hands
) -> None:
    hands.before_midnight(minutes=20)
    tenant = await add_tenant(night.store)
    await take(night, tenant, issued(DAY, 3))
    assert await seal(night, tenant) == []
    row = await night.store.database.fetch_one(
        "SELECT max(scheduled_at) AS at FROM procrastinate_jobs WHERE task_name = 'sealing.seal_lane'"
    )
    assert row is not None
    assert abs(row["at"] - (MIDNIGHT - timedelta(minutes=15))) < timedelta(seconds=1), "it comes back in time"
    hands.before_midnight(minutes=14, seconds=59)
    (session,) = await seal(night, tenant)
    assert (session.invoices, session.latest_issue_date) == (3, DAY)
    jobs = await night.store.database.fetch_all(
        "SELECT priority FROM procrastinate_jobs WHERE task_name = 'packing.pack_session'"
    )
    assert [job["priority"] for job in jobs] == [1]


async def test_invoices_of_earlier_days_and_offline_ones_linger_on_over_midnight(
    night: WorkerContext, hands: Hands
) -> None:
    hands.before_midnight(minutes=20)
    tenant = await add_tenant(night.store)
    await take(night, tenant, issued(DAY - timedelta(days=1), 3))
    lane = await night.store.tenants.ensure_lane(tenant, form_code="FA (3)", offline_mode=True)
    await take(night, tenant, issued(DAY, 3, start=10))
    await night.store.database.execute(
        "UPDATE chunks SET lane_id = %(lane)s WHERE latest_issue_date = %(day)s", {"lane": lane, "day": DAY}
    )
    hands.before_midnight(minutes=1)
    assert await seal(night, tenant) == []
    hands.after_midnight(minutes=101)
    assert [session.offline_mode for session in await seal(night, tenant)] == [False, True]


async def test_an_invoice_of_the_day_is_not_held_up_by_an_older_look_at_its_lane(
    night: WorkerContext, hands: Hands
) -> None:
    hands.before_midnight(minutes=50)
    tenant = await add_tenant(night.store)
    await take(night, tenant, issued(DAY - timedelta(days=1), 1))
    assert await seal(night, tenant) == []
    await take(night, tenant, issued(DAY, 1, start=10))
    assert await seal(night, tenant) == []
    rows = await night.store.database.fetch_all(
        "SELECT scheduled_at AS at FROM procrastinate_jobs WHERE task_name = 'sealing.seal_lane' AND scheduled_at IS NOT NULL"
        " ORDER BY 1"
    )
    assert rows[0]["at"] < MIDNIGHT < rows[-1]["at"]


async def test_single_posts_are_sealed_in_time_as_well(night: WorkerContext, hands: Hands) -> None:
    hands.before_midnight(minutes=20)
    tenant = await add_tenant(night.store)
    lane = await night.store.tenants.ensure_lane(tenant, form_code="FA (3)", offline_mode=False)
    (document,) = issued(DAY, 1)
    now_ms = int(hands().timestamp() * 1000)
    await night.store.blobs.put("singles/one", document.xml)
    await night.store.singles.add_singles(
        tenant_id=tenant.id,
        lane_id=lane,
        upload_id=time_ordered_id(now_ms, bytes(10)),
        chunk_id=chunk_id(now_ms, bytes(10)),
        blob_key="singles/one",
        singles=[NewSingle("one.xml", hashlib.sha256(document.xml).digest(), len(document.xml), 0)],
        offline_mode=False,
        group_sha256=bytes(32),
        now=hands(),
    )
    await check_singles(night, tenant.id)
    assert await seal(night, tenant) == []
    hands.before_midnight(minutes=14)
    assert [session.latest_issue_date for session in await seal(night, tenant)] == [DAY]


async def test_sessions_with_invoices_of_the_day_are_opened_first_when_midnight_is_near(
    night_road: WorkerContext, hands: Hands, sandbox: SandboxHandle
) -> None:
    hands.before_midnight(minutes=30)
    set_ksef(sandbox, hands)
    tenant = await add_tenant(night_road.store)
    await take(night_road, tenant, issued(DAY - timedelta(days=1), 1))
    (old,) = await seal_and_pack(night_road, tenant)
    await take(night_road, tenant, issued(DAY, 1, start=10))
    _, urgent = await seal_and_pack(night_road, tenant)
    with pytest.raises(RetryLater, match="go first"):
        await advance_session(night_road, old.id)
    await carry(night_road, [urgent, old])
    ended = [await night_road.store.sessions.get_for_job(one.id) for one in (urgent, old)]
    assert [one.state for one in ended] == [SessionState.COMPLETED] * 2


# --- which day KSeF gives ---


@pytest.mark.parametrize("skew", [-5, 0, 5])
async def test_what_came_before_the_margin_is_online_however_ksefs_clock_goes(
    night_road: WorkerContext, hands: Hands, sandbox: SandboxHandle, skew: int
) -> None:
    hands.before_midnight(minutes=15)
    set_ksef(sandbox, hands, ahead=timedelta(minutes=skew))
    tenant = await add_tenant(night_road.store)
    await take(night_road, tenant, issued(DAY, 3))
    await carry(night_road, await seal_and_pack(night_road, tenant))
    documents = [document for _, document in await shown(night_road, tenant)]
    assert [(one["state"], one["invoicing_mode"], rules(one)) for one in documents] == [("accepted", "Online", [])] * 3


@pytest.mark.parametrize(
    ("ours", "skew", "mode", "found"),
    [
        pytest.param(-2, 5, "Offline", ["mode-changed-by-midnight"], id="KSeF is past midnight, we are not"),
        pytest.param(2, -5, "Online", [], id="we are past midnight, KSeF is not"),
        pytest.param(2, 0, "Offline", ["mode-changed-by-midnight"], id="both are past midnight"),
        pytest.param(-7, 5, "Online", [], id="neither is past midnight"),
    ],
)
async def test_each_invoice_gets_the_warning_that_fits_ksefs_own_day(
    night_road: WorkerContext, hands: Hands, sandbox: SandboxHandle, ours: int, skew: int, mode: str, found: list[str]
) -> None:
    hands.before_midnight(minutes=30)
    tenant = await add_tenant(night_road.store)
    await take(night_road, tenant, issued(DAY, 2))
    await take(night_road, tenant, issued(DAY - timedelta(days=1), 1, start=10))
    sessions = await seal_and_pack(night_road, tenant)
    hands.after_midnight(minutes=ours)
    set_ksef(sandbox, hands, ahead=timedelta(minutes=skew))
    await carry(night_road, sessions)
    documents = {one["issue_date"]: one for _, one in await shown(night_road, tenant)}
    of_the_day, earlier = documents[DAY.isoformat()], documents[(DAY - timedelta(days=1)).isoformat()]
    assert (of_the_day["invoicing_mode"], rules(of_the_day)) == (mode, found)
    assert (earlier["invoicing_mode"], rules(earlier)) == ("Offline", ["will-be-offline"]), "it was late when it came"


async def test_midnight_between_opening_and_upload_changes_nothing(
    night_road: WorkerContext, hands: Hands, sandbox: SandboxHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands.before_midnight(minutes=10)
    set_ksef(sandbox, hands)
    tenant = await add_tenant(night_road.store)
    await take(night_road, tenant, issued(DAY, 3))
    (session,) = await seal_and_pack(night_road, tenant)
    storage_is_away(sandbox, away=True)
    monkeypatch.setattr("workers.sessions.dispatch._PART_PAUSE_SECONDS", 0.0)
    with pytest.raises(RetryLater):
        await advance_session(night_road, session.id)
    assert (await night_road.store.sessions.get_for_job(session.id)).state is SessionState.OPEN
    storage_is_away(sandbox, away=False)
    hands.after_midnight(minutes=3)
    set_ksef(sandbox, hands)
    await carry(night_road, [session])
    documents = [document for _, document in await shown(night_road, tenant)]
    assert [(one["invoicing_mode"], rules(one)) for one in documents] == [("Online", [])] * 3


async def test_midnight_in_the_middle_of_reading_an_upload_warns_on_all_that_came_in_time(
    night_road: WorkerContext, hands: Hands, sandbox: SandboxHandle
) -> None:
    hands.before_midnight(minutes=1)
    tenant = await add_tenant(night_road.store)
    upload = await add_upload(night_road.store, tenant, zip_of(issued(DAY, 3)), now=hands())
    hands.after_midnight(minutes=6)
    set_ksef(sandbox, hands)
    await read(night_road, upload)
    await carry(night_road, await seal_and_pack(night_road, tenant))
    documents = [document for _, document in await shown(night_road, tenant)]
    assert [one["invoicing_mode"] for one in documents] == ["Offline"] * 3
    assert [rules(one) for one in documents] == [["will-be-offline", "mode-changed-by-midnight"]] * 3


async def test_a_session_waits_until_its_day_has_begun_for_ksef_too(
    night_road: WorkerContext, hands: Hands, sandbox: SandboxHandle
) -> None:
    tomorrow = DAY + timedelta(days=1)
    hands.after_midnight(minutes=1)
    set_ksef(sandbox, hands, ahead=timedelta(minutes=-5))
    tenant = await add_tenant(night_road.store)
    await take(night_road, tenant, issued(tomorrow, 2))
    (session,) = await seal_and_pack(night_road, tenant)
    with pytest.raises(RetryLater, match="only begun") as wait:
        await advance_session(night_road, session.id)
    assert 200 < wait.value.seconds <= 240
    hands.after_midnight(minutes=5, seconds=1)
    set_ksef(sandbox, hands, ahead=timedelta(minutes=-5))
    await carry(night_road, [session])
    documents = [document for _, document in await shown(night_road, tenant)]
    assert [(one["state"], one["invoicing_mode"], rules(one)) for one in documents] == [("accepted", "Online", [])] * 2


async def test_a_receipt_with_another_mode_than_expected_is_pointed_out(
    night_road: WorkerContext, hands: Hands, sandbox: SandboxHandle
) -> None:
    hands.before_midnight(hours=6)
    set_ksef(sandbox, hands)
    tenant = await add_tenant(night_road.store)
    await take(night_road, tenant, issued(DAY, 2))
    (session,) = await seal_and_pack(night_road, tenant)
    await carry(night_road, [session])
    store = night_road.store
    # As if KSeF had seen it otherwise: the receipt is what it is, so the rows are made to differ from it.
    (first, _), (second, _) = await shown(night_road, tenant)
    await store.database.execute("UPDATE invoices SET invoicing_mode = 'Offline' WHERE id = %(id)s", {"id": first})
    for expected in (1, 0):
        async with store.database.transaction() as connection:
            assert await store.late_invoices.check_modes_for_job(connection, session.id) == expected, "and said once"
    documents = dict(await shown(night_road, tenant))
    assert rules(documents[first]) == ["unexpected-invoicing-mode"]
    assert "says Offline" in documents[first]["findings"][0]["message"]
    assert rules(documents[second]) == []


# --- held for a decision ---


async def _held(night: WorkerContext, hands: Hands) -> tuple[Tenant, Upload, list[UUID]]:
    """Four invoices that missed their day and one that came late anyway, for a tenant that wants to decide."""
    hands.before_midnight(minutes=1)
    tenant = await deciding_tenant(night)
    body = zip_of([*issued(DAY, 4), *issued(DAY - timedelta(days=1), 1, start=10)])
    upload = await add_upload(night.store, tenant, body, now=hands())
    hands.after_midnight(minutes=6)
    await read(night, upload)
    return tenant, upload, [key for key, _ in await shown(night, tenant)][:4]


async def test_late_invoices_are_held_and_the_others_go(night_road: WorkerContext, hands: Hands) -> None:
    tenant, upload, late = await _held(night_road, hands)
    (session,) = await seal(night_road, tenant)
    assert session.invoices == 1
    assert await counts(night_road, upload) == {"queued": 4, "packed": 1}
    held = await shown(night_road, tenant, held=True)
    assert [key for key, _ in held] == late
    assert all(document["state"] == "queued" and rules(document)[-1] == "held-for-decision" for _, document in held)
    assert await night_road.store.late_invoices.count_awaiting_decision(tenant.id) == 4
    assert len(await seal(night_road, tenant)) == 1, "another look does not take them either"


async def test_another_tenants_choice_does_not_matter(night_road: WorkerContext, hands: Hands) -> None:
    await _held(night_road, hands)
    hands.before_midnight(minutes=1)
    other = await add_tenant(night_road.store, nip="5213814999")
    body = zip_of(generate_invoices(2, seller_nip=other.nip, issue_date=DAY, seed=3, attachments=False))
    upload = await add_upload(night_road.store, other, body, now=hands())
    hands.after_midnight(minutes=6)
    await read(night_road, upload)
    assert [session.invoices for session in await seal(night_road, other)] == [2]


async def test_released_invoices_travel_with_a_warning_and_are_not_held_again(
    night_road: WorkerContext, hands: Hands, sandbox: SandboxHandle
) -> None:
    tenant, upload, late = await _held(night_road, hands)
    set_ksef(sandbox, hands)
    await carry(night_road, await seal_and_pack(night_road, tenant))
    store = night_road.store
    await store.late_invoices.release(tenant.id, late[0])
    with pytest.raises(NotAwaitingDecision):
        await store.late_invoices.release(tenant.id, late[0])
    assert await store.late_invoices.release_all(tenant.id) == 3
    assert await store.late_invoices.release_all(tenant.id) == 0
    jobs = await store.database.fetch_all(
        "SELECT 1 FROM procrastinate_jobs WHERE task_name = 'sealing.seal_lane' AND scheduled_at IS NULL"
    )
    assert len(jobs) == 1
    sessions = await seal_and_pack(night_road, tenant)
    assert [session.invoices for session in sessions] == [4]
    await carry(night_road, sessions)
    documents = dict(await shown(night_road, tenant))
    for key in late:
        assert documents[key]["invoicing_mode"] == "Offline"
        assert rules(documents[key]) == ["will-be-offline", "released-after-midnight", "mode-changed-by-midnight"]
    final = await store.uploads.get(tenant.id, upload.id)
    assert (final.state, final.counts[InvoiceState.ACCEPTED]) == (UploadState.COMPLETED, 5)


async def test_a_withdrawn_invoice_ends_unsent_and_its_number_is_free(
    night_road: WorkerContext, hands: Hands, sandbox: SandboxHandle
) -> None:
    tenant, upload, late = await _held(night_road, hands)
    set_ksef(sandbox, hands)
    await carry(night_road, await seal_and_pack(night_road, tenant))
    store = night_road.store
    for key in late:
        await store.late_invoices.withdraw(tenant.id, key, now=hands())
    with pytest.raises(NotAwaitingDecision):
        await store.late_invoices.withdraw(tenant.id, late[0], now=hands())
    documents = dict(await shown(night_road, tenant))
    assert all(rules(documents[key])[-1] == "withdrawn" for key in late)
    assert all("held-for-decision" not in rules(documents[key]) for key in late)
    final = await store.uploads.get(tenant.id, upload.id)
    assert final.state is UploadState.COMPLETED
    assert await counts(night_road, upload) == {"accepted": 1, "failed": 4}
    again = await take(night_road, tenant, issued(DAY, 4))
    assert await counts(night_road, again) == {"queued": 4}


async def test_nobody_decides_on_the_invoices_of_others_or_on_those_that_do_not_wait(
    night_road: WorkerContext, hands: Hands
) -> None:
    tenant, _, late = await _held(night_road, hands)
    stranger = await add_tenant(night_road.store, nip="5213814999")
    late_store = night_road.store.late_invoices
    # Nothing is held before somebody looks at the lane.
    with pytest.raises(NotAwaitingDecision, match="queued"):
        await late_store.withdraw(tenant.id, late[0], now=hands())
    await seal(night_road, tenant)
    decisions: list[Callable[[], Any]] = [
        lambda: late_store.release(stranger.id, late[0]),
        lambda: late_store.withdraw(stranger.id, late[0], now=hands()),
    ]
    for decide in decisions:
        with pytest.raises(NotFound, match=public_id("inv", late[0])):
            await decide()
    assert await late_store.release_all(stranger.id) == 0
    assert await late_store.count_awaiting_decision(tenant.id) == 4


@pytest.mark.parametrize("minutes", [-4, 3], ids=["KSeF may be past midnight", "past midnight"])
async def test_a_sealed_session_that_missed_the_day_is_taken_apart_before_it_is_opened(
    night_road: WorkerContext, hands: Hands, sandbox: SandboxHandle, minutes: int
) -> None:
    hands.before_midnight(minutes=10)
    tenant = await deciding_tenant(night_road)
    upload = await take(night_road, tenant, [*issued(DAY, 3), *issued(DAY - timedelta(days=1), 2, start=10)])
    (session,) = await seal_and_pack(night_road, tenant)
    hands.after_midnight(minutes=minutes)
    set_ksef(sandbox, hands)
    await advance_session(night_road, session.id)
    ended = await night_road.store.sessions.get_for_job(session.id)
    assert (ended.state, ended.requeued, ended.reference_number) == (SessionState.FAILED, 5, None)
    assert opened_at_ksef(sandbox) == 0
    assert await counts(night_road, upload) == {"queued": 5}
    assert await night_road.store.late_invoices.count_awaiting_decision(tenant.id) == 3
    sessions = await seal_and_pack(night_road, tenant)
    assert [one.invoices for one in sessions] == [2]
    await carry(night_road, sessions)
    assert await counts(night_road, upload) == {"queued": 3, "accepted": 2}
    row = await night_road.store.database.fetch_one(
        "SELECT max(attempts) AS most, min(attempts) AS least FROM invoices"
    )
    assert row == {"most": 1, "least": 0}, "a session that was never opened is no try"


async def test_what_is_held_does_not_keep_the_sweep_busy(night_road: WorkerContext, hands: Hands) -> None:
    tenant, _, _ = await _held(night_road, hands)
    await seal(night_road, tenant)
    assert not any(lane["queued"] for lane in await night_road.store.chunks.queued_by_lane())
    await night_road.store.database.execute("DELETE FROM procrastinate_jobs")
    await maintenance.sweep(night_road)
    jobs = await night_road.store.database.fetch_all(
        "SELECT 1 FROM procrastinate_jobs WHERE task_name = 'sealing.seal_lane'"
    )
    assert jobs == []
