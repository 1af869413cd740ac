"""A source gives the bytes of its range in any order, from files whose reads are short."""

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import UnreadableUpload
from app.reading.source import Source

DATA = random.Random(5).randbytes(300_000)


class ShortReads(io.BytesIO):
    """Answers at most 10,000 bytes a read, and counts the reads."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(min(size if size is not None and size >= 0 else 10_000, 10_000))


@given(st.lists(st.tuples(st.integers(0, 300_100), st.integers(0, 70_000)), max_size=12))
def test_any_range_can_be_read_in_any_order(reads: list[tuple[int, int]]) -> None:
    source = Source(ShortReads(b"before" + DATA + b"after"), 6, len(DATA))
    for offset, length in reads:
        assert source.read_at(offset, length) == DATA[offset : offset + length]


@given(st.integers(0, 300_000), st.integers(1, 40), st.integers(0, 300_000))
def test_find_agrees_with_bytes(at: int, length: int, begin: int) -> None:
    needle = DATA[at : at + length] or b"\0"
    source = Source(io.BytesIO(DATA), 0, len(DATA))
    assert source.find(needle, begin) == DATA.find(needle, begin)
    assert source.find(needle, begin, keep=max(0, begin - 100)) == DATA.find(needle, begin)


def test_reading_on_takes_few_large_reads() -> None:
    file = io.BytesIO(bytes(40_000_000))
    reads = 0
    original = file.read

    def counted(size: int | None = -1, /) -> bytes:
        nonlocal reads
        reads += 1
        return original(size)

    file.read = counted  # type: ignore[method-assign]  # counting is all that changes
    source = Source(file, 0, 40_000_000)
    for offset in range(0, 40_000_000, 4_000):
        source.read_at(offset, 4_000)
    assert reads < 60


def test_a_body_shorter_than_recorded_is_unreadable() -> None:
    with pytest.raises(UnreadableUpload, match="shorter"):
        Source(io.BytesIO(DATA), 0, len(DATA) + 1).read_at(len(DATA) - 10, 11)
