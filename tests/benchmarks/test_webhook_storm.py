"""The storm in its small edition: nothing is lost over kill -9, and bad receivers are asked little."""

from app.settings import Settings
from app.webhooks.pace import FAILURES_BEFORE_A_PAUSE, FIRST_WINDOW
from benchmarks.webhook_storm import Storm, run_storm
from workers.delivery.dispatcher import SHARED_PLACES


def test_good_receivers_get_everything_although_others_are_bad_and_the_worker_is_killed(settings: Settings) -> None:
    """`run_storm` raises when a good receiver misses an event or sees one that was never sent."""
    storm = Storm(events=100, good=6, hang=2, fail=1, vanish=1, kill_after=0.4, timeout_seconds=120)
    outcome = run_storm(storm, settings)
    # Repeated can be only what was under way at the kill: what is shared, and the first request of each endpoint.
    assert 0 <= outcome.repeated <= SHARED_PLACES + storm.good
    # Two workers asked each hanging receiver as often as it may be asked before it has answered. The one that vanishes took
    # half of the events before. One that fails is asked more often only by the clock, and for a test's time that is seldom.
    asked = 2 * storm.hang * FIRST_WINDOW + storm.events // 2
    assert outcome.bad_requests <= asked + 2 * (FAILURES_BEFORE_A_PAUSE + 12)
