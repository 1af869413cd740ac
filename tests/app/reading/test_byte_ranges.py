"""The bounded bookkeeping of taken bytes agrees with a plain list of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UnreadableUpload
from app.reading import byte_ranges as spans_module
from app.reading.byte_ranges import ByteRanges

# Ranges on a grid of 40, so that no gap is smaller than what `ByteRanges` treats as no room.
RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6)), max_size=25)


@given(RANGES)
def test_a_range_is_given_once(ranges: list[tuple[int, int]]) -> None:
    spans = ByteRanges()
    taken: set[int] = set()
    for start, length in ranges:
        cells = set(range(start, start + length))
        assert spans.occupy(start * 40, (start + length) * 40) == taken.isdisjoint(cells)
        if taken.isdisjoint(cells):
            taken |= cells


def test_too_much_disorder_is_refused_and_gaps_in_order_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans_module, "_MAX_SPANS", 10)
    spans = ByteRanges()
    assert all(spans.occupy(start, start + 40) for start in range(0, 100_000, 1_000))
    backwards = ByteRanges()
    assert all(backwards.occupy(start, start + 40) for start in range(100_000, 90_000, -1_000))
    with pytest.raises(UnreadableUpload, match="order"):
        backwards.occupy(1_000, 1_040)
