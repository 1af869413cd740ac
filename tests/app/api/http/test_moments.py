"""A time at the edge of what Python, the database or UTC can hold is refused with a problem, wherever it is given."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.http.moments import read_moment
from app.cli.exit_codes import UsageProblem
from app.cli.timestamps import parse_time
from app.domain.timestamps import EARLIEST, LATEST, bounded_utc, iso_utc, to_utc
from app.ksef.latarnia import _parse_time
from app.ksef.upo.reader import _time
from tests.app.api.conftest import Caller

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
EDGES = (
    "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59Z",
    "1969-12-31T23:59:59Z", "2101-01-01T00:00:00Z", "1970-01-01T00:00:00+00:01", "2100-12-31T23:59:59-00:01",
)  # fmt: skip
NO_TIMES = (
    "",
    "yesterday",
    "2026-13-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "1e400",
    "-1e20",
    "99999999999999999999",
    "NaN",
)


@pytest.mark.parametrize("text", EDGES + NO_TIMES)
async def test_every_place_of_the_api_that_takes_a_time_refuses_it_with_a_problem(alpha: Caller, text: str) -> None:
    url = {"url": "https://erp.example/hook"}
    hook = (await alpha.http.post("/v1/webhooks", json=url)).json()["id"]
    bodies: list[dict[str, Any]] = [{"since": text}, {"since": "2026-11-01T00:00:00Z", "until": text}]
    for body in bodies:
        answer = await alpha.http.post(f"/v1/webhooks/{hook}/replay", json=body)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request"), body
        assert answer.json()["errors"][0]["where"].endswith(("since", "until"))
    for path in ("/v1/events", "/v1/events/stream"):
        answer = await alpha.http.get(path, params={"since": text})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request"), path


@pytest.mark.parametrize("text", ["1970-01-01T00:00:00Z", "2026-11-21T08:00:00+01:00", "2100-12-31T23:59:59Z"])
async def test_the_times_between_are_taken(alpha: Caller, text: str) -> None:
    hook = (await alpha.http.post("/v1/webhooks", json={"url": "https://erp.example/hook"})).json()["id"]
    answer = await alpha.http.post(f"/v1/webhooks/{hook}/replay", json={"since": text, "until": "2026-11-22T08:00:00"})
    assert answer.status_code in {202, 409, 422}, answer.text
    assert (await alpha.http.get("/v1/events", params={"since": text})).status_code == 200


@pytest.mark.parametrize("text", EDGES[:6])
def test_the_command_line_refuses_it_as_wrong_usage(text: str) -> None:
    with pytest.raises(UsageProblem, match=r"--since .*: not a time from 1970 to 2100"):
        parse_time(text, option="--since", now=NOW)


def test_a_time_span_that_leads_out_of_the_bounds_is_refused_too() -> None:
    for text in ("999999w", "9999w"):
        with pytest.raises(UsageProblem):
            parse_time(text, option="--since", now=NOW)
    assert parse_time("90m", option="--since", now=NOW) == datetime(2026, 11, 22, 7, 30, tzinfo=UTC)
    assert parse_time("2026-02-01T06:00", option="--since", now=NOW) == datetime(2026, 2, 1, 5, 0, tzinfo=UTC)


def test_a_time_of_ksef_that_utc_cannot_express_counts_as_missing_and_one_far_ahead_is_read() -> None:
    for read in (_time, _parse_time):
        assert read("0001-01-01T00:00:00+14:00") is None
        assert read("9999-12-31T23:59:59-01:00") is None
        assert read("9999-12-31T23:59:59+00:00") == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@given(st.datetimes(timezones=st.timezones() | st.none()))
def test_any_time_is_within_the_bounds_or_a_value_error(moment: datetime) -> None:
    try:
        found = bounded_utc(moment)
    except ValueError:
        return
    assert EARLIEST <= found <= LATEST
    assert to_utc(moment) == found
    assert datetime.fromisoformat(iso_utc(found) or "").tzinfo is not None


@given(st.text(max_size=40) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d([+-]\d\d:\d\d)?", fullmatch=True))
def test_any_text_is_a_time_within_the_bounds_or_a_value_error(text: str) -> None:
    try:
        assert EARLIEST <= read_moment(text) <= LATEST
    except ValueError:
        return
