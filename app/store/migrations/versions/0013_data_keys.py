"""Data keys, encrypted under the master key, and the handing over of one master key to the next.

Needs no key: the first process that opens the database makes the first data key. Secrets of earlier versions stay as they are, encrypted under
the master key itself, until `ksefd master-key rotate` or their next change. Stop the workers and the API first: code of the version before cannot
read new secrets. Links to parts of ended sessions are removed, about a second for a hundred thousand parts. Revises 0012.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

CHANGES = """
CREATE TABLE data_keys (
    number integer PRIMARY KEY CHECK (number > 0),
    wrapped bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- While a change of the master key is unfinished: the new key encrypted under the old one, and the check value of the old one. A process
-- with the old key file goes on with the new key from here.
ALTER TABLE installation ADD COLUMN handed_over bytea, ADD COLUMN handed_over_by bytea;

UPDATE parts SET upload_target = NULL FROM sessions s
WHERE s.id = parts.session_id AND s.state IN ('completed', 'failed') AND parts.upload_target IS NOT NULL;

CREATE INDEX sessions_with_key ON sessions (id) WHERE encryption_key IS NOT NULL;
CREATE INDEX parts_with_target ON parts (session_id, ordinal_number) WHERE upload_target IS NOT NULL;
"""


def upgrade() -> None:
    """Make the table, the columns and the indexes."""
    op.get_bind().exec_driver_sql("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(CHANGES)
