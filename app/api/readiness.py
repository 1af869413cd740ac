"""Checks the database and the object store for `/readyz`, once for all requests that ask at the same time."""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from anyio.abc import TaskGroup

from app.observability.logs import get_logger

ANSWER_SECONDS: Final = 0.8
"""How long a request waits for the check; a check that takes longer counts as a fault."""

Faults = list[tuple[str, str]]

log = get_logger(__name__)


class Readiness:
    """One check for all requests that arrive while it runs.

    A check is never cancelled, since that would cost a connection to the database.
    """

    def __init__(self, check: Callable[[], Awaitable[Faults]], tasks: TaskGroup) -> None:
        """Start without a check; `tasks` runs the checks and must outlive every call."""
        self._check = check
        self._tasks = tasks
        self._running: anyio.Event | None = None
        self._faults: Faults = []

    async def faults(self) -> Faults:
        """Return the parts that do not work, each with the reason, within a second."""
        if self._running is None:
            self._running = anyio.Event()
            self._tasks.start_soon(self._run, self._running, name="readiness")
        ended = self._running
        with anyio.move_on_after(ANSWER_SECONDS):
            await ended.wait()
        if ended.is_set():
            return self._faults
        return [("store", f"the database or the object store has not answered within {ANSWER_SECONDS} seconds")]

    async def _run(self, ended: anyio.Event) -> None:
        try:
            self._faults = await self._check()
        except Exception as error:
            # Without this, one unexpected error would end the task group and with it the API.
            log.exception("readiness_not_checked")
            self._faults = [("store", f"the check failed: {type(error).__name__}")]
        finally:
            self._running = None
            ended.set()
