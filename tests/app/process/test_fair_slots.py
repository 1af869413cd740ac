"""Turns dealt out in rotation: bounds hold, waiting can be given up, and long ones leave room for others."""

from collections import Counter

import anyio
import anyio.lowlevel
from hypothesis import given
from hypothesis import strategies as st

from app.process.fair_slots import FairSemaphore


@given(
    st.integers(1, 5), st.integers(1, 5), st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=40)
)
def test_no_more_turns_than_allowed_run_and_everybody_has_theirs(
    capacity: int, most: int, wanted: list[tuple[int, bool]]
) -> None:
    running: Counter[int] = Counter()
    served: Counter[int] = Counter()
    bound = min(capacity, most)

    async def have_turn(turns: FairSemaphore, owner: int) -> None:
        async with turns.slot(owner):
            running[owner] += 1
            assert running.total() <= capacity
            assert running[owner] <= bound
            await anyio.lowlevel.checkpoint()
            running[owner] -= 1
            served[owner] += 1

    async def give_up(turns: FairSemaphore, owner: int) -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            # Cancelled while it waits, or with a turn just granted: either way it leaves nothing behind.
            async with turns.slot(owner):
                await anyio.sleep(1)

    async def run() -> None:
        turns = FairSemaphore(capacity, most_of_one=most)
        async with anyio.create_task_group() as tasks:
            for owner, stays in wanted:
                tasks.start_soon(have_turn if stays else give_up, turns, owner)
        assert not turns._running
        assert not len(turns._waiting)

    anyio.run(run)
    assert served == Counter(owner for owner, stays in wanted if stays)


async def test_a_newcomer_has_the_next_turn_but_one_however_many_wait() -> None:
    order: list[str] = []
    turns = FairSemaphore(1)

    async def have_turn(owner: str) -> None:
        async with turns.slot(owner):
            order.append(owner)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(have_turn, "large")
        await anyio.lowlevel.checkpoint()
        tasks.start_soon(have_turn, "small")
    assert order.index("small") <= 2
    assert len(order) == 51


async def test_an_owner_without_a_slot_gets_the_next_one_before_owners_that_have_some() -> None:
    turns = FairSemaphore(5, newcomers_first=True)
    held = [await turns.acquire(owner) for owner in ("many", "many", "one", "many", "one")]
    order: list[str] = []
    hurried: list[str] = []

    async def wait(owner: str) -> None:
        await turns.acquire(owner, hurry_after=0, hurry=lambda: hurried.append(owner))
        order.append(owner)

    async with anyio.create_task_group() as tasks:
        for owner in ("many", "one", "new", "newer"):
            tasks.start_soon(wait, owner)
            await anyio.wait_all_tasks_blocked()
        assert hurried == ["many", "one", "new", "newer"]
        for slot in held[:3]:
            slot.release()
            await anyio.wait_all_tasks_blocked()
        assert order == ["new", "newer", "many"]
        tasks.cancel_scope.cancel()


async def test_one_whose_turns_take_long_leaves_some_to_others() -> None:
    turns = FairSemaphore(3)
    with turns.limited("slow"):
        first = await turns.acquire("slow")
        with anyio.move_on_after(0.01) as waited:
            await turns.acquire("slow")
        assert waited.cancelled_caught
        others = [await turns.acquire("other"), await turns.acquire("other")]
        for turn in (first, *others):
            turn.release()
            turn.release()
    assert [await turns.acquire("slow") for _ in range(3)]


async def test_the_limit_of_a_limited_owner_may_be_below_half() -> None:
    turns = FairSemaphore(6, most_of_limited=1)
    with turns.limited("slow"):
        first = await turns.acquire("slow")
        with anyio.move_on_after(0.01) as waited:
            await turns.acquire("slow")
        assert waited.cancelled_caught
        first.release()
    assert [await turns.acquire("slow") for _ in range(6)]
