"""A semaphore that gives its slots to waiting owners in rotation."""

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio

from app.domain.fairness import FairQueue


class Slot:
    """One slot of a semaphore, held until it is released."""

    def __init__(self, semaphore: "FairSemaphore", owner: Hashable) -> None:
        self._semaphore = semaphore
        self._owner = owner
        self._granted = anyio.Event()
        self._released = False

    def release(self) -> None:
        """Give the slot to the next owner in the rotation. Safe to call twice."""
        if not self._released:
            self._released = True
            self._semaphore._release(self._owner)


class FairSemaphore:
    """A semaphore of `capacity` slots, of which one owner has at most `most_of_one`. Belongs to one event loop at a time."""

    def __init__(
        self,
        capacity: int,
        *,
        most_of_one: int | None = None,
        most_of_limited: int | None = None,
        newcomers_first: bool = False,
    ) -> None:
        """Create the slots. `most_of_limited` limits an owner inside `limited`; without it half of the capacity.

        With `newcomers_first` an owner without a slot gets the next one before all owners that have some.
        """
        self.capacity = capacity
        self._newcomers_first = newcomers_first
        self._most = min(capacity, most_of_one or capacity)
        self._most_of_limited = max(1, min(self._most, most_of_limited or capacity // 2))
        self._waiting: FairQueue[Slot] = FairQueue()
        self._running: Counter[Hashable] = Counter()
        self._limited: Counter[Hashable] = Counter()

    async def acquire(
        self, owner: Hashable, *, hurry_after: float = math.inf, hurry: Callable[[], None] = lambda: None
    ) -> Slot:
        """Wait for a slot, at most until every other waiting owner has got one. The caller releases it.

        `hurry` is called once when the wait has lasted `hurry_after` seconds.
        """
        slot = Slot(self, owner)
        self._waiting.push(owner, slot)
        self._grant()
        try:
            with anyio.move_on_after(hurry_after):
                await slot._granted.wait()
            if not slot._granted.is_set():
                hurry()
                await slot._granted.wait()
        except BaseException:
            if slot._granted.is_set():
                slot.release()
            else:
                self._waiting.remove(owner, slot)
            raise
        return slot

    @asynccontextmanager
    async def slot(self, owner: Hashable) -> AsyncIterator[None]:
        """Hold a slot for the length of the block."""
        slot = await self.acquire(owner)
        try:
            yield
        finally:
            slot.release()

    @contextmanager
    def limited(self, owner: Hashable) -> Iterator[None]:
        """Limit an owner to `most_of_limited` slots for the length of the block, because its work takes long."""
        self._limited[owner] += 1
        try:
            yield
        finally:
            self._limited[owner] -= 1
            if not self._limited[owner]:
                del self._limited[owner]
            self._grant()

    def _may(self, owner: Hashable) -> bool:
        most = self._most_of_limited if owner in self._limited else self._most
        return self._running[owner] < most

    def _is_newcomer(self, owner: Hashable) -> bool:
        return owner not in self._running and self._may(owner)

    def _next(self) -> tuple[Hashable, Slot] | None:
        newcomer = self._waiting.pop(self._is_newcomer) if self._newcomers_first else None
        return newcomer or self._waiting.pop(self._may)

    def _grant(self) -> None:
        while self._running.total() < self.capacity and (following := self._next()) is not None:
            owner, slot = following
            self._running[owner] += 1
            slot._granted.set()

    def _release(self, owner: Hashable) -> None:
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]
        self._grant()
