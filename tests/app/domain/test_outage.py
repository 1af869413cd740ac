"""Whether KSeF is there: a silence has to last, an answer ends it, an order goes before both."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.domain.outage import (
    FAILURES,
    PROBE_SECONDS,
    RUN_ENDS_AFTER,
    SILENCE,
    Health,
    KsefState,
    Override,
    after_answer,
    after_failure,
    reserve_probe,
    standing,
)

START = datetime(2026, 2, 1, 12, tzinfo=UTC)
AWAY, AVAILABLE = KsefState.AWAY, KsefState.AVAILABLE

STEPS = st.lists(
    st.tuples(st.sampled_from(["failure", "answer", "probe"]), st.integers(min_value=0, max_value=400)), max_size=60
)


def _fail(health: Health, *seconds: float) -> Health:
    for second in seconds:
        health = after_failure(health, START + timedelta(seconds=second), f"silence at {second}")
    return health


def test_many_failures_within_a_minute_are_no_outage() -> None:
    assert _fail(Health(), *range(60)).state is AVAILABLE


def test_few_failures_over_a_long_time_are_no_outage() -> None:
    assert _fail(Health(), 0, 100, 200, 300).state is AVAILABLE


def test_failures_in_a_row_over_minutes_are_an_outage_since_the_first_of_them() -> None:
    health = _fail(Health(), 0, 60, 120, 150, 180)
    assert (health.state, health.since, health.reason) == (AWAY, START, "silence at 180")


def test_one_answer_between_failures_begins_the_count_anew() -> None:
    health = after_answer(_fail(Health(), 0, 60, 120, 150), START + timedelta(seconds=170))
    assert health == Health()
    assert _fail(health, 180, 200, 220, 240).state is AVAILABLE


def test_failures_hours_apart_are_no_silence() -> None:
    gap = RUN_ENDS_AFTER.total_seconds() + 1
    health = _fail(Health(), *(number * gap for number in range(10)))
    assert (health.state, health.failures) == (AVAILABLE, 1)


def test_the_first_answer_ends_an_outage_at_once() -> None:
    moment = START + timedelta(seconds=999)
    assert after_answer(_fail(Health(), 0, 60, 120, 150, 180), moment) == Health(since=moment)


def test_an_answer_changes_nothing_when_all_is_well() -> None:
    health = Health(since=START)
    assert after_answer(health, START + timedelta(days=1)) is health


def test_a_probe_is_given_to_one_asker_until_it_must_have_ended() -> None:
    health = _fail(Health(), 0, 60, 120, 150, 180)
    moment = START + timedelta(seconds=180)
    assert reserve_probe(health, moment) is None
    pauses = []
    for _ in range(8):
        assert health.next_probe_at is not None
        pauses.append((health.next_probe_at - moment).total_seconds())
        moment = health.next_probe_at
        claimed = reserve_probe(health, moment)
        assert claimed is not None
        assert reserve_probe(claimed, moment) is None
        assert reserve_probe(claimed, moment + timedelta(seconds=PROBE_SECONDS)) is None
        health = claimed
    assert pauses == sorted(pauses)
    assert pauses[0] > PROBE_SECONDS
    assert pauses[-1] == 120


def test_nobody_probes_a_ksef_that_is_there() -> None:
    assert reserve_probe(_fail(Health(), 0, 60), START + timedelta(hours=1)) is None


def test_an_order_counts_until_it_ends() -> None:
    down = _fail(Health(), 0, 60, 120, 150, 180)
    order = Override(AVAILABLE, START, START + timedelta(hours=1))
    assert standing(down, order, START + timedelta(minutes=59)).state is AVAILABLE
    assert standing(down, order, START + timedelta(minutes=59)).ordered
    after = standing(down, order, START + timedelta(hours=1))
    assert (after.state, after.ordered, after.reason) == (AWAY, False, "silence at 180")
    assert standing(Health(), Override(AWAY, START), START + timedelta(days=900)).state is AWAY


@given(STEPS)
def test_whatever_happens_the_rules_hold(steps: list[tuple[str, int]]) -> None:
    health, now = Health(), START
    run: list[datetime] = []
    for what, pause in steps:
        now += timedelta(seconds=pause)
        before = health
        if what == "answer":
            health, run = after_answer(health, now), []
            assert (health.state, health.failures) == (AVAILABLE, 0)
        elif what == "failure":
            if run and before.state is AVAILABLE and now - run[-1] > RUN_ENDS_AFTER:
                run = []
            run.append(now)
            health = after_failure(health, now, "silence")
            assert health.failures == len(run)
            if before.state is AVAILABLE:
                long_enough = len(run) >= FAILURES and now - run[0] >= SILENCE
                assert (health.state is AWAY) == long_enough
            else:
                assert health.state is AWAY
                assert health.since == before.since
        else:
            claimed = reserve_probe(health, now)
            assert (claimed is not None) <= (health.state is AWAY)
            health = claimed or health
        if health.state is AWAY:
            # There is always a next try, and never far away.
            assert health.next_probe_at is not None
            assert health.next_probe_at - now <= timedelta(minutes=2)


@given(st.permutations(range(0, 300, 20)))
def test_clocks_that_differ_never_make_a_silence_shorter(seconds: list[int]) -> None:
    health = _fail(Health(), *seconds)
    assert health.last_failure_at == START + timedelta(seconds=280)
