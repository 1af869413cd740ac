"""Identifiers: order, room for positions, and nothing else read than what was written."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.ids import (
    CHUNK_CAPACITY,
    chunk_id,
    entry_name,
    invoice_id,
    invoice_of_entry,
    parse_public_id,
    public_id,
    time_ordered_id,
)
from app.errors import NotFound

moments = st.integers(0, (1 << 48) - 1)
noise = st.binary(min_size=10, max_size=16)


@given(early=moments, late=moments, first=noise, second=noise)
def test_ids_are_ordered_by_time(early: int, late: int, first: bytes, second: bytes) -> None:
    if early < late:
        assert time_ordered_id(early, first) < time_ordered_id(late, second)


@given(now=moments, random=noise)
def test_an_id_is_a_version_7_uuid(now: int, random: bytes) -> None:
    made = time_ordered_id(now, random)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")


@given(now=moments, random=noise, position=st.integers(0, CHUNK_CAPACITY - 1))
def test_positions_stay_within_their_chunk_and_in_order(now: int, random: bytes, position: int) -> None:
    chunk = chunk_id(now, random)
    assert chunk.int % CHUNK_CAPACITY == 0
    assert chunk <= invoice_id(chunk, position) <= invoice_id(chunk, CHUNK_CAPACITY - 1)


@pytest.mark.parametrize("position", [-1, CHUNK_CAPACITY])
def test_a_position_outside_its_chunk_is_refused(position: int) -> None:
    with pytest.raises(ValueError, match="no position"):
        invoice_id(chunk_id(0, bytes(10)), position)


@given(value=st.uuids())
def test_what_is_written_is_read_back(value: UUID) -> None:
    assert parse_public_id("inv", public_id("inv", value)) == value
    assert invoice_of_entry(entry_name(value)) == value


@pytest.mark.parametrize("text", ["", "inv_", "upl_" + "0" * 32, "inv_" + "G" * 32, "inv_" + "0" * 31, "inv_" + "0" * 33, "inv_" + "0" * 32 + "\n"])  # fmt: skip
def test_a_text_that_is_no_such_id_is_not_found(text: str) -> None:
    with pytest.raises(NotFound):
        parse_public_id("inv", text)
