"""The owner of a session: the worker that advances it, and until when.

Code of the version before ignores the columns, so stop its workers first. Revises 0013.
"""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

CHANGES = """
-- Counted on at each change of owner. A worker writes only while the session has the epoch that it took.
ALTER TABLE sessions ADD COLUMN owner_epoch bigint NOT NULL DEFAULT 0;
-- A process of workers, and the time until which no other worker takes the session.
ALTER TABLE sessions ADD COLUMN owned_by text;
ALTER TABLE sessions ADD COLUMN owned_until timestamptz;
"""


def upgrade() -> None:
    """Add the columns."""
    op.get_bind().exec_driver_sql("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(CHANGES)
