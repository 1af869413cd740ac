"""Uploads that arrive in pieces, and repeats without a key.

Runs before the code. Revises 0002.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.execute("SELECT 1")
