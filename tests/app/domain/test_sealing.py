"""When a session is due and when it may be opened: midnight in Warsaw, on every day of the year."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.sealing import RUSH, day_of_opening, due_at, is_of_today, is_rush, may_open_at
from app.domain.warsaw import CLOCK_TOLERANCE, WARSAW, end_of_warsaw_day, start_of_warsaw_day, warsaw_day

MARGIN = timedelta(minutes=15)

moments = st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - made aware
lingers = st.timedeltas(timedelta(0), timedelta(days=1))
margins = st.timedeltas(timedelta(0), timedelta(hours=12))
days = st.dates(date(2026, 1, 1), date(2030, 1, 1))


def warsaw(day: str, time: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=WARSAW).astimezone(UTC)


@given(days)
def test_days_follow_each_other_without_a_gap(day: date) -> None:
    end = end_of_warsaw_day(day)
    assert end == start_of_warsaw_day(day + timedelta(days=1))
    assert warsaw_day(end) == day + timedelta(days=1)
    assert warsaw_day(end - timedelta(microseconds=1)) == day
    assert warsaw_day(start_of_warsaw_day(day)) == day


@pytest.mark.parametrize(
    ("day", "hours", "deadline"),
    [
        pytest.param("2026-03-28", 24, "2026-03-28T22:45:00+00:00", id="winter"),
        pytest.param("2026-03-29", 23, "2026-03-29T21:45:00+00:00", id="clocks go forward"),
        pytest.param("2026-07-01", 24, "2026-07-01T21:45:00+00:00", id="summer"),
        pytest.param("2026-10-25", 25, "2026-10-25T22:45:00+00:00", id="clocks go back"),
    ],
)
def test_the_margin_is_counted_from_the_end_of_the_day_also_when_clocks_change(
    day: str, hours: int, deadline: str
) -> None:
    that = date.fromisoformat(day)
    assert end_of_warsaw_day(that) - start_of_warsaw_day(that) == timedelta(hours=hours)
    arrived = warsaw(day, "00:30")
    due = due_at(arrived, linger=timedelta(days=2), oldest_of_today=arrived, margin=MARGIN, now=arrived)
    assert due == datetime.fromisoformat(deadline)


@given(moments, lingers, margins, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_without_invoices_of_the_day_only_the_linger_time_counts(
    oldest: datetime, linger: timedelta, margin: timedelta, waited: timedelta
) -> None:
    due = due_at(oldest, linger=linger, oldest_of_today=None, margin=margin, now=oldest + waited)
    assert due == oldest + linger


@given(moments, lingers, margins, st.timedeltas(timedelta(0), timedelta(days=2)))
def test_invoices_of_the_day_are_due_before_it_ends_and_never_later_than_they_linger(
    arrived: datetime, linger: timedelta, margin: timedelta, older_by: timedelta
) -> None:
    oldest = arrived - older_by
    due = due_at(oldest, linger=linger, oldest_of_today=arrived, margin=margin, now=arrived)
    midnight = end_of_warsaw_day(warsaw_day(arrived))
    assert due <= oldest + linger
    assert due < midnight or midnight - arrived < timedelta(microseconds=5) or margin == timedelta(0)
    if arrived <= midnight - margin:
        assert due == min(oldest + linger, midnight - margin)
    else:
        assert due == oldest + linger or arrived <= due <= arrived + (midnight - arrived) / 5


@given(st.timedeltas(timedelta(seconds=0.2), timedelta(seconds=60)))
def test_a_trickle_through_the_margin_makes_few_sessions(every: timedelta) -> None:
    # KSeF lets a context open sixty sessions an hour; the last quarter of an hour must not spend them all.
    midnight = end_of_warsaw_day(date(2026, 11, 22))
    now, sessions, last, oldest = midnight - MARGIN, 0, midnight, None
    while now < midnight:
        oldest = oldest or now
        if due_at(oldest, linger=timedelta(hours=1), oldest_of_today=oldest, margin=MARGIN, now=now) <= now:
            sessions, last, oldest = sessions + 1, now, None
        now += every
    assert sessions <= 45
    assert midnight - last <= max(timedelta(minutes=4), 4 * every)


@given(moments)
def test_a_session_is_opened_only_when_its_day_has_begun_for_ksefs_clock_too(now: datetime) -> None:
    day = warsaw_day(now)
    opens_at = may_open_at(day)
    assert opens_at is not None
    if now >= opens_at:
        assert warsaw_day(now - CLOCK_TOLERANCE) == day
    else:
        assert warsaw_day(now - CLOCK_TOLERANCE) < day
    assert may_open_at(None) is None


@given(moments)
def test_the_day_of_opening_is_the_latest_that_ksefs_clock_may_show(now: datetime) -> None:
    assert day_of_opening(now) == max(warsaw_day(now), warsaw_day(now + CLOCK_TOLERANCE))


@given(moments, st.integers(-3, 0))
def test_only_online_invoices_of_the_day_lose_something_at_midnight(now: datetime, days_before: int) -> None:
    issued = warsaw_day(now) + timedelta(days=days_before)
    assert is_of_today(issued, offline_mode=False, now=now) is (days_before == 0)
    assert not is_of_today(issued, offline_mode=True, now=now)
    assert not is_of_today(None, offline_mode=False, now=now)


def test_the_last_hour_of_the_day_is_a_rush() -> None:
    midnight = end_of_warsaw_day(date(2026, 11, 22))
    assert is_rush(midnight - timedelta(minutes=1))
    assert is_rush(midnight - RUSH)
    assert not is_rush(midnight - RUSH - timedelta(seconds=1))
    assert not is_rush(midnight)
