"""How a body is cut into chunks, and when a lane that is being filled is looked at."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from app.errors import UnreadableUpload
from app.reading.entry import Encoding, RawEntry
from workers.intake import uploads as intake
from workers.intake.chunks import CHUNK_BYTES, CHUNK_ENTRIES

_INFLATED = CHUNK_BYTES * 8


def cut(sizes: Sequence[tuple[int, int | None]]) -> list[list[int]]:
    """Cut entries of these payloads and declared sizes (bytes) into chunks; gives their positions."""
    shared = bytes(max((payload for payload, _ in sizes), default=0))
    entries = (RawEntry(at, f"{at}.xml", Encoding.DEFLATE, shared[:n], size) for at, (n, size) in enumerate(sizes))
    faults: list[UnreadableUpload] = []
    chunks = [[entry.index for entry in chunk] for chunk in intake._chunks(entries, faults)]
    assert not faults
    return chunks


@given(
    st.lists(
        st.tuples(
            st.integers(1, CHUNK_BYTES + 1_000) | st.integers(1, 2_000),
            st.none() | st.integers(0, _INFLATED + 1_000),
        ),
        max_size=30,
    )
)
def test_chunks_hold_every_entry_once_in_order_and_only_one_alone_may_be_too_large(
    sizes: list[tuple[int, int | None]],
) -> None:
    chunks = cut(sizes)
    assert [at for chunk in chunks for at in chunk] == list(range(len(sizes)))
    for chunk in chunks:
        payload, inflated = (
            sum(sizes[at][0] for at in chunk),
            sum(sizes[at][1] or 0 for at in chunk),
        )
        assert len(chunk) == 1 or (payload <= CHUNK_BYTES and inflated <= _INFLATED + 8 * len(chunk))


def test_a_chunk_of_small_invoices_has_as_many_as_allowed() -> None:
    assert list(map(len, cut([(1_000, 3_500)] * (2 * CHUNK_ENTRIES + 1)))) == [CHUNK_ENTRIES, CHUNK_ENTRIES, 1]


def test_documents_that_inflate_to_much_make_small_chunks() -> None:
    assert len(cut([(10, 3_000_000)] * 100)[0]) == _INFLATED // 3_000_000


def test_a_lane_gets_a_sealing_job_when_a_share_of_a_session_has_come_or_some_time_has_passed() -> None:
    sealing = intake._SealingSchedule(enough=2_500, now=100.0)
    assert [sealing.due_lanes({7: 1_000}, 100.0) for _ in range(6)] == [[], [], [7], [], [], [7]]
    assert not sealing.due_lanes({7: 0}, 101.9)
    assert sealing.due_lanes({7: 0}, 102.1) == [7]


def test_each_lane_of_an_upload_has_a_schedule_of_its_own() -> None:
    sealing = intake._SealingSchedule(enough=2_500, now=100.0)
    assert sealing.due_lanes({7: 2_000, 8: 2_500}, 100.5) == [8]
    assert sealing.due_lanes({7: 400, 8: 400}, 101.0) == []
    assert sealing.due_lanes({7: 100}, 101.0) == [7]
    assert sealing.due_lanes({}, 102.6) == [8]
