"""Which bytes of an archive are taken already, in bounded memory."""

from bisect import bisect_right
from typing import Final

from app.reading.faults import unreadable

# Less than a local header: no entry fits in between, so the bytes count as taken (data descriptors lie there).
_NO_ROOM: Final = 30
_MAX_SPANS: Final = 50_000


class ByteRanges:
    """Disjoint taken ranges, in order. Entries that follow each other merge into one range."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def claim(self, start: int, end: int) -> bool:
        """Take the bytes from `start` to before `end`; False, and nothing changes, if any is taken already.

        Raises UnreadableUpload when the entries lie in such disorder that remembering them would take too much.
        """
        at = bisect_right(self._starts, start)
        if at and self._ends[at - 1] > start:
            return False
        if at < len(self._starts) and self._starts[at] < end:
            return False
        joins_left = at > 0 and start - self._ends[at - 1] < _NO_ROOM
        joins_right = at < len(self._starts) and self._starts[at] - end < _NO_ROOM
        if joins_left and joins_right:
            self._ends[at - 1] = self._ends.pop(at)
            del self._starts[at]
        elif joins_left:
            self._ends[at - 1] = end
        elif joins_right:
            self._starts[at] = start
        elif len(self._starts) < _MAX_SPANS:
            self._starts.insert(at, start)
            self._ends.insert(at, end)
        elif at == len(self._starts):
            # In order but with gaps: whatever might still hide in the last gap is given up.
            self._ends[-1] = end
        else:
            raise unreadable(
                "zip-out-of-order",
                "The entries of the ZIP lie in an order that cannot be followed; pack it again",
                "Pozycje archiwum ZIP są zapisane w nieobsługiwanej kolejności; należy spakować je ponownie",
                start,
            )
        return True
