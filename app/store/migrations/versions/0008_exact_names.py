"""Rename columns, a table, indexes and functions whose names had two meanings or none.

Stop the workers and the API first, then run it, then start the new code: each version knows only its own names. It changes the
catalogue only, no rows, and takes milliseconds. Revises 0007.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

CHANGES = """
-- `held` was said of a chunk whose upload is not read to its end, and of an invoice that waits for its tenant's decision.
ALTER TABLE chunks RENAME COLUMN held TO atomic_pending;
ALTER TABLE invoices RENAME COLUMN hold TO decision;
ALTER TABLE invoices RENAME CONSTRAINT invoices_hold_check TO invoices_decision_check;
ALTER INDEX invoices_held RENAME TO invoices_awaiting_decision;

-- Status polls that found no such session, in a row; polls after which some invoices still had no verdict.
ALTER TABLE sessions RENAME COLUMN strikes TO not_found_polls;
ALTER TABLE sessions RENAME COLUMN incomplete_looks TO incomplete_polls;

-- The state of the last `ksef.unavailable` or `ksef.available` event, and the tenants that got the former.
ALTER TABLE ksef_state RENAME COLUMN told TO notified_state;
ALTER TABLE ksef_state RENAME COLUMN told_tenants TO notified_tenants;
ALTER TABLE ksef_state RENAME CONSTRAINT ksef_state_told_check TO ksef_state_notified_state_check;
ALTER TABLE ksef_waiting RENAME TO ksef_waiting_sessions;
ALTER INDEX ksef_waiting_pkey RENAME TO ksef_waiting_sessions_pkey;

-- A document is an XML invoice here, not an answer in JSON.
ALTER FUNCTION written_id(text, uuid) RENAME TO public_id;
ALTER FUNCTION invoice_document(invoices) RENAME TO invoice_json;
ALTER FUNCTION invoice_text(invoices) RENAME TO invoice_json_text;
"""


def upgrade() -> None:
    """Rename."""
    op.get_bind().exec_driver_sql("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(CHANGES)
