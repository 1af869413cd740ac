-- name: get_delivery
SELECT d.*, e.id AS event_id, e.type AS event_type, w.disabled_at AS endpoint_disabled_at, w.deleted_at AS endpoint_deleted_at
FROM deliveries d
JOIN events e ON e.sequence = d.event_sequence
JOIN webhook_endpoints w ON w.id = d.endpoint_id
WHERE d.id = %(id)s AND d.tenant_id = %(tenant_id)s

-- name: lock_delivery
-- Locks the delivery only: other transactions use its event and its endpoint at the same time.
SELECT d.*, e.id AS event_id, e.type AS event_type, w.disabled_at AS endpoint_disabled_at, w.deleted_at AS endpoint_deleted_at
FROM deliveries d
JOIN events e ON e.sequence = d.event_sequence
JOIN webhook_endpoints w ON w.id = d.endpoint_id
WHERE d.id = %(id)s AND d.tenant_id = %(tenant_id)s
FOR NO KEY UPDATE OF d

-- name: list_deliveries
-- Newest event first, older than the delivery `before`; uses the unique index (endpoint_id, event_sequence).
SELECT d.*, e.id AS event_id, e.type AS event_type
FROM deliveries d JOIN events e ON e.sequence = d.event_sequence
WHERE d.endpoint_id = %(endpoint_id)s AND d.tenant_id = %(tenant_id)s
    AND (%(before)s::uuid IS NULL OR d.event_sequence <
        (SELECT b.event_sequence FROM deliveries b WHERE b.id = %(before)s AND b.endpoint_id = %(endpoint_id)s))
    AND (%(state)s::text IS NULL OR d.state = %(state)s)
ORDER BY d.event_sequence DESC LIMIT %(limit)s

-- name: list_attempts
SELECT * FROM delivery_attempts WHERE delivery_id = ANY(%(ids)s) ORDER BY delivery_id, attempt

-- name: delivery_body
SELECT e.sequence, e.id, e.type, e.created_at, t.public_id AS tenant, e.data
FROM deliveries d JOIN events e ON e.sequence = d.event_sequence JOIN tenants t ON t.id = e.tenant_id
WHERE d.id = %(id)s AND d.tenant_id = %(tenant_id)s

-- name: reopen_delivery
WITH opened AS (
    UPDATE deliveries SET state = 'pending', next_attempt_at = %(now)s, finished_at = NULL, reason = NULL WHERE id = %(id)s
    RETURNING 1
)
SELECT pg_notify('ksefd_deliveries', '') FROM opened

-- name: endpoints_with_work
-- Every endpoint with pending deliveries, with the time of its next attempt. Steps from one endpoint to the next along
-- deliveries_waiting, so the cost grows with the endpoints, not with their deliveries.
WITH RECURSIVE waiting AS (
    (SELECT endpoint_id, next_attempt_at FROM deliveries WHERE state = 'pending'
        ORDER BY endpoint_id, next_attempt_at LIMIT 1)
    UNION ALL
    SELECT n.endpoint_id, n.next_attempt_at FROM waiting w CROSS JOIN LATERAL (
        SELECT d.endpoint_id, d.next_attempt_at FROM deliveries d
        WHERE d.state = 'pending' AND d.endpoint_id > w.endpoint_id
        ORDER BY d.endpoint_id, d.next_attempt_at LIMIT 1
    ) n
)
SELECT w.endpoint_id, w.next_attempt_at, e.version,
    CASE WHEN e.deleted_at IS NOT NULL THEN 'endpoint_deleted' WHEN e.disabled_at IS NOT NULL THEN 'endpoint_disabled' END
        AS closed
FROM waiting w JOIN webhook_endpoints e ON e.id = w.endpoint_id

-- name: take_endpoints
-- The process with the lease of an endpoint delivers to it alone. The lock belongs to its connection and ends with the process.
SELECT id FROM unnest(%(ids)s::uuid[]) AS id WHERE pg_try_advisory_lock(hashtextextended('webhook:' || id, 0))

-- name: release_endpoints
SELECT pg_advisory_unlock(hashtextextended('webhook:' || id, 0)) FROM unnest(%(ids)s::uuid[]) AS id

-- name: read_targets
SELECT * FROM webhook_endpoints WHERE id = ANY(%(ids)s)

-- name: give_up_deliveries
-- Pending deliveries of closed endpoints, a bounded number at a time.
UPDATE deliveries d SET state = 'failed', reason = %(reason)s, next_attempt_at = NULL, finished_at = %(now)s
WHERE d.id IN (
    SELECT id FROM deliveries WHERE endpoint_id = %(endpoint_id)s AND state = 'pending' LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)

-- name: reserve_attempts
-- Reserves the next attempts of several endpoints, `slots` of each, earliest first, and writes them into the history before their
-- requests are sent. `busy` are the deliveries under way in this process. At an ordered endpoint a delivery waits for every
-- earlier one of its session. Uses deliveries_waiting and deliveries_of_session.
WITH due AS (
    SELECT d.id FROM unnest(%(endpoints)s::uuid[], %(slots)s::integer[], %(ordered)s::boolean[])
        AS wanted (endpoint_id, slots, ordered)
    CROSS JOIN LATERAL (
        SELECT d.id FROM deliveries d
        WHERE d.endpoint_id = wanted.endpoint_id AND d.state = 'pending' AND d.next_attempt_at <= %(due)s
            AND d.id <> ALL(%(busy)s)
            AND (NOT wanted.ordered OR d.session_id IS NULL OR NOT EXISTS (
                SELECT FROM deliveries b
                WHERE b.endpoint_id = d.endpoint_id AND b.session_id = d.session_id AND b.state = 'pending'
                    AND b.event_sequence < d.event_sequence))
        ORDER BY d.next_attempt_at, d.event_sequence LIMIT wanted.slots
    ) d
), claimed AS (
    UPDATE deliveries d SET attempts = d.attempts + 1
    FROM due, webhook_endpoints w
    WHERE d.id = due.id AND d.state = 'pending'
        AND w.id = d.endpoint_id AND w.deleted_at IS NULL AND w.disabled_at IS NULL
    RETURNING d.id, d.endpoint_id, d.event_sequence, d.session_id, d.attempts, d.attempts_before, w.version, w.url,
        w.header_names
), written AS (
    INSERT INTO delivery_attempts (delivery_id, attempt, at, milliseconds, outcome, url, header_names)
    SELECT id, attempts, %(now)s, 0, 'started', url, nullif(header_names, '{}') FROM claimed
)
SELECT id, endpoint_id, event_sequence, session_id, attempts, attempts - attempts_before AS tries, version FROM claimed
ORDER BY event_sequence

-- name: read_bodies
SELECT e.sequence, e.id, e.type, e.created_at, t.public_id AS tenant, e.data
FROM events e JOIN tenants t ON t.id = e.tenant_id
WHERE e.sequence = ANY(%(sequences)s)

-- name: record_attempts
UPDATE delivery_attempts a SET milliseconds = s.milliseconds, status = s.status, outcome = s.outcome, answer = s.answer,
    bytes = s.bytes
FROM unnest(%(ids)s::uuid[], %(attempts)s::integer[], %(milliseconds)s::integer[], %(statuses)s::integer[],
    %(outcomes)s::text[], %(answers)s::text[], %(bytes)s::integer[])
    AS s (id, attempt, milliseconds, status, outcome, answer, bytes)
WHERE a.delivery_id = s.id AND a.attempt = s.attempt

-- name: record_results
-- Only for the last attempt: a process that took the endpoint over may have reserved a later one.
UPDATE deliveries d SET state = s.state, next_attempt_at = s.next_attempt_at, reason = s.reason,
    finished_at = CASE WHEN s.state = 'pending' THEN NULL ELSE %(now)s END
FROM unnest(%(ids)s::uuid[], %(attempts)s::integer[], %(states)s::text[], %(next_attempts)s::timestamptz[],
    %(reasons)s::text[]) AS s (id, attempt, state, next_attempt_at, reason)
WHERE d.id = s.id AND d.state = 'pending' AND d.attempts = s.attempt
RETURNING d.id

-- name: postpone
-- Later deliveries of a session get the next time of the failed earlier one, so that they are not due before it.
UPDATE deliveries d SET next_attempt_at = %(until)s
WHERE d.endpoint_id = %(endpoint_id)s AND d.session_id = %(session_id)s AND d.state = 'pending'
    AND d.event_sequence > %(event_sequence)s AND d.next_attempt_at < %(until)s

-- name: resume
-- Deliveries that were postponed and never tried are due now.
UPDATE deliveries d SET next_attempt_at = %(now)s
WHERE d.endpoint_id = %(endpoint_id)s AND d.session_id = %(session_id)s AND d.state = 'pending'
    AND d.event_sequence > %(event_sequence)s AND d.next_attempt_at > %(now)s AND d.attempts = d.attempts_before

-- name: endpoints_recovered
-- Writes a row only when it was failing: a success is the usual case and must cost no write.
UPDATE webhook_endpoints SET failing_since = NULL WHERE id = ANY(%(ids)s) AND failing_since IS NOT NULL

-- name: endpoint_failed
-- Records the time of the first failure, and disables the endpoint after the grace period, or at once when the receiver answered 410.
UPDATE webhook_endpoints SET
    failing_since = coalesce(failing_since, %(now)s),
    disabled_reason = CASE WHEN %(gone)s THEN 'gone'
        WHEN coalesce(failing_since, %(now)s) <= %(given_up_before)s THEN 'failing' END,
    disabled_at = CASE WHEN %(gone)s OR coalesce(failing_since, %(now)s) <= %(given_up_before)s THEN %(now)s END
WHERE id = %(id)s AND disabled_at IS NULL AND deleted_at IS NULL
    AND (%(gone)s OR failing_since IS NULL OR failing_since <= %(given_up_before)s)
RETURNING *

-- name: remove_old_events
-- Events older than a moment without a pending delivery, with their deliveries and attempts: a bounded number, after the sequence
-- number where the last call ended, since an event with a pending delivery must not stop the work. Uses
-- deliveries' (endpoint_id, event_sequence) by the endpoints of a tenant, which are few.
WITH old AS (
    SELECT sequence, tenant_id, written_by FROM events WHERE created_at < %(before)s AND sequence > %(after)s
    ORDER BY sequence LIMIT %(limit)s
), owed AS (
    SELECT o.sequence, d.id, d.state FROM old o
    JOIN webhook_endpoints w ON w.tenant_id = o.tenant_id
    JOIN deliveries d ON d.endpoint_id = w.id AND d.event_sequence = o.sequence
), kept AS (
    SELECT sequence FROM owed WHERE state = 'pending'
    UNION
    -- The newest event of a tenant is kept: it is the cursor of a reader that has read all events.
    SELECT o.sequence FROM old o WHERE NOT EXISTS (
        SELECT 1 FROM events n WHERE n.tenant_id = o.tenant_id AND (n.written_by, n.sequence) > (o.written_by, o.sequence))
), attempts_gone AS (
    DELETE FROM delivery_attempts a USING owed o WHERE a.delivery_id = o.id AND o.sequence NOT IN (SELECT sequence FROM kept)
), deliveries_gone AS (
    DELETE FROM deliveries d USING owed o WHERE d.id = o.id AND o.sequence NOT IN (SELECT sequence FROM kept)
), events_gone AS (
    DELETE FROM events e USING old o WHERE e.sequence = o.sequence AND o.sequence NOT IN (SELECT sequence FROM kept)
    RETURNING 1
)
SELECT (SELECT max(sequence) FROM old) AS last, (SELECT count(*) FROM events_gone) AS removed
