"""Wakes requests that wait for events, by one query to the database for all of them.

Transactions that write events send no NOTIFY, which would make them commit one after the other. Instead the API queries the newest
events of the waiting tenants, twice a second and only while requests wait.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import anyio

from app.api.http.errors import Busy
from app.errors import cause_fields
from app.observability.logs import get_logger
from app.store.database_errors import DatabaseError
from app.store.events.feed import EventCursor, EventFeed

POLL_SECONDS: Final = 0.5
"""Pause between two queries. An event is noticed after half of this on average."""

AWAY_SECONDS: Final = 3.0
"""Pause between two queries while the database does not answer."""

MAX_WAITING: Final = 400
"""Limit on requests that wait or stream in this process: each uses one of the server's 1,024 connections."""

MAX_WAITING_FOR_NEWCOMERS: Final = 200
"""More for tenants of which no request waits, so that twenty tenants do not stop all others."""

MAX_WAITING_OF_A_TENANT: Final = 20
"""Limit for one tenant, so that one alone cannot reach `MAX_WAITING`."""

_QUERY_SECONDS: Final = 10.0

log = get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Waiter:
    """One request that waits for an event after a cursor."""

    cursor: EventCursor
    woken: anyio.Event = field(default_factory=anyio.Event)


class EventWatcher:
    """Wakes requests when their tenant has events after the cursor that they have seen."""

    def __init__(
        self,
        feed: EventFeed,
        *,
        poll_seconds: float = POLL_SECONDS,
        most: int = MAX_WAITING,
        most_for_newcomers: int = MAX_WAITING_FOR_NEWCOMERS,
        most_of_a_tenant: int = MAX_WAITING_OF_A_TENANT,
    ) -> None:
        self._feed = feed
        self._poll_seconds = poll_seconds
        self._most = most
        self._most_for_newcomers = most_for_newcomers
        self._most_of_a_tenant = most_of_a_tenant
        self._waiters: dict[int, set[_Waiter]] = {}
        self._taken: Counter[int] = Counter()
        self._has_waiters = anyio.Event()
        self._ending = anyio.Event()

    @property
    def is_ending(self) -> bool:
        """Whether the process is stopping, so that no request may wait any more."""
        return self._ending.is_set()

    @property
    def waiting(self) -> int:
        """The number of occupied waiter slots."""
        return self._taken.total()

    def end(self) -> None:
        """Wake all requests, and let none wait from now on. Safe to call twice."""
        self._ending.set()
        self._has_waiters.set()
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.woken.set()

    @contextmanager
    def waiter_slot(self, tenant_id: int) -> Iterator[None]:
        """Occupy a slot for one request, which may wait repeatedly inside the block. Raises Busy when no slot is free."""
        if self._taken[tenant_id] >= self._most_of_a_tenant:
            raise Busy(f"{self._most_of_a_tenant} requests of this tenant already wait for events")
        most = self._most if self._taken[tenant_id] else self._most + self._most_for_newcomers
        if self._taken.total() >= most:
            raise Busy("too many requests wait for events")
        self._taken[tenant_id] += 1
        try:
            yield
        finally:
            self._taken[tenant_id] -= 1
            if not self._taken[tenant_id]:
                del self._taken[tenant_id]

    async def wait_beyond(self, tenant_id: int, cursor: EventCursor, *, seconds: float) -> bool:
        """Wait until the tenant has an event after a cursor; return False when the time is over or the process is stopping."""
        if self.is_ending or seconds <= 0:
            return False
        waiter = _Waiter(cursor)
        self._waiters.setdefault(tenant_id, set()).add(waiter)
        self._has_waiters.set()
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
        """Wait for a time, or until the process is stopping."""
        with anyio.move_on_after(seconds):
            await self._ending.wait()

    async def run(self) -> None:
        """Query and wake until the process is stopping."""
        while not self.is_ending:
            if not self._waiters:
                self._has_waiters = anyio.Event()
                await self._has_waiters.wait()
                continue
            await self.pause(self._poll_seconds if await self._wake() else AWAY_SECONDS)

    async def _wake(self) -> bool:
        tenants = list(self._waiters)
        try:
            with anyio.fail_after(_QUERY_SECONDS):
                newest = await self._feed.newest(tenants)
        except (DatabaseError, TimeoutError) as error:
            log.warning("events_not_watched", waiting=self.waiting, error=repr(error), **cause_fields(error))
            return False
        except Exception:
            # Without this the task would end, and waiting requests would not be woken any more.
            log.exception("events_not_watched", waiting=self.waiting)
            return False
        for tenant_id, cursor in newest.items():
            for waiter in self._waiters.get(tenant_id, ()):
                if cursor > waiter.cursor:
                    waiter.woken.set()
        return True
