"""What KSeF lets a tenant send.

Runs before the code. Revises 0003.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.execute("SELECT 1")
