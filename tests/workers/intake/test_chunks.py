"""How a body is cut into chunks, and when a lane that is being filled is looked at."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from app.errors import UnreadableUpload
from app.reading.entry import Encoding, RawEntry
from workers.intake import uploads as intake
from workers.intake.uploads import CHUNK_BYTES, CHUNK_ENTRIES

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


def test_a_lane_is_looked_at_when_a_share_of_a_session_has_come_or_some_time_has_passed() -> None:
    looks = intake._Looks(enough=2_500, last=100.0)
    assert [looks.is_time(1_000, 100.0) for _ in range(6)] == [False, False, True, False, False, True]
    assert not looks.is_time(0, 101.9)
    assert looks.is_time(0, 102.1)
