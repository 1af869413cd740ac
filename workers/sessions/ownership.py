"""Ownership of a session by a worker: how long it lasts, and its renewal before a call to KSeF that could take longer.

A call is begun only while the ownership, counted from the start of its last renewal that succeeded, lasts longer than the call may take.
So no other worker takes a session while a call for it is on its way, even if the connections to the database are lost.
"""

import time
from collections.abc import Callable
from typing import Final

import anyio

from app.errors import ConfigurationError
from app.ksef.storage import DOWNLOAD_SECONDS, part_seconds
from app.ksef.transport import DEADLINE_SECONDS
from app.package.limits import AES_BLOCK_BYTES, part_plain_bytes
from app.store.sessions.ownership import OwnershipLost, OwnershipStore
from app.store.sessions.session import Session

MARGIN_SECONDS: Final = 15.0
"""Time of an ownership beyond the longest call, so that not every call needs a renewal."""
FIRST_SECONDS: Final = DEADLINE_SECONDS + MARGIN_SECONDS
LONGEST_SECONDS: Final = 900.0
"""The longest ownership: a session waits so long at most when the machine of its worker is lost."""


def boot_time() -> float:
    """Return the seconds since the machine was started, those in which it or this process was suspended included."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def check_longest_call(part_bytes: int) -> None:
    """Raise ConfigurationError when a part could take longer to send than the longest ownership lasts."""
    longest = max(DEADLINE_SECONDS, DOWNLOAD_SECONDS, part_seconds(part_plain_bytes(part_bytes) + AES_BLOCK_BYTES))
    if longest + MARGIN_SECONDS > LONGEST_SECONDS:
        raise ConfigurationError(
            f"KSEFD_PART_BYTES: sending such a part may take {longest:.0f} s, and a session is owned for {LONGEST_SECONDS:.0f} s at most"
        )


class Ownership:
    """One worker's ownership of one session."""

    def __init__(
        self, store: OwnershipStore, session: Session, taken_at: float, clock: Callable[[], float] = boot_time
    ) -> None:
        """`taken_at`: before the session was taken for FIRST_SECONDS, by the same `clock`."""
        self._store = store
        self._session = session
        self._clock = clock
        self._ends = taken_at + FIRST_SECONDS
        self._renewing = anyio.Lock()

    async def outlast(self, seconds: float) -> None:
        """Make sure that the ownership lasts longer than a call of so many seconds that begins now. Raises OwnershipLost."""
        async with self._renewing:
            if self._ends - self._clock() > seconds:
                return
            started = self._clock()
            await self._store.renew(self._session, seconds=seconds + MARGIN_SECONDS)
            self._ends = max(self._ends, started + seconds + MARGIN_SECONDS)
            if self._ends - self._clock() <= seconds:
                raise OwnershipLost("the renewal of the ownership took longer than it lasts")


def is_loss(error: BaseException) -> bool:
    """Return whether the ownership was lost, in one task or in several at the same time."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(OwnershipLost) is not None
    return isinstance(error, OwnershipLost)
