"""Jobs and sessions of processes that have ended, made ready for other processes at once."""

from typing import Final

import psycopg

from app.store.database import queries
from app.store.database_errors import translated

_SQL: Final = queries("session_ownership")
_CONNECT_SECONDS: Final = 5


def requeue_interrupted_jobs(database_url: str) -> int:
    """Let every job that counts as running start again, and release all sessions; return how many jobs.

    Call it before the first worker starts.

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
        connection.execute(_SQL["release_sessions_of"], {"owner": None})
        return cursor.rowcount


def release_sessions_of(database_url: str, owner: str) -> int:
    """Let other workers take the sessions of a process that has ended, and return how many. Raises DatabaseError."""
    try:
        with psycopg.connect(database_url, autocommit=True, connect_timeout=_CONNECT_SECONDS) as connection:
            return connection.execute(_SQL["release_sessions_of"], {"owner": owner}).rowcount
    except psycopg.OperationalError as error:
        raise translated(error) from error
