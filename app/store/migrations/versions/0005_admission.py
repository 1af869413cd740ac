"""Bounds on what waits, and fair turns.

Runs before the code. Revises 0004.
"""

from alembic import op

STATEMENTS = """
-- What waits to be read, by tenant: how much, and who is to come first.
CREATE INDEX uploads_unread_by_tenant ON uploads (tenant_id) INCLUDE (bytes) WHERE state IN ('received', 'reading');
-- Single posts that wait for their check.
CREATE INDEX uploads_unchecked_by_tenant ON uploads (tenant_id) INCLUDE (received) WHERE received > 0;
-- What waits for a session; read from the index alone.
CREATE INDEX chunks_waiting_by_tenant ON chunks (tenant_id) INCLUDE (queued) WHERE queued > 0;
-- Jobs that share a lock wait for each other, and each fetch of a job asks which.
CREATE INDEX ksefd_jobs_by_lock ON procrastinate_jobs (lock) WHERE status IN ('todo', 'doing') AND lock IS NOT NULL;
"""

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.get_bind().exec_driver_sql(STATEMENTS)
