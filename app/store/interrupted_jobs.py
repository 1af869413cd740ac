"""Jobs that were running when every process of an installation ended, made ready to start again."""

import psycopg

from app.store.database_errors import translated


def requeue_interrupted_jobs(database_url: str) -> int:
    """Let every job that counts as running start again and return how many; call it before the first worker starts.

    Of jobs with the same name only one may wait. It does the work of all of them, so the others are deleted. Raises DatabaseError.
    """
    try:
        return _requeue(database_url)
    except psycopg.OperationalError as error:
        raise translated(error) from error


def _requeue(database_url: str) -> int:
    with psycopg.connect(database_url, autocommit=True) as connection, connection.transaction():
        connection.execute(
            "DELETE FROM procrastinate_jobs AS job USING procrastinate_jobs AS twin "
            "WHERE job.status = 'doing' AND job.queueing_lock = twin.queueing_lock "
            "AND (twin.status = 'todo' OR (twin.status = 'doing' AND twin.id > job.id))"
        )
        cursor = connection.execute(
            "UPDATE procrastinate_jobs SET status = 'todo', worker_id = NULL, scheduled_at = now() "
            "WHERE status = 'doing'"
        )
        return cursor.rowcount
