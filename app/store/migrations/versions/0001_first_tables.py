"""The first tables: tenants, uploads, chunks, invoices, sessions, events, and Procrastinate's own.

Runs before the code. Revises nothing.
"""

from alembic import op
from procrastinate.schema import SchemaManager

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE tenants (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    public_id uuid NOT NULL UNIQUE,
    nip text NOT NULL UNIQUE CHECK (nip ~ '^[0-9]{10}$'),
    name text NOT NULL,
    credential_kind text NOT NULL CHECK (credential_kind IN ('self_signed', 'certificate', 'ksef_token')),
    -- Encrypted under the master key: certificate and key, or the token.
    credential bytea NOT NULL,
    compression text NOT NULL DEFAULT 'zip' CHECK (compression IN ('zip', 'targz')),
    -- What becomes of invoices that would change their mode by being sent after the day of their P_1.
    late_invoices text NOT NULL DEFAULT 'send' CHECK (late_invoices IN ('send', 'hold')),
    created_at timestamptz NOT NULL,
    disabled_at timestamptz
);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants,
    label text NOT NULL,
    secret_sha256 bytea NOT NULL,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at timestamptz
);

-- One row a tenant, encrypted: the access and refresh tokens that all workers share.
CREATE TABLE ksef_tokens (
    tenant_id integer PRIMARY KEY REFERENCES tenants,
    tokens bytea NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Counters of KSeF's request limits. `tenant_id` is 0 for what KSeF counts by address, `limit_group` is '*' for all groups.
CREATE TABLE ksef_quota (
    tenant_id integer NOT NULL,
    limit_group text NOT NULL,
    -- When requests were made, sorted; what is older than the longest window is pruned by the next booking.
    times timestamptz[] NOT NULL DEFAULT '{}',
    -- Where opening and closing share a counter: when openings were booked whose close is still to come.
    reserved timestamptz[] NOT NULL DEFAULT '{}',
    -- The moments told to those who have to wait.
    promised timestamptz[] NOT NULL DEFAULT '{}',
    close_waits_until timestamptz,
    -- The answer to whoever asked last; NULL: booked.
    retry_at timestamptz,
    blocked_until timestamptz,
    blocked_reason text,
    PRIMARY KEY (tenant_id, limit_group)
) WITH (fillfactor = 50);

CREATE TABLE ksef_limits (
    tenant_id integer PRIMARY KEY REFERENCES tenants,
    -- {group: [a second, a minute, an hour]}, null without limit.
    rate_limits jsonb,
    context_limits jsonb,
    -- Lowered when KSeF refused a session for its number of invoices.
    session_max_invoices integer,
    fetched_at timestamptz,
    asked_at timestamptz,
    stale boolean NOT NULL DEFAULT false
);

-- Whether an environment of KSeF is there, by its own answers; one row each, shared by all processes.
CREATE TABLE ksef_state (
    ksef_url text PRIMARY KEY,
    state text NOT NULL DEFAULT 'available' CHECK (state IN ('available', 'away')),
    since timestamptz,
    reason text,
    -- Calls without an answer, in a row.
    failures integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    last_failure_at timestamptz,
    probes integer NOT NULL DEFAULT 0,
    next_probe_at timestamptz,
    -- An operator's order, which counts instead until it runs out or is taken back.
    ordered_state text CHECK (ordered_state IN ('available', 'away')),
    ordered_at timestamptz,
    ordered_until timestamptz,
    ordered_reason text,
    -- What tenants were told last, and who was told of an outage that lasts.
    told text NOT NULL DEFAULT 'available' CHECK (told IN ('available', 'away')),
    told_tenants integer[] NOT NULL DEFAULT '{}',
    latarnia jsonb,
    latarnia_at timestamptz,
    latarnia_asked_at timestamptz,
    CHECK ((ordered_state IS NULL) = (ordered_at IS NULL))
);

-- Sessions whose jobs wait for KSeF to be back.
CREATE TABLE ksef_waiting (
    session_id uuid PRIMARY KEY
);

-- What may share a session. `flush_requested_at`: seal everything that arrived before this moment.
CREATE TABLE lanes (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants,
    form_code text NOT NULL,
    offline_mode boolean NOT NULL,
    compression text NOT NULL CHECK (compression IN ('zip', 'targz')),
    flush_requested_at timestamptz,
    UNIQUE (tenant_id, form_code, offline_mode, compression)
);

CREATE TABLE uploads (
    id uuid PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants,
    -- zip, targz, tar, ndjson, multipart, xml; 'invoices' is a group of single posts that were made durable together.
    kind text NOT NULL,
    boundary text,
    state text NOT NULL CHECK (state IN ('received', 'reading', 'in_progress', 'completed', 'failed')),
    blob_key text,
    bytes bigint NOT NULL,
    sha256 bytea NOT NULL,
    reference text,
    idempotency_key text,
    offline_mode boolean NOT NULL DEFAULT false,
    flush boolean NOT NULL DEFAULT false,
    atomic boolean NOT NULL DEFAULT false,
    -- The checkpoint of reading: entries before this one are in committed chunks.
    next_entry integer NOT NULL DEFAULT 0,
    errors jsonb NOT NULL DEFAULT '[]',
    created_at timestamptz NOT NULL,
    read_at timestamptz,
    completed_at timestamptz,
    -- When the bytes of its invoices were removed at the end of their retention.
    expired_at timestamptz,
    received integer NOT NULL DEFAULT 0 CHECK (received >= 0),
    invalid integer NOT NULL DEFAULT 0 CHECK (invalid >= 0),
    duplicate integer NOT NULL DEFAULT 0 CHECK (duplicate >= 0),
    queued integer NOT NULL DEFAULT 0 CHECK (queued >= 0),
    packed integer NOT NULL DEFAULT 0 CHECK (packed >= 0),
    sent integer NOT NULL DEFAULT 0 CHECK (sent >= 0),
    accepted integer NOT NULL DEFAULT 0 CHECK (accepted >= 0),
    rejected integer NOT NULL DEFAULT 0 CHECK (rejected >= 0),
    failed integer NOT NULL DEFAULT 0 CHECK (failed >= 0)
);
CREATE UNIQUE INDEX uploads_by_idempotency_key ON uploads (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX uploads_by_tenant ON uploads (tenant_id, id);
CREATE INDEX uploads_by_blob ON uploads (blob_key) WHERE blob_key IS NOT NULL;
CREATE INDEX uploads_unexpired ON uploads (completed_at) WHERE expired_at IS NULL;
CREATE INDEX uploads_unread ON uploads (id) WHERE state IN ('received', 'reading');

-- A few hundred invoices that were checked and stored together. Its id has 16 zero bits at the end: the id of an invoice is
-- the id of its chunk plus its position.
CREATE TABLE chunks (
    id uuid PRIMARY KEY,
    last_id uuid NOT NULL,
    tenant_id integer NOT NULL REFERENCES tenants,
    upload_id uuid NOT NULL REFERENCES uploads,
    lane_id integer NOT NULL REFERENCES lanes,
    first_entry integer NOT NULL,
    -- 'plain': documents as they came, not checked yet; 'deflate': ready entries.
    encoding text NOT NULL CHECK (encoding IN ('plain', 'deflate')),
    blob_key text NOT NULL,
    -- What waits for a session, in invoices and in bytes of ready entries.
    queued integer NOT NULL DEFAULT 0 CHECK (queued >= 0),
    queued_bytes bigint NOT NULL DEFAULT 0,
    -- An upload that wants all or nothing keeps its chunks held until it is read to its end.
    held boolean NOT NULL DEFAULT false,
    -- The latest P_1 of its valid invoices; those that a tenant decides on itself are taken out.
    latest_issue_date date,
    created_at timestamptz NOT NULL,
    UNIQUE (upload_id, first_entry)
);
CREATE INDEX chunks_queued ON chunks (lane_id, id) WHERE queued > 0 AND NOT held;
CREATE INDEX chunks_by_tenant ON chunks (tenant_id, id);
CREATE INDEX chunks_by_blob ON chunks (blob_key);
CREATE INDEX chunks_unchecked ON chunks (tenant_id, id) WHERE encoding = 'plain';

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants,
    lane_id integer NOT NULL REFERENCES lanes,
    state text NOT NULL CHECK (state IN
        ('sealed', 'packed', 'opening', 'open', 'closing', 'processing', 'completed', 'failed')),
    form_code text NOT NULL,
    offline_mode boolean NOT NULL,
    compression text NOT NULL,
    invoices integer NOT NULL,
    -- The latest P_1 in it: it is to be opened on that day.
    latest_issue_date date,
    package_bytes bigint,
    package_sha256 bytea,
    -- The AES key under the master key; set to null when the session is final.
    encryption_key bytea,
    iv bytea,
    reference_number text UNIQUE,
    ksef_status integer,
    polls integer NOT NULL DEFAULT 0,
    -- How often the AES key was wrapped anew; looks in a row that found no such session; looks that found no verdict for all.
    key_renewals smallint NOT NULL DEFAULT 0,
    strikes smallint NOT NULL DEFAULT 0,
    incomplete_looks smallint NOT NULL DEFAULT 0,
    accepted integer NOT NULL DEFAULT 0,
    rejected integer NOT NULL DEFAULT 0,
    failed integer NOT NULL DEFAULT 0,
    requeued integer NOT NULL DEFAULT 0,
    sealed_at timestamptz NOT NULL,
    packed_at timestamptz,
    opened_at timestamptz,
    -- KSeF's dateCreated, once a status has told it: its day, not that of our clock, decides the invoicing mode.
    ksef_created_at timestamptz,
    closed_at timestamptz,
    processed_at timestamptz,
    completed_at timestamptz,
    CHECK ((state = 'completed') <= (encryption_key IS NULL))
);
CREATE INDEX sessions_by_tenant ON sessions (tenant_id, id);
CREATE INDEX sessions_unfinished ON sessions (id) WHERE state NOT IN ('completed', 'failed');

-- Which chunks a session took invoices from.
CREATE TABLE session_chunks (
    session_id uuid NOT NULL REFERENCES sessions,
    chunk_id uuid NOT NULL REFERENCES chunks,
    invoices integer NOT NULL,
    PRIMARY KEY (session_id, chunk_id)
);

CREATE TABLE parts (
    session_id uuid NOT NULL REFERENCES sessions,
    ordinal_number integer NOT NULL CHECK (ordinal_number BETWEEN 1 AND 50),
    plain_bytes bigint NOT NULL,
    bytes bigint NOT NULL,
    sha256 bytea NOT NULL,
    blob_key text NOT NULL,
    -- Method, storage link and headers from KSeF, encrypted: whoever has the link may write.
    upload_target bytea,
    uploaded_at timestamptz,
    PRIMARY KEY (session_id, ordinal_number)
);

CREATE INDEX parts_by_blob ON parts (blob_key);

CREATE TABLE session_history (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions,
    at timestamptz NOT NULL,
    action text NOT NULL,
    outcome text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX session_history_by_session ON session_history (session_id, id);

CREATE TABLE upo_pages (
    session_id uuid NOT NULL REFERENCES sessions,
    page integer NOT NULL,
    upo_reference_number text NOT NULL,
    blob_key text NOT NULL,
    bytes bigint NOT NULL,
    sha256 bytea NOT NULL,
    documents integer NOT NULL,
    fetched_at timestamptz NOT NULL,
    PRIMARY KEY (session_id, page)
);

CREATE INDEX upo_pages_by_blob ON upo_pages (blob_key);

CREATE TABLE invoices (
    id uuid PRIMARY KEY,
    tenant_id integer NOT NULL,
    upload_id uuid NOT NULL,
    session_id uuid,
    state text NOT NULL CHECK (state IN
        ('received', 'invalid', 'duplicate', 'queued', 'packed', 'sent', 'accepted', 'rejected', 'failed')),
    name text NOT NULL,
    number text,
    seller_nip text,
    kind text,
    issue_date date,
    -- KSeF's uniqueness key, hashed: seller NIP, RodzajFaktury, P_2.
    identity uuid,
    sha256 bytea NOT NULL,
    size integer NOT NULL,
    crc32 bigint NOT NULL,
    blob_offset integer NOT NULL,
    blob_bytes integer NOT NULL,
    findings jsonb,
    duplicate_of uuid,
    ksef_number text,
    invoice_reference_number text,
    acquired_at timestamptz,
    invoicing_mode text,
    upo_page integer,
    attempts smallint NOT NULL DEFAULT 0,
    -- 'held': queued, but waits for the tenant's decision; 'released': was decided, goes whatever the day.
    hold text CHECK (hold IN ('held', 'released')),
    finished_at timestamptz
) WITH (fillfactor = 70);
CREATE INDEX invoices_held ON invoices (tenant_id, id) WHERE hold = 'held';
CREATE INDEX invoices_by_number ON invoices (tenant_id, number);
CREATE INDEX invoices_by_hash ON invoices USING hash (sha256);
CREATE INDEX invoices_by_ksef_number ON invoices (ksef_number) WHERE ksef_number IS NOT NULL;

-- Who holds a (seller NIP, kind, number) of a tenant: an invoice that is alive or accepted. Released when it ends otherwise.
CREATE TABLE claims (
    tenant_id integer NOT NULL,
    identity uuid NOT NULL,
    invoice_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, identity)
);

-- The outbox: written in the transaction of the change that an event tells of.
CREATE TABLE events (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL UNIQUE,
    tenant_id integer NOT NULL REFERENCES tenants,
    type text NOT NULL,
    created_at timestamptz NOT NULL,
    session_id uuid,
    data jsonb NOT NULL,
    -- Sequence numbers are given out before the commit, so a reader that goes by them alone would step over an event whose
    -- transaction ends late. Readers go by (written_by, sequence) and stop before the oldest transaction still running.
    written_by xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX events_by_tenant ON events (tenant_id, written_by, sequence);

CREATE TABLE webhook_endpoints (
    id uuid PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants,
    url text NOT NULL,
    description text NOT NULL DEFAULT '',
    event_types text[],
    -- Encrypted; newest first. More than one while a rotation overlaps.
    secrets bytea NOT NULL,
    created_at timestamptz NOT NULL,
    disabled_at timestamptz,
    disabled_reason text,
    failing_since timestamptz,
    deleted_at timestamptz
);
CREATE INDEX webhook_endpoints_by_tenant ON webhook_endpoints (tenant_id) WHERE deleted_at IS NULL;

CREATE TABLE deliveries (
    id uuid PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants,
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoints,
    event_sequence bigint NOT NULL REFERENCES events (sequence),
    state text NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    -- Why it failed: exhausted, gone, endpoint_disabled, endpoint_deleted.
    reason text,
    UNIQUE (endpoint_id, event_sequence)
);
CREATE INDEX deliveries_pending ON deliveries (next_attempt_at) WHERE state = 'pending';

-- Times as users see them: UTC, ISO 8601, milliseconds.
CREATE FUNCTION iso_utc(moment timestamptz) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- The Polish calendar day of a moment, which is what KSeF compares P_1 with.
CREATE FUNCTION warsaw_day(moment timestamptz) RETURNS date LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (moment AT TIME ZONE 'Europe/Warsaw')::date;

CREATE FUNCTION written_id(prefix text, id uuid) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN prefix || '_' || replace(id::text, '-', '');

-- An invoice as the API, the results stream and the events show it; one place, so that they cannot differ.
CREATE FUNCTION invoice_document(i invoices) RETURNS jsonb LANGUAGE sql STABLE PARALLEL SAFE
    RETURN jsonb_build_object(
        'id', written_id('inv', i.id),
        'state', i.state,
        'name', i.name,
        'number', i.number,
        'seller_nip', i.seller_nip,
        'kind', i.kind,
        'issue_date', i.issue_date,
        'sha256', encode(i.sha256, 'hex'),
        'size', i.size,
        'upload', written_id('upl', i.upload_id),
        'session', written_id('ses', i.session_id),
        'ksef_number', i.ksef_number,
        'acquired_at', iso_utc(i.acquired_at),
        'invoicing_mode', i.invoicing_mode,
        'findings', coalesce(i.findings, '[]'::jsonb),
        'duplicate_of', written_id('inv', i.duplicate_of)
    );

CREATE TABLE delivery_attempts (
    delivery_id uuid NOT NULL REFERENCES deliveries,
    attempt integer NOT NULL,
    at timestamptz NOT NULL,
    milliseconds integer NOT NULL,
    status integer,
    -- 'started' is the intent, written before the request leaves; it stays when the process dies on the way.
    outcome text NOT NULL,
    answer text,
    PRIMARY KEY (delivery_id, attempt)
);
"""


def upgrade() -> None:
    """Make the tables."""
    op.get_bind().exec_driver_sql("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(TABLES)
    # Procrastinate ships its schema as one script with the right functions for the version that we pin.
    op.get_bind().exec_driver_sql(SchemaManager.get_schema().replace("%", "%%"))
