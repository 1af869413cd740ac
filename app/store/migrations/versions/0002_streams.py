"""What the reading of streams has to remember of an upload.

Runs before the code. Revises 0001.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema forward."""
    op.execute("SELECT 1")
