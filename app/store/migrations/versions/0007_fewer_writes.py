"""Less to write for an invoice that is accepted: rows that stay on their pages, KSeF numbers beside them, events as text.

Runs before the code, with the workers stopped: a worker of the version before writes no `ksef_numbers`. Revises 0006. It writes all
events anew, which takes about a minute for those of ten million invoices.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

CHANGES = """
-- An invoice is written three times on its way. With room for the next version on its page none of its indexes is touched, and the
-- table ends up smaller than with pages that start fuller.
ALTER TABLE invoices SET (fillfactor = 42);

-- Which invoice has a KSeF number. An index on `invoices` would make each acceptance write all other indexes too.
CREATE TABLE ksef_numbers (
    ksef_number text NOT NULL,
    invoice_id uuid NOT NULL,
    PRIMARY KEY (ksef_number, invoice_id)
);
INSERT INTO ksef_numbers SELECT ksef_number, id FROM invoices WHERE ksef_number IS NOT NULL ORDER BY ksef_number;
DROP INDEX invoices_by_ksef_number;

-- JSON text as it is sent: nobody looks into it here, and jsonb is taken apart and put together for every reader.
ALTER TABLE events ALTER COLUMN data TYPE text;

-- The text of `invoice_document`, byte for byte, for a third of the work.
CREATE FUNCTION invoice_text(i invoices) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN '{"id": "inv_' || encode(uuid_send(i.id), 'hex')
        || '", "kind": ' || coalesce(to_json(i.kind)::text, 'null')
        || ', "name": ' || to_json(i.name)::text
        || ', "size": ' || i.size
        || ', "state": "' || i.state
        || '", "number": ' || coalesce(to_json(i.number)::text, 'null')
        || ', "sha256": "' || encode(i.sha256, 'hex')
        || '", "upload": "upl_' || encode(uuid_send(i.upload_id), 'hex')
        || '", "session": ' || coalesce('"ses_' || encode(uuid_send(i.session_id), 'hex') || '"', 'null')
        || ', "findings": ' || coalesce(i.findings::text, '[]')
        || ', "issue_date": ' || coalesce(to_json(i.issue_date)::text, 'null')
        || ', "seller_nip": ' || coalesce(to_json(i.seller_nip)::text, 'null')
        || ', "acquired_at": ' || coalesce('"' || iso_utc(i.acquired_at) || '"', 'null')
        || ', "ksef_number": ' || coalesce(to_json(i.ksef_number)::text, 'null')
        || ', "duplicate_of": ' || coalesce('"inv_' || encode(uuid_send(i.duplicate_of), 'hex') || '"', 'null')
        || ', "invoicing_mode": ' || coalesce(to_json(i.invoicing_mode)::text, 'null') || '}';
"""

FASTER_COMPRESSION = """
DO $$ BEGIN
    ALTER TABLE events ALTER COLUMN data SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;  -- A server that was built without it, like the one that comes along.
END $$;
"""


def upgrade() -> None:
    """Bring the schema forward."""
    op.get_bind().exec_driver_sql("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(CHANGES)
    op.get_bind().exec_driver_sql(FASTER_COMPRESSION)
