-- name: chunks_with_late
-- Chunks of a lane, after a cursor, with invoices that arrived on or before the day of their P_1 and may have missed it, of a tenant
-- that decides on late invoices itself.
SELECT c.id FROM chunks c
JOIN uploads u ON u.id = c.upload_id
JOIN lanes l ON l.id = c.lane_id
JOIN tenants t ON t.id = l.tenant_id
WHERE c.lane_id = %(lane_id)s AND t.late_invoices = 'hold' AND NOT l.offline_mode
    AND c.queued > 0 AND NOT c.atomic_pending AND c.id > %(after)s
    AND warsaw_day(u.created_at) < %(day)s AND c.latest_issue_date >= warsaw_day(u.created_at)
ORDER BY c.id LIMIT %(limit)s FOR UPDATE OF c

-- name: await_decision
UPDATE invoices i SET decision = 'held', findings = coalesce(i.findings, '[]'::jsonb) || %(finding)s::jsonb
FROM chunks c JOIN uploads u ON u.id = c.upload_id
WHERE c.id = ANY(%(chunks)s) AND i.id BETWEEN c.id AND c.last_id
    AND i.state = 'queued' AND i.decision IS NULL
    AND i.issue_date < %(day)s AND i.issue_date >= warsaw_day(u.created_at)

-- name: late_of_session
-- The number of invoices of a session that become offline by its opening on this day and on which the tenant has not decided.
SELECT count(*)::integer AS n
FROM session_chunks sc
JOIN chunks c ON c.id = sc.chunk_id
JOIN uploads u ON u.id = c.upload_id
JOIN sessions s ON s.id = sc.session_id
JOIN tenants t ON t.id = s.tenant_id
JOIN invoices i ON i.id BETWEEN c.id AND c.last_id AND i.session_id = s.id
WHERE s.id = %(session_id)s AND t.late_invoices = 'hold' AND NOT s.offline_mode AND i.decision IS NULL
    AND warsaw_day(u.created_at) < %(day)s AND i.issue_date < %(day)s AND i.issue_date >= warsaw_day(u.created_at)

-- name: lock_chunks_of_session
SELECT c.id FROM session_chunks sc JOIN chunks c ON c.id = sc.chunk_id
WHERE sc.session_id = %(session_id)s ORDER BY c.id FOR UPDATE OF c

-- name: unseal_invoices
-- The session was never opened, so it does not count as an attempt.
WITH changed AS (
    UPDATE invoices i SET state = 'queued', session_id = NULL, attempts = i.attempts - 1
    FROM chunks c
    WHERE c.id = ANY(%(chunks)s) AND i.id BETWEEN c.id AND c.last_id
        AND i.session_id = %(session_id)s AND i.state = 'packed'
    RETURNING i.upload_id
)
SELECT upload_id, count(*)::integer AS n FROM changed GROUP BY upload_id

-- name: recount_chunks
-- Queue of each chunk: queued invoices that do not await a decision.
UPDATE chunks c SET queued = n.queued, queued_bytes = n.bytes, latest_issue_date = n.latest
FROM (
    SELECT c.id, count(i.id)::integer AS queued, coalesce(sum(i.blob_bytes + %(overhead)s), 0) AS bytes,
        max(i.issue_date) FILTER (WHERE i.decision IS NULL) AS latest
    FROM chunks c
    LEFT JOIN invoices i ON i.id BETWEEN c.id AND c.last_id AND i.state = 'queued' AND i.decision IS DISTINCT FROM 'held'
    WHERE c.id = ANY(%(chunks)s) GROUP BY c.id
) n WHERE c.id = n.id

-- name: urgent_sessions
-- Whether sessions with invoices of the day wait to be opened; uses sessions_unfinished.
SELECT EXISTS (
    SELECT 1 FROM sessions
    WHERE state IN ('sealed', 'packed', 'opening') AND tenant_id = %(tenant_id)s AND NOT offline_mode
        AND latest_issue_date >= %(today)s
) AS waiting

-- name: note_mode_change
-- Each invoice once. One that arrived after the day of its P_1 was offline from the start and has a finding of the check.
UPDATE invoices i SET findings = coalesce(i.findings, '[]'::jsonb) || %(finding)s::jsonb
FROM sessions s
JOIN session_chunks sc ON sc.session_id = s.id
JOIN chunks c ON c.id = sc.chunk_id
JOIN uploads u ON u.id = c.upload_id
WHERE s.id = %(session_id)s AND NOT s.offline_mode AND warsaw_day(u.created_at) < %(day)s
    AND i.id BETWEEN c.id AND c.last_id AND i.session_id = s.id
    AND i.issue_date < %(day)s AND i.issue_date >= warsaw_day(u.created_at)
    AND NOT coalesce(i.findings, '[]'::jsonb) @> '[{"rule": "mode-changed-by-midnight"}]'

-- name: day_of_session
SELECT warsaw_day(coalesce(ksef_created_at, opened_at)) AS day FROM sessions WHERE id = %(session_id)s

-- name: has_odd_modes
-- Whether any of the next three statements would change a row: the usual answer is no, and each of them reads all invoices.
SELECT EXISTS (
    SELECT FROM sessions s
    JOIN session_chunks sc ON sc.session_id = s.id
    JOIN chunks c ON c.id = sc.chunk_id
    JOIN uploads u ON u.id = c.upload_id
    CROSS JOIN LATERAL (
        SELECT FROM invoices i
        WHERE i.id BETWEEN c.id AND c.last_id AND i.session_id = s.id
            AND ((i.state = 'accepted'
                    AND i.invoicing_mode IS DISTINCT FROM CASE WHEN s.offline_mode OR i.issue_date < %(day)s THEN 'Offline' ELSE 'Online' END)
                OR (i.issue_date < %(day)s AND warsaw_day(u.created_at) < %(day)s)
                OR (i.findings IS NOT NULL AND i.findings @> '[{"rule": "mode-changed-by-midnight"}]'))
        OFFSET 0
    ) odd
    WHERE s.id = %(session_id)s
) AS found

-- name: take_back_mode_change
-- KSeF's clock was behind ours, so the invoices were in time.
UPDATE invoices i SET findings = jsonb_path_query_array(i.findings, '$[*] ? (@.rule != "mode-changed-by-midnight")')
FROM session_chunks sc JOIN chunks c ON c.id = sc.chunk_id
WHERE sc.session_id = %(session_id)s AND i.id BETWEEN c.id AND c.last_id AND i.session_id = sc.session_id
    AND i.state = 'accepted' AND i.invoicing_mode = 'Online'
    AND i.findings @> '[{"rule": "mode-changed-by-midnight"}]'

-- name: note_odd_modes
-- An invoice that was accepted in an earlier session of ours may have been in time there.
UPDATE invoices i SET findings = coalesce(i.findings, '[]'::jsonb)
    || CASE i.invoicing_mode WHEN 'Online' THEN %(online)s::jsonb ELSE %(offline)s::jsonb END
FROM sessions s JOIN session_chunks sc ON sc.session_id = s.id JOIN chunks c ON c.id = sc.chunk_id
WHERE s.id = %(session_id)s AND i.id BETWEEN c.id AND c.last_id AND i.session_id = s.id AND i.state = 'accepted'
    AND i.invoicing_mode <> CASE WHEN s.offline_mode OR i.issue_date < %(day)s THEN 'Offline' ELSE 'Online' END
    AND (i.invoicing_mode <> 'Online' OR s.offline_mode OR i.attempts = 1)
    AND NOT coalesce(i.findings, '[]'::jsonb) @> '[{"rule": "unexpected-invoicing-mode"}]'

-- name: count_awaiting_decision
SELECT count(*)::integer AS n FROM invoices WHERE tenant_id = %(tenant_id)s AND decision = 'held'

-- name: some_awaiting_decision
-- After a cursor: the index still has entries of invoices that were released a moment ago.
SELECT id FROM invoices WHERE tenant_id = %(tenant_id)s AND decision = 'held' AND id > %(after)s ORDER BY id LIMIT %(limit)s

-- name: lock_chunks
SELECT id, lane_id FROM chunks WHERE id = ANY(%(chunks)s) AND tenant_id = %(tenant_id)s ORDER BY id FOR UPDATE

-- name: release_invoices
-- Invoices of some chunks that await a decision, between two ids, so that the others that do are not read.
UPDATE invoices i SET decision = 'released',
    findings = jsonb_path_query_array(i.findings, '$[*] ? (@.rule != "held-for-decision")') || %(finding)s::jsonb
FROM chunks c
WHERE c.id = ANY(%(chunks)s) AND i.id BETWEEN c.id AND c.last_id AND i.tenant_id = %(tenant_id)s
    AND i.id BETWEEN %(first)s AND %(last)s AND i.state = 'queued' AND i.decision = 'held'

-- name: withdraw_invoice
WITH gone AS (
    UPDATE invoices i SET state = 'failed', decision = NULL, finished_at = %(now)s,
        findings = jsonb_path_query_array(i.findings, '$[*] ? (@.rule != "held-for-decision")') || %(finding)s::jsonb
    WHERE i.id = %(id)s AND i.tenant_id = %(tenant_id)s AND i.state = 'queued' AND i.decision = 'held'
    RETURNING i.id, i.tenant_id, i.identity, i.upload_id
), freed AS (
    DELETE FROM claims k USING gone g
    WHERE k.tenant_id = g.tenant_id AND k.identity = g.identity AND k.invoice_id = g.id
)
SELECT upload_id FROM gone
