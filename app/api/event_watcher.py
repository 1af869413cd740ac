"""Waiting for events: one question a turn to the database for all requests that wait, however many they are.

Whoever writes an event tells nobody: NOTIFY inside those transactions would make them commit one after the other. So the
API asks, twice a second and only while somebody waits, how far the events of the waiting tenants go.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio

from app.api.http.errors import Busy
from app.observability.logs import get_logger
from app.store.database import DatabaseUnavailable
from app.store.events.feed import EventFeed, Place

TURN_SECONDS: Final = 0.5
"""Between two questions to the database. An event waits for half of this on average."""

AWAY_SECONDS: Final = 3.0
"""Between two questions while the database does not answer."""

MAX_WAITING: Final = 400
"""Requests that wait or stream in this process: each holds a connection, of which the server takes 1,024."""

MAX_WAITING_OF_A_TENANT: Final = 20
"""So that one tenant leaves room for everybody else."""

_QUESTION_SECONDS: Final = 10.0

log = get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Waiter:
    """One request that waits for something beyond a place."""

    place: Place
    woken: anyio.Event = field(default_factory=anyio.Event)


class EventWatcher:
    """Wakes requests when their tenant has events beyond the place that they have seen."""

    def __init__(
        self,
        feed: EventFeed,
        *,
        turn_seconds: float = TURN_SECONDS,
        most: int = MAX_WAITING,
        most_of_a_tenant: int = MAX_WAITING_OF_A_TENANT,
    ) -> None:
        self._feed = feed
        self._turn_seconds = turn_seconds
        self._most = most
        self._most_of_a_tenant = most_of_a_tenant
        self._waiters: dict[int, set[_Waiter]] = {}
        self._taken: Counter[int] = Counter()
        self._somebody_waits = anyio.Event()
        self._ending = anyio.Event()

    @property
    def is_ending(self) -> bool:
        """True once the process is asked to stop: nobody is to wait any more."""
        return self._ending.is_set()

    @property
    def waiting(self) -> int:
        """How many requests hold a place to wait at."""
        return self._taken.total()

    def end(self) -> None:
        """Let everybody who waits go, now and from now on. Safe to call twice."""
        self._ending.set()
        self._somebody_waits.set()
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.woken.set()

    @contextmanager
    def seat(self, tenant_id: int) -> Iterator[None]:
        """Let one request of a tenant wait as often as it likes inside the block. Raises Busy when too many do."""
        if self._taken[tenant_id] >= self._most_of_a_tenant:
            raise Busy(f"{self._most_of_a_tenant} requests of this tenant wait for events already")
        if self._taken.total() >= self._most:
            raise Busy("too many requests wait for events")
        self._taken[tenant_id] += 1
        try:
            yield
        finally:
            self._taken[tenant_id] -= 1
            if not self._taken[tenant_id]:
                del self._taken[tenant_id]

    async def beyond(self, tenant_id: int, place: Place, *, seconds: float) -> bool:
        """Wait until the tenant has an event beyond a place; False when the time is up or the process is to stop."""
        if self.is_ending or seconds <= 0:
            return False
        waiter = _Waiter(place)
        self._waiters.setdefault(tenant_id, set()).add(waiter)
        self._somebody_waits.set()
        try:
            with anyio.move_on_after(seconds):
                await waiter.woken.wait()
        finally:
            waiters = self._waiters[tenant_id]
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[tenant_id]
        return waiter.woken.is_set() and not self.is_ending

    async def pause(self, seconds: float) -> None:
        """Wait for a time, or until the process is to stop."""
        with anyio.move_on_after(seconds):
            await self._ending.wait()

    async def run(self) -> None:
        """Ask and wake until the process is to stop."""
        while not self.is_ending:
            if not self._waiters:
                self._somebody_waits = anyio.Event()
                await self._somebody_waits.wait()
                continue
            await self.pause(self._turn_seconds if await self._wake() else AWAY_SECONDS)

    async def _wake(self) -> bool:
        tenants = list(self._waiters)
        try:
            with anyio.fail_after(_QUESTION_SECONDS):
                newest = await self._feed.newest(tenants)
        except (DatabaseUnavailable, TimeoutError) as error:
            log.warning("events_not_watched", waiting=self.waiting, cause=repr(error))
            return False
        except Exception:
            # Those who wait would wait in vain from now on, without anybody noticing.
            log.exception("events_not_watched", waiting=self.waiting)
            return False
        for tenant_id, place in newest.items():
            for waiter in self._waiters.get(tenant_id, ()):
                if place > waiter.place:
                    waiter.woken.set()
        return True
