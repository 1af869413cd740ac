"""The check service: one pool, one set of limits and one finding, for the workers, the API and `ksefd validate`.

Processes are started clean and compile the schema once. A document that ends or hangs its process is found (see `culprits`) and
gets a finding; its neighbours are checked as if it were not there. Tenants take turns: a chunk waits for at most one chunk of each
other tenant. A tenant that finds all processes busy with other tenants gets one more process, the reserve, which is started when that
first happens.
"""

import asyncio
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pebble import ProcessExpired, ProcessPool

from app.checking.check_chunk import ChecksByPath, ChunkOutcome, ChunkTask, check_chunk, prepare
from app.checking.check_documents import DocumentsOutcome, DocumentsTask, check_documents
from app.checking.culprits import STALLED_SECONDS, Search, find_culprits
from app.checking.process_limits import enforce_limits
from app.errors import TryLater
from app.forms.registry import SchemaFiles
from app.observability.logs import get_logger
from app.process.fair_slots import FairSemaphore
from app.process.memory import freeze_startup_objects
from app.process.parent import end_with_parent
from app.schema_files import LateForms

log = get_logger(__name__)

# A healthy chunk takes a fraction of a second. Nothing is rejected when this has passed: the search for a culprit begins.
_SECONDS_A_DOCUMENT: Final = 0.05
_MOST_CHUNK_SECONDS: Final = 60.0
# A search finds all culprits, unless one is at the edge of its limit and survives only there.
_SEARCHES: Final = 3
# Some 400,000 invoices; a new process costs about half a second of CPU.
_TASKS_OF_A_PROCESS: Final = 400

Task = TypeVar("Task", ChunkTask, DocumentsTask)
Outcome = TypeVar("Outcome", ChunkOutcome, DocumentsOutcome)


class PoolBroken(TryLater):
    """The process pool broke for no fault of a document; the same chunk is checked again by a new one."""

    code = "pool-broken"
    title = "Process pool broken"


class CheckService:
    """Checks documents in processes. A context manager: leaving it ends them."""

    def __init__(
        self,
        workers: int,
        load_schema: Callable[[], SchemaFiles],
        *,
        fast_path: bool = True,
        niceness: int = 0,
        ahead: int = 1,
        tasks_of_a_process: int = _TASKS_OF_A_PROCESS,
        stalled_seconds: float = STALLED_SECONDS,
        count_checks: Callable[[ChecksByPath], None] | None = None,
        log_deaths: bool = True,
    ) -> None:
        """Take the settings; processes start with the first task.

        `load_schema` is called in each process at its start. `niceness` lowers the priority of the processes. `ahead` tasks are given to
        the processes beyond those that they work on, so that none idles while an outcome is taken from it. `count_checks` gets the number of
        checks of each task, by path and result. `log_deaths` is for processes whose log lines have a place.
        """
        self.workers = workers
        self._start = (load_schema, fast_path, niceness)
        self._tasks_of_a_process = tasks_of_a_process
        self._stalled_seconds = stalled_seconds
        self._count_checks = count_checks
        self._log_deaths = log_deaths
        own = workers + ahead
        self._slots = FairSemaphore(own + 1, most_of_one=own, most_of_limited=max(1, workers // 2))
        self._running: Counter[Hashable] = Counter()
        self._reserve_is_free = True
        self._pools: dict[bool, ProcessPool] = {}
        """By whether it is the reserve."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes and fail the tasks under way. Safe to call twice; takes some seconds at most."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.stop()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        for pool in pools.values():
            pool.join(timeout=5)

    async def check(self, task: ChunkTask) -> ChunkOutcome:
        """Check a chunk of an upload or of single posts. Never fails for what a document contains."""
        outcome = await self._check(check_chunk, task)
        self._count(outcome.checks)
        return outcome

    async def check_documents(self, task: DocumentsTask) -> DocumentsOutcome:
        """Check documents for their findings alone. Never fails for what a document contains."""
        outcome = await self._check(check_documents, task)
        self._count(outcome.checks)
        return outcome

    async def _check(self, work: Callable[[Task], Outcome], task: Task) -> Outcome:
        """Run the work; when its process dies or hangs, find the culprits and run it without them."""
        seconds = min(_MOST_CHUNK_SECONDS, self._stalled_seconds + _SECONDS_A_DOCUMENT * len(task.entries))
        try:
            outcome: Outcome = await self._run(task.tenant_id, work, task, seconds)
        except (ProcessExpired, FutureTimeout) as error:
            self._log_death(error, task)
        else:
            return outcome
        # The search is long when many documents hang; meanwhile the tenant has half of the processes at most.
        with self._slots.limited(task.tenant_id):
            for _ in range(_SEARCHES):
                try:
                    task = await self._without_culprits(task)
                    outcome = await self._run(task.tenant_id, work, task, 4 * seconds)
                except (ProcessExpired, FutureTimeout) as error:
                    self._log_death(error, task)
                else:
                    return outcome
        raise PoolBroken("processes end while they check a chunk, and no document of it is the cause")

    async def _without_culprits(self, task: Task) -> Task:
        search = Search(task.entries, task.context, task.culprits, self._stalled_seconds)
        found: dict[int, str] = await self._run(task.tenant_id, find_culprits, search, None)
        if self._log_deaths:
            log.warning("documents_isolated", count=len(found), causes=dict(Counter(found.values())))
        return replace(task, culprits=task.culprits | found.keys())

    def _log_death(self, error: Exception, task: ChunkTask | DocumentsTask) -> None:
        if self._log_deaths:
            log.warning("pool_process_killed", reason=type(error).__name__, entries=len(task.entries))

    def _count(self, checks: ChecksByPath) -> None:
        if self._count_checks is not None:
            self._count_checks(checks)

    async def _run(self, owner: Hashable, work: Callable[[Any], Any], task: Any, seconds: float | None) -> Any:
        async with self._slots.slot(owner):
            with self._place_for(owner) as reserve:
                return await self._run_now(work, task, seconds, reserve=reserve)

    @contextmanager
    def _place_for(self, owner: Hashable) -> Iterator[bool]:
        """Choose the reserve for a tenant that has nothing in the processes while other tenants have all of them."""
        reserve = self._reserve_is_free and self._running.total() >= self.workers and not self._running[owner]
        if reserve:
            self._reserve_is_free = False
        else:
            self._running[owner] += 1
        try:
            yield reserve
        finally:
            if reserve:
                self._reserve_is_free = True
            else:
                self._running[owner] -= 1
                if not self._running[owner]:
                    del self._running[owner]

    async def _run_now(self, work: Callable[[Any], Any], task: Any, seconds: float | None, *, reserve: bool) -> Any:
        if reserve not in self._pools:
            self._pools[reserve] = self._make(1 if reserve else self.workers)
        pool = self._pools[reserve]
        try:
            future = pool.schedule(work, args=[task], timeout=seconds)
            return await asyncio.wrap_future(future)
        except (ProcessExpired, FutureTimeout):
            # OSErrors by their types, which do not mean a broken pool.
            raise
        except (BrokenProcessPool, RuntimeError, OSError) as error:
            # Its processes cannot even start, or the library has given up on them: only a new pool can go on.
            if self._pools.get(reserve) is pool:
                del self._pools[reserve]
                pool.stop()  # type: ignore[no-untyped-call]  # the library leaves it untyped
            raise PoolBroken(f"the process pool broke ({error}); the job is run again with a new one") from error

    def _make(self, workers: int) -> ProcessPool:
        return ProcessPool(
            max_workers=workers,
            # The parser keeps every name that it ever met: a process is replaced before hostile ones could fill it.
            max_tasks=self._tasks_of_a_process,
            # Started clean: a fork would copy locks and connections of a process with threads and an event loop.
            context=multiprocessing.get_context("spawn"),
            initializer=_start_process,
            # The function that loads the files and not the files: what a new process is given is written into a pipe that its parent keeps
            # open, and a process killed while it starts would leave the parent waiting for ever once the pipe is full.
            initargs=self._start,
        )


def _start_process(load_schema: Callable[[], SchemaFiles], fast_path: bool, niceness: int) -> None:
    end_with_parent()
    os.nice(niceness)
    enforce_limits()
    prepare(load_schema(), LateForms(load_schema), fast_path=fast_path)
    freeze_startup_objects()
