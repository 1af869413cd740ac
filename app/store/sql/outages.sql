-- name: read_ksef
SELECT * FROM ksef_state WHERE ksef_url = %(ksef_url)s

-- name: make_ksef
INSERT INTO ksef_state (ksef_url) VALUES (%(ksef_url)s) ON CONFLICT DO NOTHING

-- name: lock_ksef
SELECT * FROM ksef_state WHERE ksef_url = %(ksef_url)s FOR UPDATE

-- name: save_ksef
UPDATE ksef_state SET
    state = %(state)s, since = %(since)s, reason = %(reason)s,
    failures = %(failures)s, failing_since = %(failing_since)s, last_failure_at = %(last_failure_at)s,
    probes = %(probes)s, next_probe_at = %(next_probe_at)s,
    ordered_state = %(ordered_state)s, ordered_at = %(ordered_at)s, ordered_until = %(ordered_until)s,
    ordered_reason = %(ordered_reason)s
WHERE ksef_url = %(ksef_url)s

-- name: set_notified
UPDATE ksef_state SET notified_state = %(notified_state)s, notified_tenants = %(notified_tenants)s WHERE ksef_url = %(ksef_url)s

-- name: tenants_at_work
-- Tenants with uploads, invoices or sessions without a verdict of KSeF.
SELECT t.id FROM tenants t
WHERE t.disabled_at IS NULL AND (
    EXISTS (SELECT FROM sessions s WHERE s.tenant_id = t.id AND s.state NOT IN ('completed', 'failed'))
    OR EXISTS (SELECT FROM chunks c JOIN lanes l ON l.id = c.lane_id WHERE l.tenant_id = t.id AND c.queued > 0 AND NOT c.atomic_pending)
    OR EXISTS (SELECT FROM uploads u WHERE u.tenant_id = t.id AND u.state IN ('received', 'reading'))
)
ORDER BY t.id

-- name: add_waiting
INSERT INTO ksef_waiting_sessions (session_id) VALUES (%(session_id)s) ON CONFLICT DO NOTHING

-- name: take_waiting
DELETE FROM ksef_waiting_sessions RETURNING session_id

-- name: reserve_latarnia_query
-- Returns a row to one caller only, even if its query fails.
INSERT INTO ksef_state (ksef_url, latarnia_asked_at) VALUES (%(ksef_url)s, %(now)s)
ON CONFLICT (ksef_url) DO UPDATE SET latarnia_asked_at = excluded.latarnia_asked_at
WHERE ksef_state.latarnia_asked_at IS NULL OR ksef_state.latarnia_asked_at <= %(now)s - %(pause)s::interval
RETURNING ksef_url

-- name: save_latarnia
UPDATE ksef_state SET latarnia = %(latarnia)s, latarnia_at = %(now)s WHERE ksef_url = %(ksef_url)s
