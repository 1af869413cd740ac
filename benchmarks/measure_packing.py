"""Measurement of packing, queued invoices to encrypted parts, on a real store and one core, compared with ksef-client."""

import asyncio
import logging
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import UUID, uuid4

import psutil
import structlog

from app.checking.service import CheckService
from app.clock import utc_now
from app.domain.ids import time_ordered_id
from app.forms.fa3.form import FA3
from app.ksef.login.certificates import self_signed_seal
from app.reading.kinds import BodyKind
from app.schema_files import load_schema_files
from app.settings import Settings
from app.store.embedded import EmbeddedPostgres
from app.store.installation import prepare_installation
from app.store.store import Store, open_store
from app.store.tenants.tenants import Tenant
from app.store.uploads.uploads import NewUpload, Upload
from benchmarks.measure import Figure, Goal, MeasurementFailed, Say, Scale, Yardstick
from benchmarks.measure_cargo import NIP, fresh_invoices, renumbered
from invoicegen.archives import write_zip
from invoicegen.invoices import GeneratedInvoice
from workers.context import WorkerContext
from workers.intake.uploads import read_upload
from workers.runtime import worker_context
from workers.sealing import seal_lane
from workers.sessions.packing import pack_session

_CHILD_SECONDS: Final = 180


@dataclass(frozen=True, slots=True)
class _Cost:
    """Cost of one way of packing."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """The peak of memory above the process's memory before."""


def measure_packing(scale: Scale, say: Say) -> list[Figure]:
    """Measure the packing stage as the worker runs it, and its memory; all processes, also PostgreSQL, are on one core."""
    count = scale.session_invoices
    say(f"packing: making {count:,} invoices")
    made = fresh_invoices(count)
    files = {one.name: one.xml for one in made}
    xml_bytes = sum(map(len, files.values()))
    say("packing: ksef-client")
    theirs = [_in_a_process(_pack_with_ksef_client, files) for _ in range(scale.rounds)]
    with TemporaryDirectory(prefix="ksefd-bench-", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "var"
        with EmbeddedPostgres(data) as server:
            settings = Settings(
                data_dir=data,
                database_url=server.url,
                linger_seconds=0,
                pool_workers=2,
                session_max_invoices=count,
                ksef_url="http://127.0.0.1:9/v2",
            )
            prepare_installation(settings)
            say(f"packing: queueing {scale.rounds} sessions")
            sessions = asyncio.run(_seal_sessions(settings, made, scale.rounds))
            say("packing: ours")
            with _postgres_on_one_core(data):
                ours = [_in_a_process(_pack_with_ours, (settings, session)) for session in sessions]
    size = f"{count:,} queued invoices, {xml_bytes / 1e6:.0f} MB of XML"
    return [
        Figure(
            "packing",
            f"packing {size}, on one core",
            median(one.seconds for one in ours),
            "s",
            Yardstick("ksef-client: build_zip + encrypt_batch_parts", median(one.seconds for one in theirs), "s"),
            Goal(0.5, full_size=count >= 10_000),
            note="ksef-client compresses in this step, we did so at intake",
            detail={
                "seconds": [one.seconds for one in ours],
                "cpu_seconds": [one.cpu_seconds for one in ours],
                "ksef_client_seconds": [one.seconds for one in theirs],
            },
        ),
        Figure(
            "packing",
            f"memory that packing {size} adds",
            median(one.peak_bytes for one in ours) / 1e6,
            "MB",
            Yardstick("ksef-client, its input not counted", median(one.peak_bytes for one in theirs) / 1e6, "MB"),
            detail={
                "peak_bytes": [one.peak_bytes for one in ours],
                "ksef_client_peak_bytes": [one.peak_bytes for one in theirs],
            },
        ),
    ]


async def _seal_sessions(settings: Settings, made: list[GeneratedInvoice], rounds: int) -> list[UUID]:
    """Process uploads by intake and sealing, and return the sealed sessions."""
    with CheckService(settings.pool_workers, load_schema_files) as pool:
        async with open_store(settings) as store, worker_context(settings, store, pool) as context:
            tenant = await add_tenant(store)
            for number in range(rounds):
                invoices = [renumbered(one, number) for one in made] if number else made
                upload = await add_upload(store, tenant, invoices)
                await read_upload(context, upload.id)
                lane = await store.tenants.ensure_lane(tenant, form_code=FA3.code, offline_mode=False)
                await seal_lane(context, lane)
            sessions = await store.sessions.page(tenant.id, before=None, state=None, limit=100)
    if [one.invoices for one in sessions] != [len(made)] * rounds:
        raise MeasurementFailed(f"sealed sessions of {[one.invoices for one in sessions]} invoices")
    return [one.id for one in sessions]


async def add_tenant(store: Store) -> Tenant:
    """Add the tenant of all measurements, with a seal that the sandbox accepts."""
    now = utc_now()
    certificate, key = self_signed_seal(NIP, "Bench", now=now)
    return await store.tenants.add(
        nip=NIP,
        name="Bench",
        credential_kind="self_signed",
        credential={"certificate": certificate.decode(), "key": key.decode()},
        compression="zip",
        now=now,
    )


async def add_upload(store: Store, tenant: Tenant, invoices: list[GeneratedInvoice]) -> Upload:
    """Store invoices as one ZIP upload, as the API does."""
    buffer = BytesIO()
    write_zip(buffer, invoices)
    body = buffer.getvalue()
    now = utc_now()
    blob_key = f"uploads/{uuid4().hex}"
    await store.blobs.put(blob_key, body)
    upload, _ = await store.uploads.add(
        NewUpload(
            id=time_ordered_id(int(now.timestamp() * 1000), os.urandom(10)),
            tenant_id=tenant.id,
            kind=BodyKind.ZIP.value,
            boundary=None,
            blob_key=blob_key,
            size=len(body),
            sha256=bytes(32),
            reference=None,
            idempotency_key=None,
            offline_mode=False,
            flush=False,
            atomic=False,
        ),
        now=now,
    )
    return upload


def _pack_with_ours(task: tuple[Settings, UUID]) -> _Cost:
    settings, session_id = task

    async def pack() -> _Cost:
        with CheckService(1, dict) as pool:
            async with open_store(settings) as store, worker_context(settings, store, pool) as context:
                return await _timed_packing(context, session_id)

    return asyncio.run(pack())


async def _timed_packing(context: WorkerContext, session_id: UUID) -> _Cost:
    # The first query opens connections and thread pools, which a running worker already has.
    await context.store.sessions.get_for_job(session_id)
    before = _reset_peak()
    started, cpu = time.perf_counter(), time.process_time()
    await pack_session(context, session_id)
    cost = _Cost(time.perf_counter() - started, time.process_time() - cpu, _peak() - before)
    if not await context.store.packages.parts(session_id):
        raise MeasurementFailed("the session has no parts")
    return cost


def _pack_with_ksef_client(files: dict[str, bytes]) -> _Cost:
    from ksef_client.services.batch import encrypt_batch_parts  # noqa: PLC0415 - the yardstick's process only
    from ksef_client.services.crypto import generate_iv, generate_symmetric_key  # noqa: PLC0415
    from ksef_client.utils.zip_utils import build_zip  # noqa: PLC0415

    before = _reset_peak()
    started, cpu = time.perf_counter(), time.process_time()
    parts, info = encrypt_batch_parts(build_zip(files), generate_symmetric_key(), generate_iv())
    cost = _Cost(time.perf_counter() - started, time.process_time() - cpu, _peak() - before)
    if len(parts) != len(info.file_parts):
        raise MeasurementFailed("ksef-client's parts and their descriptions differ in number")
    return cost


def _in_a_process(work: Callable[[Any], _Cost], task: Any) -> _Cost:
    """Run in a new process on a single core, so that neither way gains from the memory of this process."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(theirs, work), daemon=False)
    child.start()
    theirs.close()
    try:
        ours.send(task)
        if not ours.poll(_CHILD_SECONDS):
            raise MeasurementFailed("packing does not end")
        found = ours.recv()
    except EOFError as error:
        raise MeasurementFailed("the packing process ended early") from error
    finally:
        ours.close()
        child.join(timeout=10)
        if child.is_alive():
            child.kill()
            child.join()
    if isinstance(found, str):
        raise MeasurementFailed(found)
    cost: _Cost = found
    return cost


def _child(line: Connection, work: Callable[[Any], _Cost]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {_core()})
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        line.send(work(line.recv()))
    except Exception as error:
        line.send(f"{type(error).__name__}: {error}")
        raise


def _core() -> int:
    return min(os.sched_getaffinity(0))


class _postgres_on_one_core:  # noqa: N801 - used like a function
    """Context that binds the postmaster to the core of packing; backends started inside inherit the binding."""

    def __init__(self, data: Path) -> None:
        pid = int((data / "postgres" / "postmaster.pid").read_text().splitlines()[0])
        self._process = psutil.Process(pid)
        self._before: list[int] = []

    def __enter__(self) -> None:
        if hasattr(self._process, "cpu_affinity"):
            self._before = self._process.cpu_affinity() or []
            self._process.cpu_affinity([_core()])

    def __exit__(self, *_: object) -> None:
        if self._before:
            self._process.cpu_affinity(self._before)


def _reset_peak() -> int:
    """Reset the peak of memory, where the system can do it, and return the current bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        # Without a reset the peak since the start is an upper bound.
        return psutil.Process().memory_info().rss
    return psutil.Process().memory_info().rss


def _peak() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(peak * 1024)
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
