"""Taking turns: nobody waits for another's backlog, and nothing is lost or served twice."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.domain.fairness import LONGEST_BACKLOG, FairQueue, behind

OWNERS = st.integers(0, 4)


class TurnsOfManyOwners(RuleBasedStateMachine):
    """A queue beside the simplest account of it: what each owner put in, and who came out since an owner began to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: FairQueue[int] = FairQueue()
        self.waiting: dict[int, deque[int]] = {}
        self.served_meanwhile: dict[int, list[int]] = {}
        self.number = 0

    @rule(owner=OWNERS, count=st.integers(1, 30))
    def push(self, owner: int, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.queue.push(owner, self.number)
            self.waiting.setdefault(owner, deque()).append(self.number)
        self.served_meanwhile.setdefault(owner, [])

    @rule()
    def pop(self) -> None:
        popped = self.queue.pop()
        if popped is None:
            assert not self.waiting
            return
        owner, item = popped
        assert isinstance(owner, int)
        assert item == self.waiting[owner].popleft(), "what one owner put in comes out in its order"
        for other, served in self.served_meanwhile.items():
            if other != owner:
                served.append(owner)
                assert len(served) == len(set(served)), "somebody had a second turn while another waited for its first"
        if self.waiting[owner]:
            self.served_meanwhile[owner] = []
        else:
            del self.waiting[owner], self.served_meanwhile[owner]

    @rule(owner=OWNERS)
    def give_up(self, owner: int) -> None:
        if owner not in self.waiting:
            with pytest.raises(ValueError, match="nothing in the queue"):
                self.queue.remove(owner, 0)
            return
        self.queue.remove(owner, self.waiting[owner].pop())
        if not self.waiting[owner]:
            del self.waiting[owner], self.served_meanwhile[owner]

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.queue) == sum(map(len, self.waiting.values()))


TestTurnsOfManyOwners = TurnsOfManyOwners.TestCase


@given(st.integers(0, 2_000), st.integers(1, 100))
def test_a_newcomer_waits_for_one_item_of_the_other_however_long_its_backlog(backlog: int, own: int) -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(backlog):
        queue.push("large", f"large {number}")
    for number in range(own):
        queue.push("small", f"small {number}")
    turns = 0
    for number in range(own):
        while (popped := queue.pop()) is not None and popped[0] == "large":
            turns += 1
        assert popped == ("small", f"small {number}")
    assert turns <= own


def test_who_may_not_keeps_its_place() -> None:
    queue: FairQueue[int] = FairQueue()
    queue.push("a", 1)
    queue.push("b", 2)
    queue.push("a", 3)
    assert queue.pop(lambda owner: owner != "a") == ("b", 2)
    assert queue.pop(lambda owner: owner != "a") is None
    assert queue.pop() == ("a", 1)
    assert queue.pop() == ("a", 3)


def test_the_first_job_of_a_newcomer_comes_before_the_second_of_everybody_else() -> None:
    assert [behind(backlog) for backlog in (-1, 0, 1, 49)] == [0, 0, 1, 49]
    assert behind(10**9) == LONGEST_BACKLOG
