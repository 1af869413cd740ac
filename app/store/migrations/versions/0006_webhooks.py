"""Webhook keys, headers, ordering and replay; deliveries are claimed by endpoint instead of by a job each.

Runs before the code. Revises 0005.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

CHANGES = """
ALTER TABLE webhook_endpoints
    ADD COLUMN signing text NOT NULL DEFAULT 'hmac' CHECK (signing IN ('hmac', 'ed25519')),
    -- The tenant's own request headers: names in plain, values encrypted. NULL: none.
    ADD COLUMN header_names text[] NOT NULL DEFAULT '{}',
    ADD COLUMN headers bytea,
    -- 'session': the deliveries of one session go one after the other, in the order of their events.
    ADD COLUMN ordering text NOT NULL DEFAULT 'none' CHECK (ordering IN ('none', 'session')),
    ADD COLUMN max_concurrency smallint NOT NULL DEFAULT 10 CHECK (max_concurrency BETWEEN 1 AND 50),
    -- Counts changes of what a sender has to know, so that it reads the row again only when there was one.
    ADD COLUMN version integer NOT NULL DEFAULT 1;

ALTER TABLE deliveries
    ADD COLUMN session_id uuid,
    -- Attempts made before a replay opened the delivery again: the schedule counts from there.
    ADD COLUMN attempts_before integer NOT NULL DEFAULT 0,
    -- Events go when they are old; a check of this reference would search all deliveries for each of them.
    DROP CONSTRAINT deliveries_event_sequence_fkey,
    -- Room in each page for the next version of a row, and a table that is swept while it is still small.
    SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);
UPDATE deliveries d SET session_id = e.session_id FROM events e
    WHERE e.sequence = d.event_sequence AND e.session_id IS NOT NULL AND d.state = 'pending';
DROP INDEX deliveries_pending;
CREATE INDEX deliveries_waiting ON deliveries (endpoint_id, next_attempt_at, event_sequence) WHERE state = 'pending';
CREATE INDEX deliveries_of_session ON deliveries (endpoint_id, session_id, event_sequence)
    WHERE state = 'pending' AND session_id IS NOT NULL;

ALTER TABLE delivery_attempts
    ADD COLUMN url text,
    ADD COLUMN bytes integer,
    -- Names of the endpoint's own headers that the request carried; NULL: none.
    ADD COLUMN header_names text[],
    SET (fillfactor = 80);

CREATE TABLE webhook_replays (
    id uuid PRIMARY KEY,
    tenant_id integer NOT NULL REFERENCES tenants,
    endpoint_id uuid NOT NULL REFERENCES webhook_endpoints,
    -- 'stopped': the endpoint was disabled or deleted meanwhile.
    state text NOT NULL CHECK (state IN ('running', 'completed', 'stopped')),
    -- What was asked for: from a moment, or after an event; up to a moment; only these types; what succeeded too.
    since timestamptz,
    since_event uuid,
    until timestamptz NOT NULL,
    event_types text[],
    everything boolean NOT NULL,
    -- Events to be sent when it began, and those that have been made due again so far.
    events integer NOT NULL,
    made integer NOT NULL DEFAULT 0,
    -- Transactions from here on write their deliveries themselves: the endpoint was enabled before they began.
    written_before xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- The last event that has been looked at.
    cursor_written_by xid8,
    cursor_sequence bigint,
    created_at timestamptz NOT NULL,
    finished_at timestamptz,
    CHECK ((since IS NULL) <> (since_event IS NULL)),
    CHECK ((cursor_written_by IS NULL) = (cursor_sequence IS NULL)),
    CHECK ((state = 'running') = (finished_at IS NULL))
);
CREATE UNIQUE INDEX webhook_replays_running ON webhook_replays (endpoint_id) WHERE state = 'running';
CREATE INDEX webhook_replays_by_endpoint ON webhook_replays (endpoint_id, created_at);

-- One job a delivery is no more; what they were for stands in `deliveries`.
DELETE FROM procrastinate_jobs WHERE task_name = 'webhooks.deliver_event' AND status = 'todo';
"""


def upgrade() -> None:
    """Bring the schema forward."""
    op.get_bind().exec_driver_sql("SET LOCAL lock_timeout = '5s'")
    op.get_bind().exec_driver_sql(CHANGES)
