"""Dates and times in request bodies: RFC 3339 with an offset and nothing else."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sandbox.guard import Body, Moment


class Example(Body):
    at: Moment


OFFSETS = st.builds(lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-14 * 60, 14 * 60))


@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=OFFSETS),  # noqa: DTZ001  # hypothesis adds the zone
)
def test_every_moment_with_an_offset_is_read_as_itself(moment: datetime) -> None:
    read = Example.model_validate_json(f'{{"at": "{moment.isoformat()}"}}').at
    assert read == moment
    assert read.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        "1",
        '"1"',
        "null",
        '"2026-01-01"',
        '"2026-01-01T00:00:00"',
        '"2026-01-01 00:00:00Z"',
        '"2026-13-01T00:00:00Z"',
        '"0001-01-01T00:00:00+14:00"',
        '"9999-12-31T23:59:59-14:00"',
        '"２026-01-01T00:00:00Z"',
    ],
)
def test_anything_else_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        Example.model_validate_json(f'{{"at": {value}}}')
