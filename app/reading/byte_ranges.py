"""The byte ranges of an archive that entries occupy, in bounded memory."""

from bisect import bisect_right
from typing import Final

from app.reading.faults import unreadable

# Less than a local header: no entry fits into such a gap, so its bytes count as occupied (data descriptors lie there).
_NO_ROOM: Final = 30
_MAX_SPANS: Final = 50_000


class ByteRanges:
    """Disjoint occupied ranges, in order. Entries that follow each other merge into one range."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def occupy(self, start: int, end: int) -> bool:
        """Occupy the bytes from `start` to before `end`; return False and change nothing if one of them is occupied.

        Raises UnreadableUpload when the entries lie in such disorder that their ranges would fill the memory.
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
            # In order but with gaps: the last gap counts as occupied, so an entry in it is refused as overlapping.
            self._ends[-1] = end
        else:
            raise unreadable(
                "zip-out-of-order",
                "The entries of the ZIP lie in an order that cannot be followed; pack it again",
                "Pozycje archiwum ZIP są zapisane w nieobsługiwanej kolejności; należy spakować je ponownie",
                start,
            )
        return True
