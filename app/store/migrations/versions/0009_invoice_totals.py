"""Running totals of invoices by state, and rows of single posts that may be deleted.

Stop the workers and the API first, with 0008: code of the version before counts no totals. It sums `uploads` once, about a second for a
million rows. Revises 0008.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

CHANGES = """
-- Invoices by state over all tenants: the sum of a state's rows is its total. Each statement that changes counters of `uploads` adds
-- rows with its changes, so that no two transactions wait for one row; the sweep adds them up. No primary key: rows have no identity.
CREATE TABLE invoice_totals (
    state text NOT NULL CHECK (state IN
        ('received', 'invalid', 'duplicate', 'queued', 'packed', 'sent', 'accepted', 'rejected', 'failed')),
    invoices bigint NOT NULL
);
INSERT INTO invoice_totals (state, invoices)
SELECT one.state, sum(one.invoices) FROM uploads u CROSS JOIN LATERAL (VALUES
    ('received', u.received), ('invalid', u.invalid), ('duplicate', u.duplicate), ('queued', u.queued), ('packed', u.packed),
    ('sent', u.sent), ('accepted', u.accepted), ('rejected', u.rejected), ('failed', u.failed)
) AS one (state, invoices)
GROUP BY one.state HAVING sum(one.invoices) <> 0;

-- The row of a group of single posts goes at the end of the retention, its chunk and its invoices stay.
ALTER TABLE chunks DROP CONSTRAINT chunks_upload_id_fkey;
CREATE INDEX uploads_expired_groups ON uploads (id) WHERE kind = 'invoices' AND expired_at IS NOT NULL;
"""


def upgrade() -> None:
    """Make the table, fill it, and detach chunks from the rows of their uploads."""
    op.get_bind().exec_driver_sql("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(CHANGES)
