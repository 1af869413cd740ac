"""Bounds on what waits, and fair turns.

Runs before the code. Revises 0004.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.execute("SELECT 1")
