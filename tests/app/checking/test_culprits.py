"""Documents that crash or hang their process are found, all of them and no other, in a time that has a bound."""

from concurrent.futures import TimeoutError as FutureTimeout
from datetime import UTC, date, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pebble import ProcessExpired

from app.checking import pool
from app.checking.check_chunk import ChunkOutcome, ChunkTask
from app.checking.pool import CheckPool
from app.forms.form import CheckContext
from app.reading.entry import Encoding, RawEntry
from app.schema_files import load_schema_files

CONTEXT = CheckContext(
    tenant_nip="5265877635", today=date(2026, 11, 22), check_nip_checksums=True, attachments_allowed=None
)


class Processes(CheckPool):
    """A pool whose processes are imagined: a culprit crashes one at once, or hangs it until the deadline."""

    def __init__(self, hang: bool) -> None:
        super().__init__(1, load_schema_files)
        self.hang = hang
        self.seconds = 0.0
        self.poisoned: frozenset[int] = frozenset()

    async def _run(self, task: ChunkTask, seconds: float) -> ChunkOutcome:
        if any(entry.payload == b"bad" and at not in task.poisoned for at, entry in enumerate(task.entries)):
            self.seconds += seconds if self.hang else 0.5
            raise FutureTimeout if self.hang else ProcessExpired("killed")  # type: ignore[no-untyped-call]  # the library leaves it untyped
        self.seconds += 0.1
        self.poisoned = task.poisoned
        return ChunkOutcome()


def task_of(count: int, bad: set[int]) -> ChunkTask:
    entries = tuple(RawEntry(at, f"{at}.xml", Encoding.PLAIN, b"bad" if at in bad else b"<a/>") for at in range(count))
    now = datetime(2026, 11, 22, tzinfo=UTC)
    return ChunkTask(1, (UUID(int=1),), UUID(int=1 << 64), entries, CONTEXT, now)


async def search(count: int, bad: set[int], hang: bool) -> float:
    """Find the culprits and return how many imagined seconds it took."""
    processes = Processes(hang)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "monotonic", lambda: processes.seconds)
        await processes.check(task_of(count, bad))
    assert processes.poisoned == bad
    return processes.seconds


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))), st.booleans())
async def test_all_culprits_are_found_and_no_neighbour(chunk: tuple[int, set[int]], hang: bool) -> None:
    await search(*chunk, hang)


async def test_one_culprit_that_hangs_costs_minutes_at_most() -> None:
    assert await search(400, {123}, True) < 400


async def test_a_chunk_of_nothing_but_culprits_has_a_bound() -> None:
    worst = await search(400, set(range(400)), True)
    # A minute for the chunk, two for halving, a minute for the probe that went beyond, and five seconds for each.
    assert worst < 60 + 120 + 60 + 400 * 5 + 1
    assert await search(400, set(range(400)), False) < 600
