-- name: get_session_for_job
SELECT * FROM sessions WHERE id = %(id)s

-- name: get_session
SELECT * FROM sessions WHERE id = %(id)s AND tenant_id = %(tenant_id)s

-- name: list_sessions
SELECT * FROM sessions
WHERE tenant_id = %(tenant_id)s AND (%(before)s::uuid IS NULL OR id < %(before)s)
    AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY id DESC LIMIT %(limit)s

-- name: unfinished_sessions
SELECT id, state FROM sessions WHERE state NOT IN ('completed', 'failed') ORDER BY id

-- name: session_state_counts
SELECT state, count(*)::integer AS n FROM sessions GROUP BY state

-- name: oldest_opened
-- Uses sessions_unfinished.
SELECT state, min(opened_at) AS opened_at FROM sessions
WHERE state NOT IN ('completed', 'failed') AND opened_at IS NOT NULL
GROUP BY state

-- name: uploads_of_session
SELECT DISTINCT c.upload_id FROM session_chunks sc JOIN chunks c ON c.id = sc.chunk_id
WHERE sc.session_id = %(session_id)s

-- name: part_counts
SELECT p.session_id, count(*)::integer AS n
FROM parts p JOIN sessions s ON s.id = p.session_id AND s.tenant_id = %(tenant_id)s
WHERE p.session_id = ANY(%(ids)s) GROUP BY p.session_id

-- name: list_upo_pages
SELECT u.* FROM upo_pages u JOIN sessions s ON s.id = u.session_id AND s.tenant_id = %(tenant_id)s
WHERE u.session_id = ANY(%(ids)s) ORDER BY u.session_id, u.page

-- name: session_history
SELECT h.at, h.action, h.outcome, h.detail
FROM session_history h JOIN sessions s ON s.id = h.session_id AND s.tenant_id = %(tenant_id)s
WHERE h.session_id = %(session_id)s ORDER BY h.id

-- name: add_history
INSERT INTO session_history (session_id, at, action, outcome, detail)
VALUES (%(session_id)s, %(now)s, %(action)s, %(outcome)s, %(detail)s::jsonb)

-- name: note_step
INSERT INTO session_history (session_id, at, action, outcome, detail)
SELECT id, %(now)s, %(action)s, %(outcome)s, %(detail)s::jsonb FROM sessions
WHERE id = %(session_id)s AND owner_epoch = %(epoch)s
RETURNING session_id

-- name: move_session
-- Only from the state that the caller has read: a second worker with the same job changes nothing.
UPDATE sessions SET state = %(new)s,
    closed_at = CASE WHEN %(new)s = 'processing' THEN coalesce(closed_at, %(now)s) ELSE closed_at END
WHERE id = %(id)s AND state = %(old)s AND owner_epoch = %(epoch)s
RETURNING id
