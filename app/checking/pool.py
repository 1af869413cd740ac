"""The process pool: chunks to processes that were started clean, with the schema compiled once in each.

A document that kills or hangs a process is found by bisecting its chunk, and is refused alone. Tenants take turns: a chunk
waits for at most one of each other tenant, however many those have waiting. A tenant that finds all processes with others need
not wait for them either: one more process, started when that first happens, is for such a chunk alone.
"""

import asyncio
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import connection
from time import monotonic
from types import TracebackType
from typing import Final, Self

from pebble import ProcessExpired, ProcessPool

from app.checking.check_chunk import ChunkOutcome, ChunkTask, check_chunk, prepare
from app.errors import TryLater
from app.forms.registry import SchemaFiles
from app.observability.logs import get_logger
from app.process.fair_slots import FairSemaphore
from app.process.memory import settle

log = get_logger(__name__)

# A healthy chunk takes a fraction of a second; large documents with attachments take tens of milliseconds each.
_CHUNK_SECONDS: Final = 60.0
_ALONE_SECONDS: Final = 15.0
# Halving is quick for one culprit and slow for many: each probe that fails has to be waited for. When a chunk has cost this
# much, the rest of its documents are tried one by one, each for as long as ten of the worst known documents take.
_SEARCH_SECONDS: Final = 120.0
_ONE_BY_ONE_SECONDS: Final = 5.0
# The API on the same machine must answer while the pool is busy.
_NICENESS: Final = 10
# Some 400,000 invoices; a new process costs about half a second of CPU.
_TASKS_OF_A_PROCESS: Final = 400
# Given to the processes beyond what they work on, so that none idles while an outcome is taken from it.
_CHUNKS_AHEAD: Final = 1


class PoolBroken(TryLater):
    """The process pool broke for no fault of a document; the same chunk is checked again by a new one."""

    code = "pool-broken"
    title = "Process pool broken"


@dataclass(slots=True)
class _Search:
    """The search for the culprits of one chunk."""

    lost: float = 0.0
    """Seconds that went into probes which failed."""

    @property
    def too_long(self) -> bool:
        return self.lost > _SEARCH_SECONDS


class CheckPool:
    """Processes that check chunks. A context manager: leaving it ends them."""

    def __init__(
        self,
        workers: int,
        load_schema: Callable[[], SchemaFiles],
        *,
        check: Callable[[ChunkTask], ChunkOutcome] = check_chunk,
        chunk_seconds: float = _CHUNK_SECONDS,
    ) -> None:
        """`load_schema` is called in each process at its start; `check` is what the processes do with a chunk."""
        self.workers = workers
        self._check = check
        self._chunk_seconds = chunk_seconds
        self._load_schema = load_schema
        own = workers + _CHUNKS_AHEAD
        self._turns = FairSemaphore(own + 1, most_of_one=own)
        self._running: Counter[int] = Counter()
        self._reserve_is_free = True
        self._pools = {False: self._make(workers)}
        """By whether it is the reserve."""

    def _make(self, workers: int) -> ProcessPool:
        return ProcessPool(
            max_workers=workers,
            # The parser keeps every name that it ever met: a process is replaced before hostile ones could fill it.
            max_tasks=_TASKS_OF_A_PROCESS,
            # Started clean: a fork would copy locks and connections of a process with threads and an event loop.
            context=multiprocessing.get_context("spawn"),
            initializer=_start_process,
            # The way to the files and not the files: what a new process is given is written into a pipe that its parent
            # keeps open, and a process killed while it starts would leave us waiting for ever once the pipe is full.
            initargs=(self._load_schema,),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes; what they were doing will be done again."""
        for pool in self._pools.values():
            pool.stop()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        for pool in self._pools.values():
            pool.join(timeout=5)

    async def check(self, task: ChunkTask) -> ChunkOutcome:
        """Check a chunk. Never fails for what a document contains: a document that cannot be survived gets a finding."""
        try:
            return await self._run(task, self._chunk_seconds)
        except (ProcessExpired, FutureTimeout) as error:
            log.warning("pool_process_killed", reason=type(error).__name__, entries=len(task.entries))
        # Looking for the culprit may hang process after process; meanwhile its tenant leaves some to others.
        with self._turns.restrained(task.tenant_id):
            poisoned = await self._culprits(task, range(len(task.entries)), _Search())
            log.warning("documents_isolated", count=len(poisoned))
            return await self._run(replace(task, poisoned=frozenset(poisoned)), self._chunk_seconds * 4)

    async def _culprits(self, task: ChunkTask, positions: range, search: "_Search") -> list[int]:
        """Find the positions that no process survives: by halves, or one by one when that has taken too long."""
        if not positions:
            return []
        if search.too_long and len(positions) > 1:
            return [found for one in positions for found in await self._culprits(task, range(one, one + 1), search)]
        probe = replace(
            task,
            entries=tuple(task.entries[position] for position in positions),
            ids=None,
            form_codes=None,
            upload_ids=task.upload_ids[:1],
            poisoned=frozenset(),
        )
        alone = _ONE_BY_ONE_SECONDS if search.too_long else _ALONE_SECONDS
        started = monotonic()
        try:
            await self._run(probe, min(self._chunk_seconds, alone + (len(positions) - 1) / 10))
        except (ProcessExpired, FutureTimeout):
            search.lost += monotonic() - started
            if len(positions) == 1:
                return [positions[0]]
        else:
            return []
        half = len(positions) // 2
        return [
            *await self._culprits(task, positions[:half], search),
            *await self._culprits(task, positions[half:], search),
        ]

    async def _run(self, task: ChunkTask, seconds: float) -> ChunkOutcome:
        async with self._turns.turn(task.tenant_id):
            with self._place_for(task.tenant_id) as reserve:
                return await self._run_now(task, seconds, reserve=reserve)

    @contextmanager
    def _place_for(self, tenant_id: int) -> Iterator[bool]:
        """Choose the reserve for a tenant that has nothing in the processes while others have all of them."""
        reserve = self._reserve_is_free and self._running.total() >= self.workers and not self._running[tenant_id]
        if reserve:
            self._reserve_is_free = False
        else:
            self._running[tenant_id] += 1
        try:
            yield reserve
        finally:
            if reserve:
                self._reserve_is_free = True
            else:
                self._running[tenant_id] -= 1
                if not self._running[tenant_id]:
                    del self._running[tenant_id]

    async def _run_now(self, task: ChunkTask, seconds: float, *, reserve: bool) -> ChunkOutcome:
        workers = 1 if reserve else self.workers
        if reserve not in self._pools:
            self._pools[reserve] = self._make(workers)
        pool = self._pools[reserve]
        try:
            future = pool.schedule(self._check, args=[task], timeout=seconds)
            outcome: ChunkOutcome = await asyncio.wrap_future(future)
        except (BrokenProcessPool, RuntimeError) as error:
            # Its processes cannot even start, or the library has given up on them: only a new pool can go on.
            if self._pools.get(reserve) is pool:
                self._pools[reserve] = self._make(workers)
                pool.stop()  # type: ignore[no-untyped-call]  # the library leaves it untyped
            raise PoolBroken(f"the process pool broke ({error}); the job is run again with a new one") from error
        return outcome


def _start_process(load_schema: Callable[[], SchemaFiles]) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()
    os.nice(_NICENESS)
    prepare(load_schema())
    settle()


def _die_with(sentinel: int) -> None:
    """End this process when its parent is gone: a killed worker must leave no orphans behind."""
    connection.wait([sentinel])
    os._exit(1)
