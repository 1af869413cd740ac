"""Classification of an attempt to deliver an event: delivered, retried at a time, failed or gone."""

from datetime import datetime

from app.store.events.delivery_queue import AttemptResult, ReservedAttempt
from app.webhooks.backoff import next_delay
from app.webhooks.delivery import Attempt, Outcome


def classify_attempt(
    reserved: ReservedAttempt, attempt: Attempt, *, size: int, ordered: bool, jitter: float, now: datetime
) -> AttemptResult:
    """Return the result of a reserved attempt that ended now, with the time of the next one. `size` is the body's, in bytes."""
    succeeded = attempt.outcome is Outcome.DELIVERED
    gone = attempt.outcome is Outcome.GONE
    delay = None
    if not succeeded and not gone:
        delay = next_delay(reserved.tries, jitter=jitter, retry_after=attempt.retry_after)
    reason = None if succeeded or delay is not None else "gone" if gone else "exhausted"
    return AttemptResult(
        reserved=reserved,
        outcome=attempt.outcome.value,
        milliseconds=attempt.milliseconds,
        status=attempt.status,
        answer=attempt.answer,
        size=size,
        succeeded=succeeded,
        ordered=ordered,
        next_attempt_at=now + delay if delay is not None else None,
        reason=reason,
        gone=gone,
    )


def metric_of(result: AttemptResult) -> str:
    """Return the outcome of an attempt as a label of the deliveries metric."""
    if result.succeeded:
        return "succeeded"
    if result.gone:
        return "gone"
    return "failed" if result.next_attempt_at is None else "retried"
