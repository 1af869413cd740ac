"""Counts failed API keys by client address, so that a client that tries keys is put off."""

from collections import OrderedDict
from datetime import datetime
from typing import Final

FAILURES_AT_ONCE: Final = 20
SECONDS_OF_A_FAILURE: Final = 3.0
"""An address may present twenty wrong keys at once, and one more every three seconds."""

_ADDRESSES: Final = 10_000


class FailedKeys:
    """The failures of each address that is counted. Addresses are forgotten, oldest first, when there are too many."""

    def __init__(self) -> None:
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def note(self, address: str, now: datetime) -> float | None:
        """Count a failure. Return the seconds until the address may present another key when it has presented too many."""
        moment = now.timestamp()
        longest = FAILURES_AT_ONCE * SECONDS_OF_A_FAILURE
        # When all failures are forgiven; a clock that was set back must not put it far away.
        forgiven_at = min(max(self._full_at.pop(address, moment), moment), moment + longest) + SECONDS_OF_A_FAILURE
        self._full_at[address] = min(forgiven_at, moment + longest + SECONDS_OF_A_FAILURE)
        while len(self._full_at) > _ADDRESSES:
            self._full_at.popitem(last=False)
        excess = self._full_at[address] - moment - longest
        return excess if excess > 0 else None
