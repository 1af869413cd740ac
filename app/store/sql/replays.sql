-- name: replay_running
SELECT * FROM webhook_replays WHERE endpoint_id = %(endpoint_id)s AND state = 'running'

-- name: event_place
SELECT written_by, sequence FROM events WHERE id = %(id)s AND tenant_id = %(tenant_id)s

-- name: count_missed
-- The number of events that a replay will make due. Uses events_by_tenant and the unique index of deliveries.
SELECT count(*)::integer AS events FROM events e
LEFT JOIN deliveries d ON d.endpoint_id = %(endpoint_id)s AND d.event_sequence = e.sequence
WHERE e.tenant_id = %(tenant_id)s AND e.created_at <= %(until)s AND e.type <> 'webhook.test'
    AND (%(since)s::timestamptz IS NULL OR e.created_at >= %(since)s)
    AND (%(written_by)s::xid8 IS NULL OR (e.written_by, e.sequence) > (%(written_by)s::xid8, %(sequence)s::bigint))
    AND (%(types)s::text[] IS NULL OR e.type = ANY(%(types)s))
    AND (d.id IS NULL OR d.state = 'failed' OR (%(everything)s AND d.state = 'succeeded'))

-- name: add_replay
INSERT INTO webhook_replays (id, tenant_id, endpoint_id, state, since, since_event, until, event_types, everything, events,
    cursor_written_by, cursor_sequence, created_at)
VALUES (%(id)s, %(tenant_id)s, %(endpoint_id)s, 'running', %(since)s, %(since_event)s, %(until)s, %(types)s, %(everything)s,
    %(events)s, %(written_by)s::xid8, %(sequence)s, %(now)s)
RETURNING *

-- name: get_replay
SELECT * FROM webhook_replays WHERE id = %(id)s AND tenant_id = %(tenant_id)s

-- name: list_replays
SELECT * FROM webhook_replays WHERE endpoint_id = %(endpoint_id)s AND tenant_id = %(tenant_id)s
ORDER BY created_at DESC, id LIMIT %(limit)s

-- name: running_replays
SELECT id FROM webhook_replays WHERE state = 'running'

-- name: lock_replay
-- Locked: of two jobs of one replay the second waits, and finds it finished.
SELECT r.*, w.disabled_at IS NOT NULL OR w.deleted_at IS NOT NULL AS closed,
    pg_snapshot_xmin(pg_current_snapshot()) >= r.written_before AS complete
FROM webhook_replays r JOIN webhook_endpoints w ON w.id = r.endpoint_id
WHERE r.id = %(id)s AND r.state = 'running' FOR NO KEY UPDATE OF r

-- name: next_of_replay
-- In an order that no late commit can change, as in `event_feed`. Uses events_by_tenant.
SELECT sequence, written_by FROM events
WHERE tenant_id = %(tenant_id)s AND written_by < %(written_before)s::xid8
    AND written_by < pg_snapshot_xmin(pg_current_snapshot())
    AND (%(written_by)s::xid8 IS NULL OR (written_by, sequence) > (%(written_by)s::xid8, %(sequence)s::bigint))
    AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
    AND created_at <= %(until)s AND type <> 'webhook.test'
    AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s))
ORDER BY written_by, sequence LIMIT %(limit)s

-- name: make_due
-- Adds missing deliveries, and reopens failed ones with a whole schedule. A pending delivery is neither changed nor locked.
WITH again AS (
    UPDATE deliveries SET state = 'pending', next_attempt_at = %(now)s, finished_at = NULL, reason = NULL,
        attempts_before = attempts
    WHERE endpoint_id = %(endpoint_id)s AND event_sequence = ANY(%(sequences)s)
        AND (state = 'failed' OR (%(everything)s AND state = 'succeeded'))
    RETURNING 1
), added AS (
    INSERT INTO deliveries (id, tenant_id, endpoint_id, event_sequence, session_id, state, next_attempt_at, created_at)
    SELECT gen_random_uuid(), e.tenant_id, %(endpoint_id)s, e.sequence, e.session_id, 'pending', %(now)s, %(now)s
    FROM events e WHERE e.sequence = ANY(%(sequences)s)
    ORDER BY e.sequence
    ON CONFLICT (endpoint_id, event_sequence) DO NOTHING
    RETURNING 1
)
SELECT (SELECT count(*) FROM again) + (SELECT count(*) FROM added) AS made, pg_notify('ksefd_deliveries', '')

-- name: move_replay
UPDATE webhook_replays SET made = made + %(made)s, cursor_written_by = %(written_by)s::xid8, cursor_sequence = %(sequence)s
WHERE id = %(id)s

-- name: end_replay
UPDATE webhook_replays SET state = %(state)s, finished_at = %(now)s WHERE id = %(id)s
