"""Detects outages from the result of every KSeF request; all processes share the failure count in the database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final

from app.clock import Clock
from app.domain.outage import Availability, KsefState
from app.domain.timestamps import iso_utc
from app.errors import TryLater
from app.ksef.errors import KsefError, Outcome, TransportFailed
from app.ksef.transport import LimitGroup
from app.observability.logs import get_logger
from app.store.ksef.outages import KsefRecord, OutageStore

log = get_logger(__name__)

_READ_EVERY: Final = timedelta(seconds=5)
"""How often a process whose requests are all answered reads whether requests of other processes failed."""


class KsefHealthMonitor:
    """Classifies the result of each request of this process. At most every five seconds that costs a read of one row."""

    def __init__(self, outages: OutageStore, ksef_url: str, clock: Clock) -> None:
        self.ksef_url = ksef_url
        self._outages = outages
        self._clock = clock
        self._read_at: datetime | None = None
        """Time at which the row last said that KSeF is available; None after a failure in this process."""

    @asynccontextmanager
    async def passing(self, group: LimitGroup) -> AsyncIterator[None]:
        """Count the result of one request of the API."""
        try:
            yield
        except KsefError as error:
            if is_silence(error):
                await self._failed(error)
            elif error.outcome is not Outcome.BLOCKED:
                await self._answered()
            raise
        await self._answered()

    async def availability(self) -> tuple[KsefRecord, Availability]:
        """Return the stored record and the availability by it, after ending an operator's order that has expired."""
        now = self._clock()
        known = await self._outages.notify_of_expired_order(self.ksef_url, now=now)
        return known, known.standing(now)

    async def _failed(self, error: KsefError) -> None:
        self._read_at = None
        now = self._clock()
        try:
            known = await self._outages.failed(self.ksef_url, error.detail, now=now)
        except TryLater as trouble:
            # The caller gets the error of KSeF, not the one of the database.
            log.warning("ksef_failure_not_recorded", reason=trouble.detail)
            return
        if known.health.state is KsefState.AWAY:
            log.warning("ksef_unavailable", since=iso_utc(known.health.since), failures=known.health.failures)

    async def _answered(self) -> None:
        now = self._clock()
        if self._read_at is not None and timedelta(0) <= now - self._read_at < _READ_EVERY:
            return
        try:
            await self._outages.answered(self.ksef_url, now=now)
        except TryLater as trouble:
            log.warning("ksef_answer_not_recorded", reason=trouble.detail)
            return
        self._read_at = now


def is_silence(error: KsefError) -> bool:
    """Return whether a call had no answer of KSeF: none at all, a 5xx, or one that another system wrote.

    A refusal, a 401 and a 429 are answers. A firewall that blocks us (403) does not show the state of KSeF behind it.
    """
    return error.outcome is Outcome.UNKNOWN or isinstance(error, TransportFailed)
