"""The installation: its id, and a value by which its master key is recognised.

Code of the version before ignores the table. Revises 0011.
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

CHANGES = """
-- One row. `key_check` is derived from the master key, which cannot be derived from it; NULL until a process with the key has written it.
CREATE TABLE installation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    key_check bytea CHECK (length(key_check) = 32)
);
INSERT INTO installation DEFAULT VALUES;
"""


def upgrade() -> None:
    """Make the table and its row."""
    op.get_bind().exec_driver_sql("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(CHANGES)
