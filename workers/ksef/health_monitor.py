"""What every request tells of KSeF: whether it is there. Seen in each process, counted in the row that all share."""

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

_LOOK_EVERY: Final = timedelta(seconds=5)
"""How often a process with nothing but answers looks whether others met silence."""


class KsefHealthMonitor:
    """Judges each request of this process. Passing it costs nothing but, now and then, one read of a row."""

    def __init__(self, outages: OutageStore, ksef_url: str, clock: Clock) -> None:
        self.ksef_url = ksef_url
        self._outages = outages
        self._clock = clock
        self._looked_at: datetime | None = None
        """When the row last said that all is well; None after a failure here."""

    @asynccontextmanager
    async def passing(self, group: LimitGroup) -> AsyncIterator[None]:
        """See one request of the API through, and what it ends with."""
        try:
            yield
        except KsefError as error:
            if is_silence(error):
                await self._failed(error)
            elif error.outcome is not Outcome.BLOCKED:
                await self._answered()
            raise
        await self._answered()

    async def standing(self) -> tuple[KsefRecord, Availability]:
        """Give what is known and what counts now, and tell of an order that has run out."""
        now = self._clock()
        known = await self._outages.settle(self.ksef_url, now=now)
        return known, known.standing(now)

    async def _failed(self, error: KsefError) -> None:
        self._looked_at = None
        now = self._clock()
        try:
            known = await self._outages.failed(self.ksef_url, error.detail, now=now)
        except TryLater as trouble:
            # The caller must hear of KSeF's silence, not of the database's.
            log.warning("ksef_failure_not_recorded", reason=trouble.detail)
            return
        if known.health.state is KsefState.AWAY:
            log.warning("ksef_unavailable", since=iso_utc(known.health.since), failures=known.health.failures)

    async def _answered(self) -> None:
        now = self._clock()
        if self._looked_at is not None and timedelta(0) <= now - self._looked_at < _LOOK_EVERY:
            return
        try:
            await self._outages.answered(self.ksef_url, now=now)
        except TryLater as trouble:
            log.warning("ksef_answer_not_recorded", reason=trouble.detail)
            return
        self._looked_at = now


def is_silence(error: KsefError) -> bool:
    """Tell whether a call had no answer of KSeF's own: none at all, a 5xx, or something that is not KSeF's.

    A refusal, a 401 and a 429 are answers. A firewall that turns us away (403) says nothing of what is behind it.
    """
    return error.outcome is Outcome.UNKNOWN or isinstance(error, TransportFailed)
