"""Limits on what waits: who is put off, with which answer, before anything of the body is read, and when room is back."""

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import anyio
import httpx
import pytest

from app.api.intake import admission
from app.domain.ids import chunk_id, time_ordered_id
from app.settings import Settings
from app.store.disk import Disk, Reserve, Space
from app.store.store import Store
from app.store.uploads.admission import Usage, Waiting
from app.store.uploads.singles import NewSingle
from app.store.uploads.uploads import NewUpload
from tests.app.api.conftest import Caller, MovableClock, blobs_of, eventually, make_caller

ZIP = {"Content-Type": "application/zip"}
XML = {"Content-Type": "application/xml"}


@pytest.fixture(autouse=True)
def no_old_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count anew for every request, so that a test need not wait for a second to pass."""
    monkeypatch.setattr(admission, "GOOD_FOR_SECONDS", 0.0)
    monkeypatch.setattr(admission, "_COST_SHARE", 0)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Small limits: a thousand bytes and ten invoices in all, half of that for one of several tenants."""
    return settings.model_copy(
        update={"max_upload_bytes": 400, "spool_limit_bytes": 1_000, "queue_limit_invoices": 10, "tenant_share": 0.5}
    )


async def _spool(store: Store, caller: Caller, size: int, clock: MovableClock) -> NewUpload:
    new = NewUpload(
        id=time_ordered_id(int(clock().timestamp() * 1000), os.urandom(10)), tenant_id=caller.tenant.id, kind="zip",
        boundary=None, blob_key=f"uploads/{os.urandom(8).hex()}", size=size, sha256=os.urandom(32), reference=None,
        idempotency_key=None, offline_mode=False, flush=False, atomic=False,
    )  # fmt: skip
    await store.uploads.add(new, now=clock())
    return new


async def _read(store: Store, upload: NewUpload) -> None:
    await store.database.execute("UPDATE uploads SET state = 'in_progress' WHERE id = %(id)s", {"id": upload.id})


async def _post_singles(store: Store, caller: Caller, count: int, clock: MovableClock) -> None:
    lane = await store.tenants.ensure_lane(caller.tenant, form_code="FA (3)", offline_mode=False)
    now_ms = int(clock().timestamp() * 1000)
    await store.singles.add_singles(
        tenant_id=caller.tenant.id, lane_id=lane, upload_id=time_ordered_id(now_ms, os.urandom(10)),
        chunk_id=chunk_id(now_ms, os.urandom(10)), blob_key=f"singles/{os.urandom(8).hex()}",
        singles=[NewSingle("a.xml", hashlib.sha256(b"a").digest(), 1, n) for n in range(count)], offline_mode=False,
        group_sha256=os.urandom(32), now=clock(),
    )  # fmt: skip


def _refused(answer: httpx.Response) -> tuple[int, str, str | None]:
    problem = answer.json()
    assert int(answer.headers["retry-after"]) > 0
    return answer.status_code, problem["code"], problem["errors"][0]["limit"] if "errors" in problem else None


async def test_a_tenant_at_its_share_gets_429_and_the_other_is_served(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    first = await _spool(store, alpha, 400, clock)
    answer = await alpha.http.post("/v1/uploads", content=b"x" * 200, headers=ZIP)
    assert _refused(answer) == (429, "tenant-limit", "spooled_bytes")
    assert answer.json()["errors"] == [{"limit": "spooled_bytes", "used": 600, "most": 500}]
    assert (await alpha.http.post("/v1/uploads", content=b"x" * 100, headers=ZIP)).status_code == 202
    assert (await beta.http.post("/v1/uploads", content=b"x" * 400, headers=ZIP)).status_code == 202
    await _read(store, first)
    assert (await alpha.http.post("/v1/uploads", content=b"x" * 200, headers=ZIP)).status_code == 202


async def test_what_everybody_has_waiting_together_is_bounded_too(
    alpha: Caller, beta: Caller, store: Store, running_api: str, clock: MovableClock
) -> None:
    for caller in (alpha, beta):
        await _spool(store, caller, 450, clock)
    third = await make_caller(store, running_api, "1111111111", clock())
    async with third.http:
        answer = await third.http.post("/v1/uploads", content=b"x" * 101, headers=ZIP)
        assert _refused(answer) == (503, "spool-full", None)
        assert (await third.http.post("/v1/uploads", content=b"x" * 100, headers=ZIP)).status_code == 202


async def test_the_only_tenant_has_everything(alpha: Caller, store: Store, clock: MovableClock) -> None:
    await _spool(store, alpha, 600, clock)
    assert (await alpha.http.post("/v1/uploads", content=b"x" * 400, headers=ZIP)).status_code == 202
    answer = await alpha.http.post("/v1/uploads", content=b"x", headers=ZIP)
    assert _refused(answer) == (503, "spool-full", None)


@pytest.mark.parametrize("declared", [True, False], ids=["declared length", "unknown length"])
async def test_a_refused_body_is_not_read_or_only_as_far_as_there_is_room(
    alpha: Caller, store: Store, clock: MovableClock, declared: bool
) -> None:
    await _spool(store, alpha, 800, clock)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 100

    content: Any = b"x" * 400 if declared else pieces()
    answer = await alpha.http.post("/v1/uploads", content=content, headers=ZIP)
    assert _refused(answer) == (503, "spool-full", None)
    assert len(await store.database.fetch_all("SELECT id FROM uploads")) == 1
    assert await blobs_of(store, "uploads") == set()


async def test_the_answer_comes_before_the_body(
    alpha: Caller, store: Store, running_api: str, clock: MovableClock
) -> None:
    await _spool(store, alpha, 1_000, clock)
    stream = await anyio.connect_tcp("127.0.0.1", int(running_api.rpartition(":")[2]))
    await stream.send(
        b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Type: application/zip\r\nContent-Length: 300\r\n"
        b"Expect: 100-continue\r\nAuthorization: Bearer " + alpha.key.encode() + b"\r\n\r\n"
    )
    with anyio.fail_after(60):
        assert (await stream.receive()).startswith(b"HTTP/1.1 503")
    await stream.aclose()


async def test_invoices_that_wait_for_ksef_bound_uploads_and_single_posts(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    await _post_singles(store, alpha, 4, clock)
    assert (await alpha.http.post("/v1/invoices", content=b"<a/>", headers=XML)).status_code == 202
    for path, headers in (("/v1/invoices", XML), ("/v1/uploads", ZIP)):
        answer = await alpha.http.post(path, content=b"<a/>", headers=headers)
        assert _refused(answer) == (429, "tenant-limit", "waiting_invoices")
    assert (await beta.http.post("/v1/invoices", content=b"<a/>", headers=XML)).status_code == 202
    await _post_singles(store, beta, 4, clock)
    disabled = "UPDATE tenants SET disabled_at = now() WHERE id = %(id)s"
    await store.database.execute(disabled, {"id": beta.tenant.id})
    # The only tenant left has no share of its own; everything together is still bounded.
    answer = await alpha.http.post("/v1/invoices", content=b"<a/>", headers=XML)
    assert _refused(answer) == (503, "queue-full", None)
    await store.database.execute("UPDATE uploads SET received = 0")
    assert (await alpha.http.post("/v1/invoices", content=b"<a/>", headers=XML)).status_code == 202


async def test_what_is_counted_as_waiting_follows_an_invoice_until_ksef_has_its_session(
    alpha: Caller, store: Store, clock: MovableClock
) -> None:
    async def waiting() -> int:
        found = (await store.admission.usage()).of_tenants.get(alpha.tenant.id)
        return found.invoices if found else 0

    await _post_singles(store, alpha, 3, clock)
    assert await waiting() == 3
    await store.database.execute("UPDATE uploads SET received = 0")
    await store.database.execute("UPDATE chunks SET queued = 3, encoding = 'deflate'")
    assert await waiting() == 3
    await store.database.execute("UPDATE chunks SET queued = 0")
    session = {"id": time_ordered_id(1, os.urandom(10)), "tenant": alpha.tenant.id, "now": clock()}
    await store.database.execute(
        "INSERT INTO sessions (id, tenant_id, lane_id, state, form_code, offline_mode, compression, invoices, sealed_at) "
        "SELECT %(id)s, %(tenant)s, id, 'sealed', form_code, offline_mode, compression, 3, %(now)s FROM lanes",
        session,
    )
    for state, expected in {"sealed": 3, "packed": 3, "opening": 3, "open": 0, "processing": 0, "failed": 0}.items():
        await store.database.execute("UPDATE sessions SET state = %(state)s", {"state": state})
        assert await waiting() == expected


async def test_many_small_uploads_are_bounded_by_number(
    alpha: Caller, store: Store, clock: MovableClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "UNREAD_UPLOADS_OF_A_TENANT", 2)
    for _ in range(2):
        await _spool(store, alpha, 1, clock)
    answer = await alpha.http.post("/v1/uploads", content=b"x", headers=ZIP)
    assert _refused(answer) == (429, "tenant-limit", "unread_uploads")


async def test_a_tenant_sees_its_limits_and_what_it_uses(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    await _spool(store, alpha, 500, clock)
    await _post_singles(store, alpha, 2, clock)
    me = (await alpha.http.get("/v1/me")).json()
    assert me["waiting"] == {
        "concurrent_uploads": {"used": 0, "most": 8},
        "unread_uploads": {"used": 1, "most": 5_000},
        "spooled_bytes": {"used": 500, "most": 500},
        "waiting_invoices": {"used": 2, "most": 5},
    }
    assert me["accepts_uploads"] is False
    other = (await beta.http.get("/v1/me")).json()
    assert other["waiting"]["spooled_bytes"] == {"used": 0, "most": 500}
    assert other["accepts_uploads"] is True


async def test_metrics_show_what_waits_beside_the_limits_and_why_requests_were_put_off(
    alpha: Caller, beta: Caller, store: Store, clock: MovableClock
) -> None:
    await _spool(store, alpha, 500, clock)
    await alpha.http.post("/v1/uploads", content=b"x", headers=ZIP)
    page = (await alpha.http.get("/metrics")).text
    for line in (
        'ksefd_waiting{what="spooled_bytes"} 500.0',
        'ksefd_waiting_limit{what="spooled_bytes"} 1000.0',
        'ksefd_waiting_limit{what="invoices"} 10.0',
        'ksefd_worker_heartbeat_age_seconds{which="newest"} +Inf',
        'ksefd_refused_requests_total{reason="disk"} 0.0',
    ):
        assert line in page, line
    assert _sample(page, 'ksefd_refused_requests_total{reason="tenant-spooled-bytes"}') >= 1
    assert _sample(page, "ksefd_disk_free_bytes") > 0


def _sample(page: str, name: str) -> float:
    [line] = [line for line in page.splitlines() if line.startswith(name)]
    return float(line.rpartition(" ")[2])


async def test_a_low_disk_refuses_new_work_before_it_is_full_and_says_so(
    alpha: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Space(free=2_000, reserved=1_000)

    async def present(_: Disk) -> Space:
        return space

    monkeypatch.setattr(Disk, "space", present)
    # The body, and twice as much for what is made of it: 1,000 are left above the reserve.
    assert (await alpha.http.post("/v1/uploads", content=b"x" * 300, headers=ZIP)).status_code == 202
    answer = await alpha.http.post("/v1/uploads", content=b"x" * 300, headers=ZIP)
    assert _refused(answer) == (503, "disk-low", None)
    assert (await alpha.http.get("/readyz")).json()["warnings"] == []
    space = replace(space, free=900)
    answer = await alpha.http.post("/v1/invoices", content=b"<a/>", headers=XML)
    assert _refused(answer) == (503, "disk-low", None)
    ready = await alpha.http.get("/readyz")
    assert (ready.status_code, ready.json()["warnings"][0]["part"]) == (200, "disk")
    space = replace(space, free=100_000)
    assert (await alpha.http.post("/v1/invoices", content=b"<a/>", headers=XML)).status_code == 202


async def test_posts_between_two_counts_are_counted_by_the_process_that_took_them(
    alpha: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "GOOD_FOR_SECONDS", 3_600.0)
    answers = [(await alpha.http.post("/v1/invoices", content=b"<a/>", headers=XML)).status_code for _ in range(12)]
    assert answers == [202] * 10 + [503] * 2


async def test_a_count_that_fails_puts_off_and_the_next_one_goes_on(
    alpha: Caller, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.store.database_errors import DatabaseUnavailable
    from app.store.uploads.admission import AdmissionStore

    async def fail(_: AdmissionStore) -> None:
        raise DatabaseUnavailable("the database does not answer")

    with monkeypatch.context() as away:
        away.setattr(AdmissionStore, "usage", fail)
        answer = await alpha.http.post("/v1/uploads", content=b"x", headers=ZIP)
        assert (answer.status_code, answer.json()["code"]) == (503, "database-unavailable")

    async def goes_on() -> bool:
        return (await alpha.http.post("/v1/uploads", content=b"x", headers=ZIP)).status_code == 202

    await eventually(goes_on)


@pytest.mark.parametrize(
    ("free", "lacking"),
    [
        (1_001, set()),
        (999, {Reserve.UPLOADS}),
        (499, {Reserve.UPLOADS, Reserve.READING}),
        (249, {Reserve.UPLOADS, Reserve.READING, Reserve.PACKING}),
    ],
)
def test_who_takes_in_stops_first_and_who_sends_last(free: int, lacking: set[Reserve]) -> None:
    space = Space(free=free, reserved=1_000)
    assert {reserve for reserve in Reserve if space.lacks(reserve)} == lacking


def test_nothing_is_watched_where_the_blobs_are_elsewhere(statvfs_of: Callable[[int, int], None]) -> None:
    statvfs_of(100, 0)
    assert anyio.run(Disk(()).space) is None


def test_the_reserve_is_a_twentieth_or_a_gigabyte(tmp_path: Any, statvfs_of: Callable[[int, int], None]) -> None:
    statvfs_of(10_000_000, 5_000_000)
    assert anyio.run(Disk([tmp_path]).space) == Space(5_000_000, 500_000)
    statvfs_of(10**13, 10**12)
    assert anyio.run(Disk([tmp_path, tmp_path / "gone"]).space) == Space(10**12, 10**9)


@pytest.fixture
def statvfs_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    def set_sizes(total: int, free: int) -> None:
        class Status:
            f_blocks, f_bavail, f_frsize = total, free, 1

        def look(folder: Any) -> Status:
            if folder.name == "gone":
                raise FileNotFoundError
            return Status()

        monkeypatch.setattr("app.store.disk.os.statvfs", look)

    return set_sizes


def test_the_sum_over_all_tenants_is_made_once_for_all_posts_of_a_count() -> None:
    class Watched(dict[int, Waiting]):
        asked = 0

        def values(self) -> Any:
            self.asked += 1
            return super().values()

    tenants = Watched({tenant: Waiting(1, 2, 3) for tenant in range(300)})
    usage = Usage(tenants, 300)
    assert {usage.total for _ in range(100)} == {Waiting(300, 600, 900)}
    assert tenants.asked == 1
