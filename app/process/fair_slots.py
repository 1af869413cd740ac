"""A bounded number of turns at a time, dealt out in rotation among those who wait."""

from collections import Counter
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio

from app.domain.fairness import FairQueue


class Turn:
    """One turn, held until it is given back."""

    def __init__(self, turns: "FairSemaphore", owner: Hashable) -> None:
        self._turns = turns
        self._owner = owner
        self._granted = anyio.Event()
        self._over = False

    def give_back(self) -> None:
        """Let the next one have it. Safe to call twice."""
        if not self._over:
            self._over = True
            self._turns._end(self._owner)


class FairSemaphore:
    """At most `capacity` turns at a time, and of one owner at most `most_of_one`. Belongs to one event loop at a time."""

    def __init__(self, capacity: int, *, most_of_one: int | None = None, most_of_restrained: int | None = None) -> None:
        """`most_of_restrained` limits an owner while it is restrained; without it half of the capacity."""
        self.capacity = capacity
        self._most = min(capacity, most_of_one or capacity)
        self._most_of_restrained = max(1, min(self._most, most_of_restrained or capacity // 2))
        self._waiting: FairQueue[Turn] = FairQueue()
        self._running: Counter[Hashable] = Counter()
        self._restrained: Counter[Hashable] = Counter()

    async def take(self, owner: Hashable) -> Turn:
        """Wait for a turn, as long as every other waiting owner has one first. The caller gives it back."""
        turn = Turn(self, owner)
        self._waiting.push(owner, turn)
        self._deal()
        try:
            await turn._granted.wait()
        except BaseException:
            if turn._granted.is_set():
                turn.give_back()
            else:
                self._waiting.remove(owner, turn)
            raise
        return turn

    @asynccontextmanager
    async def turn(self, owner: Hashable) -> AsyncIterator[None]:
        """Hold a turn for the length of the block."""
        turn = await self.take(owner)
        try:
            yield
        finally:
            turn.give_back()

    @contextmanager
    def restrained(self, owner: Hashable) -> Iterator[None]:
        """Limit an owner to `most_of_restrained` turns for the length of the block, because its turns take long."""
        self._restrained[owner] += 1
        try:
            yield
        finally:
            self._restrained[owner] -= 1
            if not self._restrained[owner]:
                del self._restrained[owner]
            self._deal()

    def _may(self, owner: Hashable) -> bool:
        most = self._most_of_restrained if owner in self._restrained else self._most
        return self._running[owner] < most

    def _deal(self) -> None:
        while self._running.total() < self.capacity and (following := self._waiting.pop(self._may)) is not None:
            owner, turn = following
            self._running[owner] += 1
            turn._granted.set()

    def _end(self, owner: Hashable) -> None:
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]
        self._deal()
