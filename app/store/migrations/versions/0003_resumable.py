"""Uploads that arrive in pieces, repeats without a key, and keys of single posts.

Runs before the code. Revises 0002.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STEPS = """
-- The hash of a body that came in pieces is known when it has been read once.
ALTER TABLE uploads ALTER COLUMN sha256 DROP NOT NULL;
ALTER TABLE uploads
    -- The bytes are in upload_segments instead of one blob.
    ADD COLUMN segmented boolean NOT NULL DEFAULT false,
    -- What the sender said the hash would be; compared before anything is taken.
    ADD COLUMN declared_sha256 bytea,
    -- The first upload of the same body within the window.
    ADD COLUMN repeat_of uuid;
CREATE INDEX uploads_by_hash ON uploads (tenant_id, sha256) WHERE kind <> 'invoices';

-- Bodies that are not complete yet. Such a row becomes one of `uploads`, with the same id, when its last byte is durable.
CREATE TABLE resumable_uploads (
    id uuid PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants,
    kind text NOT NULL,
    boundary text,
    -- NULL: the sender tells the length later.
    bytes bigint CHECK (bytes > 0),
    received bigint NOT NULL DEFAULT 0 CHECK (received >= 0 AND (bytes IS NULL OR received <= bytes)),
    declared_sha256 bytea,
    -- Upload-Metadata as it came, to be given back.
    metadata text,
    filename text,
    reference text,
    idempotency_key text,
    offline_mode boolean NOT NULL,
    flush boolean NOT NULL,
    atomic boolean NOT NULL,
    -- The request that may add bytes: the one that began last.
    writer uuid,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX resumable_uploads_by_key ON resumable_uploads (tenant_id, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
CREATE INDEX resumable_uploads_by_tenant ON resumable_uploads (tenant_id, id);
CREATE INDEX resumable_uploads_by_expiry ON resumable_uploads (expires_at);

-- The bytes of a body that came in pieces, before and after it is complete, until it has been read.
CREATE TABLE upload_segments (
    upload_id uuid NOT NULL,
    start bigint NOT NULL,
    bytes bigint NOT NULL CHECK (bytes > 0),
    blob_key text NOT NULL UNIQUE,
    PRIMARY KEY (upload_id, start)
);

-- Idempotency-Keys of single posts.
CREATE TABLE single_keys (
    tenant_id integer NOT NULL REFERENCES tenants,
    idempotency_key text NOT NULL,
    invoice_id uuid NOT NULL,
    sha256 bytea NOT NULL,
    offline_mode boolean NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, idempotency_key)
);
CREATE INDEX single_keys_by_age ON single_keys (created_at);
"""


def upgrade() -> None:
    """Bring the schema forward: older uploads are of one blob and repeat no other."""
    op.get_bind().exec_driver_sql("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(STEPS)
