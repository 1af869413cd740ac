"""Tenants whose records are to be reconciled with KSeF before anything is sent for them.

Code of the version before ignores the column. Revises 0009.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

CHANGES = """
-- Set by `ksefd restore`: KSeF may know of invoices since this moment that our records do not have. No session is opened for the
-- tenant until `reconcile` has ended, which sets it back to NULL.
ALTER TABLE tenants ADD COLUMN reconcile_since timestamptz;
CREATE INDEX tenants_to_reconcile ON tenants (id) WHERE reconcile_since IS NOT NULL;
"""


def upgrade() -> None:
    """Add the column and its index."""
    op.get_bind().exec_driver_sql("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(CHANGES)
