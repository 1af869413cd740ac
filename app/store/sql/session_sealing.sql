-- name: lock_lane
-- A tenant whose records are to be reconciled with KSeF first counts as disabled until that has ended.
SELECT l.*, t.disabled_at IS NOT NULL OR t.reconcile_since IS NOT NULL AS disabled, t.late_invoices
FROM lanes l JOIN tenants t ON t.id = l.tenant_id
-- Not FOR UPDATE: every new chunk locks its lane by a foreign key, and a post must not wait for sealing.
WHERE l.id = %(lane_id)s FOR NO KEY UPDATE OF l

-- name: queued_chunks
-- Queued chunks of a lane, oldest first; uses chunks_queued. Locked, so that a repeat of intake cannot change them now.
SELECT id, last_id, queued, queued_bytes, created_at FROM chunks
WHERE lane_id = %(lane_id)s AND queued > 0 AND NOT atomic_pending ORDER BY id LIMIT %(limit)s
FOR NO KEY UPDATE

-- name: lane_backlog
SELECT coalesce(sum(queued), 0)::bigint AS invoices, coalesce(sum(queued_bytes), 0)::bigint AS bytes,
    min(created_at) AS oldest, min(created_at) FILTER (WHERE latest_issue_date >= %(today)s) AS oldest_of_today
FROM chunks
WHERE lane_id = %(lane_id)s AND queued > 0 AND NOT atomic_pending

-- name: lanes_with_backlog
-- The same for all lanes of tenants that are not disabled and have nothing to reconcile; uses chunks_queued.
SELECT l.*, b.* FROM (
    SELECT lane_id, sum(queued)::bigint AS invoices, sum(queued_bytes)::bigint AS bytes,
        min(created_at) AS oldest, min(created_at) FILTER (WHERE latest_issue_date >= %(today)s) AS oldest_of_today
    FROM chunks WHERE queued > 0 AND NOT atomic_pending GROUP BY lane_id
) b JOIN lanes l ON l.id = b.lane_id JOIN tenants t ON t.id = l.tenant_id
WHERE t.disabled_at IS NULL AND t.reconcile_since IS NULL ORDER BY l.id

-- name: add_session
INSERT INTO sessions (id, tenant_id, lane_id, state, form_code, offline_mode, compression, invoices, sealed_at)
VALUES (%(id)s, %(tenant_id)s, %(lane_id)s, 'sealed', %(form_code)s, %(offline_mode)s, %(compression)s, 0, %(now)s)

-- name: take_chunk
-- Gives a session all queued invoices of a chunk.
WITH taken AS (
    UPDATE invoices SET state = 'packed', session_id = %(session_id)s, attempts = attempts + 1
    WHERE id BETWEEN %(first)s AND %(last)s AND state = 'queued' AND decision IS DISTINCT FROM 'held'
    RETURNING upload_id, blob_bytes, issue_date
), kept AS (
    UPDATE chunks c SET queued = c.queued - t.n, queued_bytes = c.queued_bytes - t.bytes
    FROM (SELECT count(*)::integer AS n, coalesce(sum(blob_bytes + %(overhead)s), 0) AS bytes FROM taken) t
    WHERE c.id = %(first)s
), recorded AS (
    INSERT INTO session_chunks (session_id, chunk_id, invoices)
    SELECT %(session_id)s, %(first)s, count(*) FROM taken HAVING count(*) > 0
)
SELECT upload_id, count(*)::integer AS n, sum(blob_bytes + %(overhead)s)::bigint AS bytes, max(issue_date) AS latest
FROM taken GROUP BY upload_id

-- name: take_invoices
-- Gives a session at most `limit` queued invoices of a chunk within `max_bytes`, in the order of their arrival.
WITH waiting AS (
    SELECT id, upload_id, blob_bytes,
        row_number() OVER (ORDER BY id) AS n,
        sum(blob_bytes + %(overhead)s) OVER (ORDER BY id) AS running
    FROM invoices WHERE id BETWEEN %(first)s AND %(last)s AND state = 'queued' AND decision IS DISTINCT FROM 'held'
), taken AS (
    UPDATE invoices i SET state = 'packed', session_id = %(session_id)s, attempts = i.attempts + 1
    FROM waiting w WHERE i.id = w.id AND w.n <= %(limit)s AND w.running <= %(max_bytes)s
    RETURNING i.id, i.upload_id, i.blob_bytes, i.issue_date
), kept AS (
    UPDATE chunks c SET
        queued = c.queued - t.n,
        queued_bytes = c.queued_bytes - t.bytes
    FROM (SELECT count(*)::integer AS n, coalesce(sum(blob_bytes + %(overhead)s), 0) AS bytes FROM taken) t
    WHERE c.id = %(first)s
), recorded AS (
    INSERT INTO session_chunks (session_id, chunk_id, invoices)
    SELECT %(session_id)s, %(first)s, count(*) FROM taken HAVING count(*) > 0
)
SELECT upload_id, count(*)::integer AS n, sum(blob_bytes + %(overhead)s)::bigint AS bytes, max(issue_date) AS latest
FROM taken GROUP BY upload_id

-- name: set_session_size
UPDATE sessions SET invoices = %(invoices)s, latest_issue_date = %(latest_issue_date)s WHERE id = %(id)s
