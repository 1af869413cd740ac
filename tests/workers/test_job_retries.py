"""A job that is tried again: the log names the cause, and two transactions in conflict meet again soon."""

import psycopg
import pytest
import structlog
from procrastinate.jobs import Job

from app.clock import utc_now
from app.errors import cause_fields
from app.store.database_errors import DatabaseError, TransactionConflict
from app.store.store import Store
from workers import tasks
from workers.job_names import JobNames
from workers.tasks import StageRetryStrategy


def _job(attempts: int = 0) -> Job:
    return Job(id=7, queue="sealing", lock=None, queueing_lock=None, task_name="sealing.seal_lane", attempts=attempts)


def _from(error: DatabaseError, cause: Exception) -> DatabaseError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("attempts", [0, 50])
def test_a_transaction_in_conflict_is_tried_again_at_once_with_jitter(attempts: int) -> None:
    pauses = set()
    for _ in range(20):
        decision = StageRetryStrategy(JobNames()).get_retry_decision(
            exception=TransactionConflict(), job=_job(attempts)
        )
        assert decision.retry_at is not None
        pauses.add((decision.retry_at - utc_now()).total_seconds())
    assert max(pauses) < 0.6
    assert len({round(pause, 2) for pause in pauses}) > 3


async def test_the_cause_of_a_database_error_is_named_without_the_rows_that_it_concerns(store: Store) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation) as caught:
        await store.database.execute(
            "INSERT INTO ksef_numbers (ksef_number, invoice_id) "
            "SELECT 'secret-number', '00000000-0000-0000-0000-000000000001' FROM generate_series(1, 2)"
        )
    assert "secret-number" in str(caught.value), "PostgreSQL's own text quotes the row"
    fields = cause_fields(_from(DatabaseError(), caught.value))
    assert (fields["cause"], fields["sqlstate"]) == ("UniqueViolation", "23505")
    assert "duplicate key" in fields["cause_text"]
    assert "secret-number" not in fields["cause_text"]


def test_a_job_that_is_tried_again_leaves_its_cause_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadlock in a worker left no trace of itself."""
    logged = structlog.testing.LogCapture()
    monkeypatch.setattr(tasks, "log", structlog.wrap_logger(None, processors=[logged]))
    error = _from(TransactionConflict(), psycopg.errors.DeadlockDetected("deadlock detected"))
    StageRetryStrategy(JobNames()).get_retry_decision(exception=ExceptionGroup("of a task group", [error]), job=_job())
    (line,) = logged.entries
    assert (line["event"], line["log_level"]) == ("job_retried", "warning")
    assert (line["cause"], line["sqlstate"]) == ("DeadlockDetected", "40P01")
    assert line["exc_info"] is None
