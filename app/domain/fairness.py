"""Taking turns: whoever has much to do waits for each other one's turn, and nobody waits for another's whole backlog."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

LONGEST_BACKLOG: Final = 1_000
"""How far back a job of a backlog may be put; beyond, order no longer matters."""


class FairQueue(Generic[Item]):
    """A queue in which owners take turns; what one owner put in comes out in its order.

    An owner that waits comes out after each of the other waiting owners at most once.
    """

    def __init__(self) -> None:
        self._items: OrderedDict[Hashable, deque[Item]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._items.values()))

    def push(self, owner: Hashable, item: Item) -> None:
        """Add an item at the end of its owner's; an owner that had none comes after all others."""
        self._items.setdefault(owner, deque()).append(item)

    def pop(self, may: Callable[[Hashable], bool] = lambda _: True) -> tuple[Hashable, Item] | None:
        """Take the next item of the first owner that `may`; None when there is none. Who may not keeps its place."""
        for owner, items in self._items.items():
            if may(owner):
                item = items.popleft()
                if items:
                    self._items.move_to_end(owner)
                else:
                    del self._items[owner]
                return owner, item
        return None

    def remove(self, owner: Hashable, item: Item) -> None:
        """Take out an item that nobody waits for any more. Raises ValueError when it is not there."""
        items = self._items.get(owner)
        if items is None:
            raise ValueError("the owner has nothing in the queue")
        items.remove(item)
        if not items:
            del self._items[owner]


def behind(backlog: int) -> int:
    """Give what is taken off a job's priority when its owner has so many others waiting.

    The first job of a newcomer then comes before the second of everybody else, whoever came first.
    """
    return min(max(backlog, 0), LONGEST_BACKLOG)
