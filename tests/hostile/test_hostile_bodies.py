"""Every hostile body gets its own verdict or a clear error, costs a bounded amount, and harms no neighbour."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.hostile import archive_cases, document_cases
from tests.hostile.harness import CPU_SECONDS, FULL, MEMORY_BYTES, Arena, Case, Outcome, arena, table

CASES: Final = {case.name: case for case in [*archive_cases.CASES, *document_cases.CASES]}


@pytest.fixture(scope="module")
def running() -> Iterator[Arena]:
    with arena(CASES) as started:
        yield started


@pytest.fixture(scope="module")
def outcomes() -> Iterator[list[tuple[str, Outcome]]]:
    """The cost of each case, printed at the end when the full size was asked for."""
    rows: list[tuple[str, Outcome]] = []
    yield rows
    if FULL:
        print("\n" + table(rows))


def test_there_are_enough_cases_and_no_name_twice() -> None:
    assert len(CASES) == len(archive_cases.CASES) + len(document_cases.CASES) >= 60


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_a_hostile_body_gets_its_verdict_and_harms_nobody(
    case: Case, running: Arena, outcomes: list[tuple[str, Outcome]]
) -> None:
    outcome = running.run(case)
    outcomes.append((case.name, outcome))
    assert outcome.crash is None
    assert (outcome.valid, outcome.refused, outcome.error) == (case.valid, case.refused, case.error)
    assert outcome.cpu_seconds < (6 if FULL else 1) * CPU_SECONDS
    assert outcome.memory_bytes < MEMORY_BYTES
