"""Round-robin by tenant: a waiting tenant is served after at most one item of each other tenant."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")

LONGEST_BACKLOG: Final = 1_000
"""Most that `behind` returns; further back, the order no longer matters."""


class FairQueue(Generic[Item]):
    """A queue in which owners take turns; the items of one owner keep their order.

    An owner that waits comes out after each of the other waiting owners at most once.
    """

    def __init__(self) -> None:
        self._items: OrderedDict[Hashable, deque[Item]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._items.values()))

    def push(self, owner: Hashable, item: Item) -> None:
        """Add an item after the others of its owner; an owner without items comes after all other owners."""
        self._items.setdefault(owner, deque()).append(item)

    def pop(self, may: Callable[[Hashable], bool] = lambda _: True) -> tuple[Hashable, Item] | None:
        """Take the next item of the first owner that `may`; None when there is none. An owner that may not keeps its turn."""
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
        """Remove an item whose waiting was given up. Raises ValueError when it is not there."""
        items = self._items.get(owner)
        if items is None:
            raise ValueError("the owner has nothing in the queue")
        items.remove(item)
        if not items:
            del self._items[owner]


def behind(backlog: int) -> int:
    """Return how much lower the priority of a job is when its owner has so many others waiting.

    The first job of an owner then comes before the second one of every other owner, also when it was added later.
    """
    return min(max(backlog, 0), LONGEST_BACKLOG)
