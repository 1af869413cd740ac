"""The running sandbox: its options, clock, keys, state, limits, faults and pool."""

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
from typing import Any, ParamSpec, TypeVar

from sandbox.clock import MovableClock
from sandbox.keys import make_keys, restored_keys
from sandbox.options import LimitProfile, SandboxOptions, Validation
from sandbox.pool.forms import accepted_forms
from sandbox.pool.package import enter_pool, warm_up
from sandbox.state.faults import FaultBook
from sandbox.state.file import StateFile
from sandbox.state.memory import SandboxState
from sandbox.state.ratelimits import make_limiter
from sandbox.state.tables import current_notes

_P = ParamSpec("_P")
_R = TypeVar("_R")
_LONGEST_WINDOW_SECONDS = 3600.0

logger = logging.getLogger("sandbox")


class Sandbox:
    """One sandbox. `start` before the first request, `stop` after the last."""

    def __init__(self, options: SandboxOptions, clock: MovableClock | None = None) -> None:
        self.options = options
        self.forms = accepted_forms(options.schemas)
        self.clock = clock or MovableClock()
        self.state = SandboxState()
        self.limiter = make_limiter(options.api, enforced=options.limits is not LimitProfile.OFF)
        self.faults = FaultBook()
        self.deciding = asyncio.Lock()
        """Lock around the verdicts of one package, so that a restart decides every package in the same way."""
        self._file = StateFile(options.state) if options.state is not None else None
        restored = self._restore(self._file) if self._file is not None else False
        if not restored:
            self.keys = make_keys(self.clock.now())
        self.folder = self._file.folder if self._file else Path(tempfile.mkdtemp(prefix="ksef-sandbox-"))
        self._pool = self._make_pool()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Let the pool compile the schema before the first request needs it."""
        self._pool.submit(warm_up, self.options.validation is Validation.FULL)

    async def stop(self) -> None:
        """Stop all work. Without a state file all data are deleted, with one a restart continues the work."""
        await self._cancel_tasks()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._file is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self._file.close()

    async def reset(self) -> None:
        """Delete the state except the keys, so that clients need not fetch the keys again."""
        await self._cancel_tasks()
        self.state = SandboxState()
        self.limiter.clear()
        self.faults.clear()
        self.clock.reset()
        if self._file is not None:
            await self._file.empty()
        await asyncio.to_thread(_delete_files, self.folder)

    async def save(self) -> None:
        """Save the changes of this request or task in the state file, if there is one."""
        if self._file is not None:
            await self._file.save(self.state, current_notes(), self._others(), self.limiter.bookings)

    async def in_pool(self, work: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Run CPU work in the pool. A broken pool is replaced, and the caller gets BrokenProcessPool."""
        pool = self._pool
        try:
            return await asyncio.wrap_future(pool.submit(work, *args, **kwargs))
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = self._make_pool()
            raise

    def in_background(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run work that outlives its request and save its changes; the work must handle its own failures."""
        task = asyncio.get_running_loop().create_task(self._and_save(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _and_save(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        await work()
        await self.save()

    def new_file(self, stem: str) -> Path:
        """Return an unused path in the sandbox's folder."""
        return self.folder / f"{stem}-{secrets.token_hex(4)}"

    async def _cancel_tasks(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _others(self) -> dict[str, Any]:
        """Return the values that the state file keeps besides the state."""
        limiter = self.limiter
        return {
            "keys": self.keys.saved(),
            "clock": self.clock.setting,
            "faults": self.faults,
            "overrides": limiter.overrides,
            "blocks": limiter.blocks,
        }

    def _restore(self, file: StateFile) -> bool:
        """Load the state from the file; False if the file is new. Raises UnusableState."""
        self.limiter.remember = True
        found = file.read(("keys", "clock", "faults", "overrides", "blocks"))
        if found is None:
            return False
        self.state, others = found
        self.keys = restored_keys(others["keys"])
        self.clock.restore(others["clock"])
        self.faults = others["faults"]
        self.limiter.overrides = others["overrides"]
        self.limiter.blocks = others["blocks"]
        file.read_bookings(self.limiter, self.clock.now().timestamp() - _LONGEST_WINDOW_SECONDS)
        return True

    def _make_pool(self) -> ProcessPoolExecutor:
        # Processes are spawned, because the server has threads, and a forked process with threads may hang.
        return ProcessPoolExecutor(self.options.pool_processes, mp_context=get_context("spawn"), initializer=enter_pool)


def _delete_files(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
