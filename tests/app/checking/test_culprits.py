"""Documents that end or hang their process are found, all of them and no other, in a time that has a bound."""

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from app.checking.check_chunk import ChunkOutcome, ChunkTask
from app.checking.culprits import NORMAL_CULPRITS
from app.checking.process_limits import NORMAL_LIMIT, SHORT_LIMIT
from app.checking.service import CheckService
from app.clock import warsaw_day
from app.forms.form import CheckContext
from app.observability import metrics
from app.reading.entry import Encoding, RawEntry
from tests.support.poison import BLOCK, CRASH, HANG, MEMORY, load_poisoned_schema, poisoned
from tests.support.road import NIP, invoices

NOW = datetime.now(UTC)
CONTEXT = CheckContext(NIP, warsaw_day(NOW), check_nip_checksums=False, attachments_allowed=None)


@pytest.fixture(scope="module")
def service() -> Iterator[CheckService]:
    with CheckService(1, load_poisoned_schema, stalled_seconds=0.5, count_checks=metrics.count_checks) as started:
        yield started


def task_of(count: int, poisons: dict[int, bytes]) -> ChunkTask:
    """Make a chunk of valid invoices; some positions get a poison."""
    documents = [one.xml for one in invoices(count)]
    for position, poison in poisons.items():
        documents[position] = poisoned(documents[position], poison)
    entries = tuple(
        RawEntry(at, f"{at}.xml", Encoding.PLAIN, content, len(content)) for at, content in enumerate(documents)
    )
    return ChunkTask(1, (UUID(int=1),), UUID(int=1 << 64), entries, CONTEXT, NOW)


def invalid_positions(outcome: ChunkOutcome) -> list[int]:
    (form,) = outcome.forms
    states = [row.split(b"\t")[3] for row in form.rows.splitlines()]
    return [position for position, state in enumerate(states) if state == b"invalid"]


@pytest.mark.parametrize(
    "poisons",
    [
        {0: CRASH},
        {29: HANG},
        {4: MEMORY},
        {7: BLOCK},
        {3: CRASH, 4: HANG, 5: MEMORY, 20: BLOCK, 21: CRASH},
    ],
    ids=["crash", "hang", "memory", "block", "all"],
)
@pytest.mark.slow
async def test_all_culprits_are_found_and_no_neighbour(service: CheckService, poisons: dict[int, bytes]) -> None:
    outcome = await service.check(task_of(30, poisons))
    assert invalid_positions(outcome) == sorted(poisons)
    assert outcome.findings["document-crashes-reader"] == len(poisons)
    assert outcome.forms[0].valid == 30 - len(poisons)


@pytest.mark.slow
async def test_neighbours_of_very_many_culprits_are_valid(service: CheckService) -> None:
    # Beyond the first ones the time limit is short; ordinary invoices do not come near it.
    poisons = dict.fromkeys(range(0, 40, 2), HANG)
    assert len(poisons) > NORMAL_CULPRITS
    assert invalid_positions(await service.check(task_of(40, poisons))) == sorted(poisons)


async def test_checks_are_counted_once_by_path_and_result(service: CheckService) -> None:
    def counted() -> dict[tuple[str, str], float]:
        return {key: metrics.CHECKED.labels(path=key[0], result=key[1])._value.get() for key in metrics.CHECKS}

    before = counted()
    task = task_of(10, {2: CRASH})
    broken = RawEntry(10, "10.xml", Encoding.PLAIN, b"<Faktura>", 9)
    await service.check(ChunkTask(1, task.upload_ids, task.chunk_id, (*task.entries, broken), CONTEXT, NOW))
    counts = {key: value - before[key] for key, value in counted().items()}
    assert counts["full", "crashed"] == 1
    assert counts["full", "invalid"] == 1
    assert counts["fast", "valid"] + counts["full", "valid"] == 9
    assert counts["fast", "valid"] >= 1


async def test_without_the_fast_path_every_check_is_full() -> None:
    with CheckService(1, load_poisoned_schema, fast_path=False) as service:
        outcome = await service.check(task_of(10, {}))
    assert outcome.checks == {("full", "valid"): 10}


def test_ten_thousand_invoices_that_hang_have_a_bound_of_ten_minutes() -> None:
    size, processes_a_document, fork_seconds = 4_000, 2, 0.01
    chunks, chunk = 10, 1_000
    normal = NORMAL_CULPRITS * (NORMAL_LIMIT.of(size) + fork_seconds)
    short = (chunk - NORMAL_CULPRITS) * (SHORT_LIMIT.of(size) + fork_seconds)
    assert chunks * processes_a_document * (normal + short) < 600
