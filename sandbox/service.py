"""The running sandbox: options, clock, keys, memory, limits, faults and the pool, held together."""

import asyncio
import logging
import secrets
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

from sandbox.clock import MovableClock
from sandbox.faults import FaultBook
from sandbox.keys import make_keys
from sandbox.options import LimitProfile, SandboxOptions, Validation
from sandbox.ratelimits import DEFAULT_LIMITS, UNLIMITED, RateLimiter
from sandbox.state import SandboxState
from sandbox.work.package import enter_pool, warm_up

_P = ParamSpec("_P")
_R = TypeVar("_R")

logger = logging.getLogger("sandbox")


class Sandbox:
    """One sandbox. `start` before the first request, `stop` after the last."""

    def __init__(self, options: SandboxOptions, clock: MovableClock | None = None) -> None:
        self.options = options
        self.clock = clock or MovableClock()
        self.keys = make_keys(self.clock.now())
        self.state = SandboxState()
        enforced = options.limits is not LimitProfile.OFF
        self.limiter = RateLimiter(dict(DEFAULT_LIMITS) if enforced else dict.fromkeys(DEFAULT_LIMITS, UNLIMITED))
        self.faults = FaultBook()
        self.folder = Path(tempfile.mkdtemp(prefix="ksef-sandbox-"))
        self._pool = self._make_pool()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Let the pool compile the schema while nobody waits for it."""
        self._pool.submit(warm_up, self.options.validation is Validation.FULL)

    async def stop(self) -> None:
        """Stop all work and delete every file."""
        await self._cancel_tasks()
        self._pool.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def reset(self) -> None:
        """Forget everything except the keys, so that clients need not fetch them again."""
        await self._cancel_tasks()
        self.state = SandboxState()
        self.limiter.clear()
        self.faults.clear()
        self.clock.reset()
        old, self.folder = self.folder, Path(tempfile.mkdtemp(prefix="ksef-sandbox-"))
        await asyncio.to_thread(shutil.rmtree, old, True)

    async def in_pool(self, work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Run long work in the pool. A pool that broke is replaced, and the caller sees BrokenProcessPool."""
        pool = self._pool
        try:
            return await asyncio.wrap_future(pool.submit(work, *args, **kwargs))
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = self._make_pool()
            raise

    def in_background(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run something that outlives its request; it must deal with its own failures."""
        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def new_file(self, stem: str) -> Path:
        """A path in the sandbox's folder that was not used before."""
        return self.folder / f"{stem}-{secrets.token_hex(4)}"

    async def _cancel_tasks(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _make_pool(self) -> ProcessPoolExecutor:
        # Spawned, not forked: the server has threads, and a fork of those may hang.
        return ProcessPoolExecutor(self.options.pool_processes, mp_context=get_context("spawn"), initializer=enter_pool)
