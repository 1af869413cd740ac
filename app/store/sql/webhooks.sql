-- name: lock_tenant
-- Registrations of one tenant happen one after the other, so that its bound on endpoints holds.
SELECT id FROM tenants WHERE id = %(tenant_id)s FOR NO KEY UPDATE

-- name: add_endpoint
-- Nothing is added (no row comes back) when the tenant has as many live endpoints as it may have.
INSERT INTO webhook_endpoints (id, tenant_id, url, description, event_types, secrets, created_at)
SELECT %(id)s, %(tenant_id)s, %(url)s, %(description)s, %(event_types)s, %(secrets)s, %(now)s
WHERE (SELECT count(*) FROM webhook_endpoints WHERE tenant_id = %(tenant_id)s AND deleted_at IS NULL) < %(most)s
RETURNING *

-- name: list_endpoints
-- Oldest first; leans on webhook_endpoints_by_tenant. A tenant has few.
SELECT * FROM webhook_endpoints WHERE tenant_id = %(tenant_id)s AND deleted_at IS NULL ORDER BY created_at, id

-- name: get_endpoint
SELECT * FROM webhook_endpoints WHERE id = %(id)s AND tenant_id = %(tenant_id)s AND deleted_at IS NULL

-- name: lock_endpoint
-- For a change that depends on what the row says.
SELECT * FROM webhook_endpoints WHERE id = %(id)s AND tenant_id = %(tenant_id)s AND deleted_at IS NULL FOR NO KEY UPDATE

-- name: update_endpoint
UPDATE webhook_endpoints SET
    url = %(url)s, description = %(description)s, event_types = %(event_types)s,
    disabled_at = %(disabled_at)s, disabled_reason = %(disabled_reason)s, failing_since = %(failing_since)s
WHERE id = %(id)s
RETURNING *

-- name: set_secrets
UPDATE webhook_endpoints SET secrets = %(secrets)s WHERE id = %(id)s

-- name: delete_endpoint
-- The row stays for the history; its secrets do not.
UPDATE webhook_endpoints SET deleted_at = %(now)s, secrets = ''
WHERE id = %(id)s AND tenant_id = %(tenant_id)s AND deleted_at IS NULL
RETURNING id

-- name: add_delivery
INSERT INTO deliveries (id, tenant_id, endpoint_id, event_sequence, state, next_attempt_at, created_at)
VALUES (%(id)s, %(tenant_id)s, %(endpoint_id)s, %(event_sequence)s, 'pending', %(now)s, %(now)s)

-- name: get_delivery
SELECT d.*, e.id AS event_id, e.type AS event_type, w.disabled_at AS endpoint_disabled_at, w.deleted_at AS endpoint_deleted_at
FROM deliveries d
JOIN events e ON e.sequence = d.event_sequence
JOIN webhook_endpoints w ON w.id = d.endpoint_id
WHERE d.id = %(id)s AND d.tenant_id = %(tenant_id)s

-- name: lock_delivery
-- The delivery alone is locked: its event and its endpoint serve others at the same time.
SELECT d.*, e.id AS event_id, e.type AS event_type, w.disabled_at AS endpoint_disabled_at, w.deleted_at AS endpoint_deleted_at
FROM deliveries d
JOIN events e ON e.sequence = d.event_sequence
JOIN webhook_endpoints w ON w.id = d.endpoint_id
WHERE d.id = %(id)s AND d.tenant_id = %(tenant_id)s
FOR NO KEY UPDATE OF d

-- name: list_deliveries
-- Newest event first, older than the delivery `before`; leans on the unique index (endpoint_id, event_sequence).
SELECT d.*, e.id AS event_id, e.type AS event_type
FROM deliveries d JOIN events e ON e.sequence = d.event_sequence
WHERE d.endpoint_id = %(endpoint_id)s AND d.tenant_id = %(tenant_id)s
    AND (%(before)s::uuid IS NULL OR d.event_sequence <
        (SELECT b.event_sequence FROM deliveries b WHERE b.id = %(before)s AND b.endpoint_id = %(endpoint_id)s))
    AND (%(state)s::text IS NULL OR d.state = %(state)s)
ORDER BY d.event_sequence DESC LIMIT %(limit)s

-- name: list_attempts
SELECT * FROM delivery_attempts WHERE delivery_id = ANY(%(ids)s) ORDER BY delivery_id, attempt

-- name: reopen_delivery
UPDATE deliveries SET state = 'pending', next_attempt_at = %(now)s, finished_at = NULL, reason = NULL WHERE id = %(id)s

-- name: owed_delivery
-- What a worker decides by before it spends an attempt. `server_time`: the clock that scheduled jobs go by.
SELECT d.id, d.endpoint_id, d.state, d.next_attempt_at, w.failing_since,
    w.disabled_at AS endpoint_disabled_at, w.deleted_at AS endpoint_deleted_at, clock_timestamp() AS server_time
FROM deliveries d JOIN webhook_endpoints w ON w.id = d.endpoint_id
WHERE d.id = %(id)s

-- name: claim_delivery
-- Take the next attempt: the intent is in the history before the request leaves, and until `lease_until` no other job takes
-- one. Locks the delivery's row for a moment; no row comes back when it is finished, not due, its
-- endpoint is closed, or another job was faster.
WITH claimed AS (
    UPDATE deliveries d SET attempts = d.attempts + 1, next_attempt_at = %(lease_until)s
    FROM webhook_endpoints w
    WHERE d.id = %(id)s AND d.state = 'pending' AND d.next_attempt_at <= %(due)s
        AND w.id = d.endpoint_id AND w.deleted_at IS NULL AND w.disabled_at IS NULL
    RETURNING d.id, d.attempts, d.event_sequence, d.endpoint_id, d.tenant_id
), written AS (
    INSERT INTO delivery_attempts (delivery_id, attempt, at, milliseconds, outcome)
    SELECT id, attempts, %(now)s, 0, 'started' FROM claimed
)
SELECT c.id, c.attempts, c.endpoint_id, w.url, w.secrets,
    e.id AS event_id, e.type AS event_type, e.created_at AS event_at, e.data::text AS data, t.public_id AS tenant
FROM claimed c
JOIN events e ON e.sequence = c.event_sequence
JOIN webhook_endpoints w ON w.id = c.endpoint_id
JOIN tenants t ON t.id = c.tenant_id

-- name: record_attempt
UPDATE delivery_attempts SET milliseconds = %(milliseconds)s, status = %(status)s, outcome = %(outcome)s, answer = %(answer)s
WHERE delivery_id = %(id)s AND attempt = %(attempt)s

-- name: settle_delivery
-- Only by the job that made this attempt: a later one may have been claimed after the lease ran out.
UPDATE deliveries SET state = %(state)s, next_attempt_at = %(next_attempt_at)s, finished_at = %(finished_at)s,
    reason = %(reason)s
WHERE id = %(id)s AND state = 'pending' AND attempts = %(attempt)s
RETURNING id

-- name: endpoint_recovered
-- Touches the row only when it was failing: a success is the usual case and must stay free.
UPDATE webhook_endpoints SET failing_since = NULL WHERE id = %(id)s AND failing_since IS NOT NULL

-- name: endpoint_failed
-- Remembers since when, and disables after the grace, or at once with a reason.
UPDATE webhook_endpoints SET
    failing_since = coalesce(failing_since, %(now)s),
    disabled_reason = CASE WHEN %(gone)s THEN 'gone'
        WHEN coalesce(failing_since, %(now)s) <= %(given_up_before)s THEN 'failing' ELSE NULL END,
    disabled_at = CASE WHEN %(gone)s OR coalesce(failing_since, %(now)s) <= %(given_up_before)s THEN %(now)s ELSE NULL END
WHERE id = %(id)s AND disabled_at IS NULL AND deleted_at IS NULL
    AND (%(gone)s OR failing_since IS NULL OR failing_since <= %(given_up_before)s)
RETURNING disabled_reason

-- name: give_up_delivery
UPDATE deliveries SET state = 'failed', reason = %(reason)s, next_attempt_at = NULL, finished_at = %(now)s
WHERE id = %(id)s AND state = 'pending'

-- name: postpone_delivery
UPDATE deliveries SET next_attempt_at = %(until)s WHERE id = %(id)s AND state = 'pending' AND next_attempt_at <= %(now)s

-- name: take_overdue_deliveries
-- Deliveries whose job is lost; each comes once, since it is due anew. Leans on deliveries_pending, skips what others hold.
UPDATE deliveries SET next_attempt_at = %(now)s
WHERE id IN (
    SELECT id FROM deliveries WHERE state = 'pending' AND next_attempt_at < %(before)s
    ORDER BY next_attempt_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
RETURNING id

-- name: events_after
-- In an order that no late commit can slip behind: only transactions older than every running one are shown, and what they
-- wrote is complete. A page ends before it grows beyond a bound (of stored, compressed bytes: nothing is unpacked to count),
-- but never empty; `found` above the number of rows says that there is more. Leans on events_by_tenant.
SELECT id, type, created_at, data::text AS data, found FROM (
    SELECT e.id, e.type, e.created_at, e.data, row_number() OVER arrival AS position,
        sum(pg_column_size(e.data)) OVER arrival AS bytes, count(*) OVER () AS found
    FROM (
        SELECT * FROM events
        WHERE tenant_id = %(tenant_id)s
            AND written_by < pg_snapshot_xmin(pg_current_snapshot())
            AND (%(after)s::uuid IS NULL OR (written_by, sequence) >
                (SELECT c.written_by, c.sequence FROM events c WHERE c.id = %(after)s AND c.tenant_id = %(tenant_id)s))
            AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s))
        ORDER BY written_by, sequence LIMIT %(limit)s + 1
    ) e
    WINDOW arrival AS (ORDER BY e.written_by, e.sequence)
) page
WHERE position <= %(limit)s AND (position = 1 OR bytes <= %(max_bytes)s)
ORDER BY position

-- name: event_exists
SELECT 1 AS known FROM events WHERE id = %(id)s AND tenant_id = %(tenant_id)s
