"""One tenant's backlog and another's few invoices: whose turn it is at the pool, in the queues of jobs, and after trouble."""

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import anyio
import pytest
from procrastinate.jobs import Job, Status

from app.checking.check_chunk import ChunkOutcome, ChunkTask
from app.checking.service import CheckService
from app.clock import utc_now
from app.domain.ids import chunk_id, time_ordered_id
from app.domain.states import InvoiceState
from app.errors import TryLater
from app.reading.kinds import BodyKind
from app.store.blob_errors import BlobMissing, BlobStoreUnavailable
from app.store.database_errors import DatabaseUnavailable
from app.store.disk import Disk, DiskLow, Space
from app.store.jobs import INTAKE_SHORT, QUEUES, Task
from app.store.store import Store
from app.store.tenants.tenants import Tenant
from app.store.uploads.singles import NewSingle
from app.store.uploads.uploads import LONG_AT_A_TIME, SHORT_AT_A_TIME, SHORT_UPLOAD_BYTES, NewUpload
from tests.support.road import NIP, add_tenant, add_upload, invoices, read, zip_of
from workers.context import WorkerContext
from workers.intake import singles
from workers.intake import uploads as intake
from workers.intake.chunks import CHUNK_ENTRIES
from workers.job_names import JobNames
from workers.runtime import make_chunk_slots
from workers.tasks import StageRetryStrategy

OTHER = "5213814999"


class CountingPool(CheckService):
    """A pool whose processes are one place that is free again after some turns of the loop; keeps the order of tenants."""

    def __init__(self, workers: int) -> None:
        super().__init__(workers, dict)
        self.order: list[int] = []
        self.in_reserve: list[int] = []

    async def _run_now(
        self, work: Callable[[Any], Any], task: Any, seconds: float | None, *, reserve: bool
    ) -> ChunkOutcome:
        self.order.append(task.tenant_id)
        if reserve:
            self.in_reserve.append(task.tenant_id)
        # Turns of the loop, not time: a machine that is busy lets all places fall free at once.
        for _ in range(4):
            await asyncio.sleep(0)
        return ChunkOutcome(seconds=seconds or 0)


def _task(tenant_id: int) -> ChunkTask:
    context: Any = None
    chunk = chunk_id(1, os.urandom(10))
    return ChunkTask(
        tenant_id=tenant_id, upload_ids=(chunk,), chunk_id=chunk, entries=(), context=context, now=utc_now()
    )


@pytest.mark.parametrize("workers", [1, 2, 8])
async def test_a_hundred_invoices_wait_for_no_more_chunks_than_the_processes_hold(workers: int) -> None:
    with CountingPool(workers) as pool:
        async with anyio.create_task_group() as tasks:
            for _ in range(1_250):
                tasks.start_soon(pool.check, _task(1))
            while len(pool.order) < 100:
                await asyncio.sleep(0)
            before = len(pool.order)
            await pool.check(_task(2))
            # It began at once, in the process that is kept for such a chunk.
            assert pool.order.index(2) == before
            assert pool.in_reserve == [2]
            # A third one finds the reserve taken, and waits for those in the processes and one more whose turn it was.
            before = len(pool.order)
            async with anyio.create_task_group() as others:
                others.start_soon(pool.check, _task(2))
                others.start_soon(pool.check, _task(3))
            assert pool.order.index(3) - before <= workers + 3
            tasks.cancel_scope.cancel()
    assert 1 not in pool.in_reserve


async def _acknowledge(store: Store, tenant: Tenant, size: int) -> UUID:
    now = utc_now()
    upload_id = time_ordered_id(int(now.timestamp() * 1000), os.urandom(10))
    new = NewUpload(
        id=upload_id, tenant_id=tenant.id, kind=BodyKind.ZIP.value, boundary=None, blob_key=f"uploads/{upload_id.hex}",
        size=size, sha256=os.urandom(32), reference=None, idempotency_key=None, offline_mode=False, flush=False, atomic=False,
    )  # fmt: skip
    await store.uploads.add(new, now=now)
    return upload_id


async def _take_jobs(store: Store, queue: str, count: int) -> list[Job]:
    """Take as many jobs as a worker with so many free hands would."""
    worker = await store.jobs.app.job_manager.register_worker()
    taken = []
    for _ in range(count):
        job = await store.jobs.app.job_manager.fetch_job(queues=[queue], worker_id=worker)
        if job is None:
            break
        taken.append(job)
    return taken


async def _owners(store: Store, jobs: Sequence[Job]) -> list[int]:
    rows = await store.database.fetch_all("SELECT id, tenant_id FROM uploads")
    owner = {str(row["id"]): row["tenant_id"] for row in rows}
    return [owner[str(job.task_kwargs["upload_id"])] for job in jobs]


@pytest.mark.parametrize(
    ("size", "queue", "at_a_time"),
    [
        (SHORT_UPLOAD_BYTES, INTAKE_SHORT, SHORT_AT_A_TIME),
        (SHORT_UPLOAD_BYTES + 1, QUEUES[Task.READ_UPLOAD], LONG_AT_A_TIME),
    ],
    ids=["short", "long"],
)
async def test_fifty_uploads_leave_hands_free_and_come_one_by_one_behind_newcomers(
    store: Store, size: int, queue: str, at_a_time: int
) -> None:
    large, small = await add_tenant(store), await add_tenant(store, nip=OTHER)
    for _ in range(50):
        await _acknowledge(store, large, size)
    async with store.jobs.app.open_async():
        first = await _take_jobs(store, queue, 50)
        assert len(first) <= at_a_time
        await _acknowledge(store, small, size)
        [newcomer] = await _take_jobs(store, queue, 1)
        assert await _owners(store, [newcomer]) == [small.id]
        # Whoever finishes makes room for the next of its own, and a second newcomer still comes before the fiftieth.
        for _ in range(3):
            await _acknowledge(store, small, size)
        for job in first:
            await store.jobs.app.job_manager.finish_job(job, Status.SUCCEEDED, delete_job=True)
        await store.jobs.app.job_manager.finish_job(newcomer, Status.SUCCEEDED, delete_job=True)
        following = await _owners(store, await _take_jobs(store, queue, 50))
    assert small.id in following
    assert 1 <= following.count(large.id) <= at_a_time


async def test_the_end_of_a_job_wakes_whoever_could_start_the_one_behind_it(store: Store) -> None:
    tenant = await add_tenant(store)
    await _acknowledge(store, tenant, 1)
    woken = anyio.Event()

    async def wake(**_: Any) -> None:
        woken.set()

    manager = store.jobs.app.job_manager
    async with store.jobs.app.open_async():
        [job] = await _take_jobs(store, INTAKE_SHORT, 1)
        listening = asyncio.create_task(manager.listen_for_jobs(on_notification=wake, queues=[INTAKE_SHORT]))
        with anyio.fail_after(20):
            # Until the listener listens, announcements pass it by.
            while not woken.is_set():
                await manager.finish_job(job, Status.SUCCEEDED, delete_job=True)
                await asyncio.sleep(0.05)
                if not woken.is_set():
                    await _acknowledge(store, tenant, 1)
                    [job] = await _take_jobs(store, INTAKE_SHORT, 1)
        listening.cancel()


async def test_many_single_posts_are_checked_in_several_jobs_so_that_others_come_between(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(singles, "_BATCHES", 2)
    monkeypatch.setattr(singles, "_GROUPS", 1)
    tenant = await add_tenant(context.store)
    lane = await context.store.tenants.ensure_lane(tenant, form_code="FA (3)", offline_mode=False)
    documents = invoices(3, nip=NIP)
    for number, document in enumerate(documents):
        blob_key = f"singles/{number}"
        await context.store.blobs.put(blob_key, document.xml)
        await context.store.singles.add_singles(
            tenant_id=tenant.id, lane_id=lane, upload_id=time_ordered_id(number, os.urandom(10)),
            chunk_id=chunk_id(number, os.urandom(10)), blob_key=blob_key,
            singles=[NewSingle(document.name, os.urandom(32), len(document.xml), 0)], offline_mode=False,
            group_sha256=os.urandom(32), now=utc_now(),
        )  # fmt: skip
    await context.store.database.execute("DELETE FROM procrastinate_jobs")
    await singles.check_singles(context, tenant.id)
    states = "SELECT state, count(*) AS n FROM invoices GROUP BY state ORDER BY state"
    jobs = "SELECT task_name FROM procrastinate_jobs WHERE task_name = 'intake.check_singles'"
    assert await context.store.database.fetch_all(states) == [
        {"state": "queued", "n": 2},
        {"state": "received", "n": 1},
    ]
    assert len(await context.store.database.fetch_all(jobs)) == 1
    await singles.check_singles(context, tenant.id)
    assert await context.store.database.fetch_all(states) == [{"state": "queued", "n": 3}]


async def test_room_in_memory_is_given_back_however_reading_ends(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await add_tenant(context.store)
    body = zip_of(invoices(2 * CHUNK_ENTRIES, nip=NIP))
    await read(context, await add_upload(context.store, tenant, body))
    assert not context.chunk_slots._running

    async def fail(*_: Any, **__: Any) -> None:
        raise DatabaseUnavailable("the database does not answer")

    monkeypatch.setattr(type(context.store.chunks), "commit", fail)
    upload = await add_upload(context.store, tenant, body)
    with pytest.raises(ExceptionGroup):
        await intake.read_upload(context, upload.id)
    assert not context.chunk_slots._running


async def test_no_tenant_takes_all_room_in_memory() -> None:
    slots = make_chunk_slots(2)
    taken = []
    with anyio.move_on_after(0.01):
        while True:
            taken.append(await slots.acquire("large"))
    assert len(taken) < slots.capacity
    with anyio.fail_after(60):
        await slots.acquire("small")


async def test_intake_pauses_while_the_disk_is_low_and_goes_on_by_itself(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await add_tenant(context.store)
    upload = await add_upload(context.store, tenant, zip_of(invoices(3, nip=NIP)))

    async def low(_: Disk) -> Space:
        return Space(free=1, reserved=1_000)

    with monkeypatch.context() as full:
        full.setattr(Disk, "space", low)
        with pytest.raises(ExceptionGroup) as refused:
            await intake.read_upload(context, upload.id)
        assert refused.group_contains(DiskLow)
        assert await context.store.database.fetch_all("SELECT id FROM chunks") == []
    assert (await read(context, upload)).counts[InvoiceState.QUEUED] == 3


UPLOAD = "0198f2aa-0000-7000-8000-000000000001"


def _job(task: Task, attempts: int) -> Job:
    return Job(
        id=1, queue="intake", lock="intake:1:0", queueing_lock=None, task_name=task.value, attempts=attempts,
        task_kwargs={"upload_id": UPLOAD},
    )  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnavailable("away"),
        BlobStoreUnavailable("full"),
        ExceptionGroup("from a task group", [ExceptionGroup("and another", [DiskLow("low")])]),
    ],
    ids=["database", "blobs", "disk"],
)
def test_trouble_of_our_own_is_tried_again_within_half_a_minute_and_keeps_the_tenants_turn(error: Exception) -> None:
    for attempts in (0, 3, 30):
        decision = StageRetryStrategy(JobNames()).get_retry_decision(
            exception=error, job=_job(Task.READ_UPLOAD, attempts)
        )
        assert decision.retry_at is not None
        assert 0 < (decision.retry_at - utc_now()).total_seconds() <= 25
        assert decision.lock is None


@pytest.mark.parametrize("error", [BlobMissing("gone"), ValueError("a fault of ours"), TryLater("x")])
def test_an_upload_that_cannot_be_read_does_not_hold_up_those_behind_it(error: Exception) -> None:
    decision = StageRetryStrategy(JobNames()).get_retry_decision(exception=error, job=_job(Task.READ_UPLOAD, 30))
    own = isinstance(error, TryLater) and error.status == 503
    assert decision.lock == (None if own else f"upload:{UPLOAD}")
    assert decision.retry_at is not None
    assert ((decision.retry_at - utc_now()).total_seconds() > 200) is not own
    other = StageRetryStrategy(JobNames()).get_retry_decision(exception=error, job=_job(Task.PACK_SESSION, 30))
    assert other.lock is None
