"""Coding of an upload's stored bytes: a body with `Content-Encoding: gzip` is kept as it was sent.

Runs before the code. Revises 0001.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward: older uploads came as they are, which NULL says."""
    op.execute("ALTER TABLE uploads ADD COLUMN content_encoding text CHECK (content_encoding = 'gzip')")
