"""Suspected duplicates, receipts of single invoices, and the rule `duplicate-other` under its present name.

Stop the workers first: code of the version before takes every duplicate for another document. It rewrites the findings of rejected
invoices and events that carry the old name of the rule. Revises 0014.
"""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

CHANGES = """
-- An invoice that KSeF called a duplicate (status 440). It stays `sent` until it is proved what the original is.
CREATE TABLE suspected_duplicates (
    invoice_id uuid PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants,
    session_id uuid NOT NULL,
    sha256 bytea NOT NULL,
    -- KSeF's words, and the original that it names. The session can be the wrong one.
    words text NOT NULL,
    original_ksef_number text,
    original_session text,
    suspected_at timestamptz NOT NULL,
    -- Searches that ended without proof; the reason of the last one.
    attempts integer NOT NULL DEFAULT 0,
    reason text,
    -- When it is looked into again: for the proof, or after that for a receipt that KSeF did not give. NULL: never.
    next_at timestamptz,
    -- When its tenant and the operator were notified that it is unresolved.
    notified_at timestamptz,
    settled_at timestamptz,
    outcome text CHECK (outcome IN ('accepted', 'rejected')),
    -- What proved it: own-records, receipt, session-list, metadata, document, operator.
    evidence text,
    settled_by text,
    receipt_asks smallint NOT NULL DEFAULT 0,
    CHECK ((settled_at IS NULL) = (outcome IS NULL))
);
CREATE INDEX suspected_duplicates_due ON suspected_duplicates (tenant_id, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX suspected_duplicates_unresolved ON suspected_duplicates (tenant_id)
    WHERE settled_at IS NULL AND notified_at IS NOT NULL;

-- How far the listing of metadata got that searches for originals of a tenant: a range of time and a page of it.
CREATE TABLE duplicate_scans (
    tenant_id integer PRIMARY KEY REFERENCES tenants,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    next_page integer NOT NULL
);

-- The receipt (UPO) of one invoice, as KSeF signed it. Invoices of a batch session are on the pages of their session's receipt.
CREATE TABLE invoice_receipts (
    invoice_id uuid PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants,
    session_reference_number text NOT NULL,
    blob_key text NOT NULL,
    bytes bigint NOT NULL,
    sha256 bytea NOT NULL,
    fetched_at timestamptz NOT NULL
);
CREATE INDEX invoice_receipts_by_blob ON invoice_receipts (blob_key);

UPDATE invoices SET findings = replace(findings::text, '"rule": "duplicate_other"', '"rule": "duplicate-other"')::jsonb
WHERE state = 'rejected' AND findings @> '[{"rule": "duplicate_other"}]';
UPDATE events SET data = replace(data, '"rule": "duplicate_other"', '"rule": "duplicate-other"')
WHERE type = 'invoices.rejected' AND data LIKE '%"rule": "duplicate\\_other"%';
"""


def upgrade() -> None:
    """Make the tables and rename the rule."""
    op.get_bind().exec_driver_sql("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(CHANGES.replace("%", "%%"))
