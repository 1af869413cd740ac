"""Start and end of one worker process: it opens the store, the pool and KSeF once and binds the stages to their queues."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

import anyio
import uvloop

from app.checking.service import CheckService
from app.clock import Clock, utc_now
from app.ksef.keys import PublicKeys
from app.ksef.latarnia import Latarnia
from app.ksef.storage import StorageClient
from app.ksef.transport import KsefTransport, RequestRecord, make_http_client
from app.observability import metrics
from app.observability.logs import configure_logging, get_logger
from app.process.fair_slots import FairSemaphore
from app.process.heartbeat import end_with_supervisor, send_heartbeats
from app.process.memory import freeze_startup_objects
from app.settings import Settings
from app.store.database_errors import DatabaseUnavailable
from app.store.installation_wait import wait_for_installation
from app.store.installed_schemas import schema_loader
from app.store.jobs import INTAKE_SHORT
from app.store.store import Store, open_store
from app.webhooks.network import stop_sniffio_searches
from workers.context import KsefClients, WorkerContext
from workers.delivery.dispatcher import Dispatcher, delivery_context
from workers.ksef.health_monitor import KsefHealthMonitor
from workers.ksef.quota_gate import Quota
from workers.maintenance import HEARTBEAT_SECONDS, STALLED_AFTER_SECONDS, start_reconciliations
from workers.sessions.ownership import check_longest_call
from workers.tasks import register

log = get_logger(__name__)

# Groups of queues, each with its number of concurrent jobs. Long uploads mostly wait for a slot of the pool, so many may be read at a
# time; short jobs have a group of their own and never wait behind them. Sessions are many and mostly wait for KSeF.
_WORKER_POOLS: Final = (
    (("intake",), 16),
    ((INTAKE_SHORT,), 8),
    (("sealing",), 2),
    (("packing",), 2),
    (("dispatch", "tracking"), 8),
    (("duplicates",), 2),
    (("webhooks",), 2),
    (("maintenance",), 2),
)
_CONNECTIONS: Final = 24
# Chunks that are being read, or checked and stored: up to four megabytes each.
_CHUNKS_BESIDE_THE_POOL: Final = 4
_CHUNKS_FOR_NEWCOMERS: Final = 2
# Jobs can be run again, so a stop does not wait long for them.
_GRACE_SECONDS: Final = 3.0
_POOL_PAUSE_SECONDS: Final = 2.0
_NICENESS: Final = 5
# Added to the worker's own: the API on the same machine must answer while the pool is busy.
_POOL_NICENESS: Final = 10


@asynccontextmanager
async def worker_context(
    settings: Settings, store: Store, pool: CheckService, clock: Clock = utc_now
) -> AsyncIterator[WorkerContext]:
    """Open the clients of KSeF and its storage, and give the stages their context."""
    async with (
        make_http_client() as calls,
        make_http_client() as storage_links,
        make_http_client(max_connections=1) as status_calls,
    ):
        quota = Quota(store.quota, store.limits, clock)
        health_monitor = KsefHealthMonitor(store.outages, settings.ksef_base_url, clock)
        transport = KsefTransport(
            settings.ksef_base_url, calls, gate=quota.gate(), watch=health_monitor, on_request=_count_request
        )
        status_url = settings.latarnia_base_url
        yield WorkerContext(
            settings=settings,
            store=store,
            pool=pool,
            ksef=KsefClients(
                store,
                transport,
                StorageClient(storage_links, on_request=_count_request),
                PublicKeys(transport, now=clock),
                quota,
                clock,
            ),
            quota=quota,
            ksef_health=health_monitor,
            latarnia=Latarnia(status_url, status_calls) if status_url is not None else None,
            clock=clock,
            part_uploads=anyio.CapacityLimiter(settings.upload_concurrency),
            chunk_slots=make_chunk_slots(pool.workers),
            check_nip_checksums=settings.checks_nip_checksums,
        )


def make_chunk_slots(pool_workers: int) -> FairSemaphore:
    """Return slots for as many chunks as keep a pool busy. One tenant alone never gets all of them."""
    chunks = 2 * pool_workers + _CHUNKS_BESIDE_THE_POOL
    return FairSemaphore(chunks, most_of_one=chunks - _CHUNKS_FOR_NEWCOMERS)


def run_worker(settings: Settings) -> int:
    """Run a worker until SIGTERM or SIGINT; return the exit code. Unfinished jobs are run again by another worker."""
    end_with_supervisor()
    configure_logging(settings)
    check_longest_call(settings.part_bytes)
    stop_sniffio_searches()
    # Lower the CPU priority of this process, so that API requests on this machine stay fast.
    os.nice(_NICENESS)
    load_schema = schema_loader(settings)
    # Loaded here too, so that missing files stop the start with one line.
    load_schema()
    with CheckService(
        settings.pool_workers,
        load_schema,
        fast_path=settings.uses_fast_path,
        niceness=_POOL_NICENESS,
        count_checks=metrics.count_checks,
    ) as pool:
        # A worker makes very many small calls to the database, which cost half as much in this event loop.
        return uvloop.run(_run(settings, pool))


async def _run(settings: Settings, pool: CheckService) -> int:
    metrics.start_at_zero()
    while True:
        ended = asyncio.Event()
        waiting = asyncio.ensure_future(send_heartbeats(ended))
        try:
            await wait_for_installation(settings)
        finally:
            ended.set()
            await waiting
        async with AsyncExitStack() as stack:
            try:
                store = await stack.enter_async_context(open_store(settings, max_connections=_CONNECTIONS))
                context = await stack.enter_async_context(worker_context(settings, store, pool))
                register(store.jobs.app, context)
                await stack.enter_async_context(store.jobs.opened())
                async with store.database.connection() as connection:
                    await start_reconciliations(context, connection)
            except DatabaseUnavailable:
                # It was there a moment ago, so wait for it again.
                continue
            freeze_startup_objects()
            log.info("worker_started", pool_workers=settings.pool_workers, ksef=settings.ksef_base_url)
            return await _work(store, Dispatcher(delivery_context(store, settings, utc_now)), settings.stop_seconds)


async def _work(store: Store, dispatcher: Dispatcher, stop_seconds: float) -> int:
    app = store.jobs.app
    worker_pools = [
        asyncio.ensure_future(
            _lasting(
                "-".join(queues),
                partial(
                    app.run_worker_async,
                    queues=list(queues),
                    concurrency=concurrency,
                    name=f"{'-'.join(queues)}@{os.getpid()}",
                    install_signal_handlers=False,
                    delete_jobs="successful",
                    # A new job is announced, but the worker misses announcements that come while it fetches jobs.
                    fetch_job_polling_interval=0.5 if INTAKE_SHORT in queues else 2.0,
                    update_heartbeat_interval=HEARTBEAT_SECONDS,
                    stalled_worker_timeout=STALLED_AFTER_SECONDS,
                    shutdown_graceful_timeout=min(_GRACE_SECONDS, stop_seconds),
                ),
            )
        )
        for queues, concurrency in _WORKER_POOLS
    ]
    # Deliveries are too many to have a job each.
    worker_pools.append(asyncio.ensure_future(_lasting("deliveries", dispatcher.run)))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stopped = asyncio.ensure_future(stop.wait())
    heartbeats = asyncio.ensure_future(send_heartbeats(stop))
    try:
        await stopped
    finally:
        for task in (*worker_pools, stopped, heartbeats):
            task.cancel()
        await asyncio.gather(*worker_pools, return_exceptions=True)
    log.info("worker_stopped", asked=stop.is_set())
    return 0 if stop.is_set() else 1


async def _lasting(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a pool without end: one that ends by itself, for example because the database is away, is started again."""
    while True:
        error: Exception | None = None
        try:
            await run()
        except Exception as trouble:
            error = trouble
        log.warning("worker_pool_failed", pool=name, error=repr(error))
        await asyncio.sleep(_POOL_PAUSE_SECONDS)


def _count_request(record: RequestRecord) -> None:
    metrics.KSEF_REQUESTS.labels(group=record.group.value, status=record.status).inc()
