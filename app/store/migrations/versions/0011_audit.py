"""The audit: rows that are never changed, and the seal of the newest one.

Code of the version before writes no rows. Revises 0010.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

CHANGES = """
CREATE TABLE audit_rows (
    number bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    actor_kind text NOT NULL CHECK (actor_kind IN ('key', 'cli', 'worker')),
    actor text NOT NULL,
    act text NOT NULL,
    -- No foreign key: rows stay when their tenant is removed.
    tenant_id bigint,
    object text,
    request_id text,
    outcome text NOT NULL,
    -- JSON as it was hashed, which jsonb would write in another way.
    details text NOT NULL,
    -- Unique: two rows never follow the same one.
    previous_hash bytea NOT NULL UNIQUE,
    hash bytea NOT NULL
);
CREATE INDEX audit_rows_by_tenant ON audit_rows (tenant_id, number);
CREATE INDEX audit_rows_by_time ON audit_rows (at);

-- One row at most. Made by the first act, since its seal needs the master key.
CREATE TABLE audit_head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    number bigint NOT NULL,
    hash bytea NOT NULL,
    -- Over number and hash, under a key that is not in the database.
    mac bytea NOT NULL
);

CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = 'rows of ' || TG_TABLE_NAME || ' are never changed or removed';
END $$;
CREATE TRIGGER audit_rows_stay BEFORE UPDATE OR DELETE ON audit_rows
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_rows_stay_whole BEFORE TRUNCATE ON audit_rows
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_head_stays BEFORE DELETE ON audit_head
    FOR EACH ROW EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_head_stays_whole BEFORE TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
"""


def upgrade() -> None:
    """Make the tables and the triggers that keep them."""
    op.get_bind().exec_driver_sql("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(CHANGES)
