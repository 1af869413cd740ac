-- name: add_chunk
-- Returns no row when the chunk exists already: an earlier run of the job committed it.
INSERT INTO chunks (id, last_id, tenant_id, upload_id, lane_id, first_entry, encoding, blob_key, queued, queued_bytes,
    latest_issue_date, atomic_pending, created_at)
VALUES (%(id)s, %(last_id)s, %(tenant_id)s, %(upload_id)s, %(lane_id)s, %(first_entry)s, %(encoding)s, %(blob_key)s,
    %(queued)s, %(queued_bytes)s, %(latest_issue_date)s, %(atomic_pending)s, %(now)s)
ON CONFLICT (upload_id, first_entry) DO NOTHING
RETURNING id

-- name: copy_invoices
COPY invoices (id, tenant_id, upload_id, state, name, number, seller_nip, kind, issue_date, identity, sha256, size,
    crc32, blob_offset, blob_bytes, findings, finished_at) FROM STDIN

-- name: set_chunk_queue
UPDATE chunks SET queued = %(queued)s, queued_bytes = %(queued_bytes)s, latest_issue_date = %(latest_issue_date)s
WHERE id = %(id)s

-- name: release_atomic
UPDATE chunks SET atomic_pending = false WHERE upload_id = %(upload_id)s AND atomic_pending

-- name: drop_atomic
UPDATE chunks SET atomic_pending = false, queued = 0, queued_bytes = 0
WHERE upload_id = %(upload_id)s AND atomic_pending

-- name: fail_atomic_invoices
-- The upload asked for all or nothing and could not be read to its end.
WITH gone AS (
    UPDATE invoices i SET state = 'failed', finished_at = %(now)s,
        findings = coalesce(i.findings, '[]'::jsonb) || %(finding)s::jsonb
    FROM chunks c
    WHERE c.upload_id = %(upload_id)s AND i.id BETWEEN c.id AND c.last_id AND i.state = 'queued'
    RETURNING i.id, i.tenant_id, i.identity
), released AS (
    DELETE FROM claims k USING gone g
    WHERE k.tenant_id = g.tenant_id AND k.identity = g.identity AND k.invoice_id = g.id
)
SELECT count(*) AS failed FROM gone

-- name: chunk_blob_keys
SELECT DISTINCT blob_key FROM chunks WHERE upload_id = %(upload_id)s

-- name: lanes_of_upload
SELECT DISTINCT lane_id FROM chunks WHERE upload_id = %(upload_id)s ORDER BY lane_id

-- name: queued_by_lane
SELECT l.id AS lane_id, coalesce(sum(c.queued), 0)::integer AS queued, min(c.created_at) AS oldest
FROM lanes l LEFT JOIN chunks c ON c.lane_id = l.id AND c.queued > 0 AND NOT c.atomic_pending GROUP BY l.id

-- name: queued_by_lane_of_tenant
-- Uses chunks_queued, by the tenant's few lanes.
SELECT c.lane_id, sum(c.queued)::integer AS queued
FROM lanes l JOIN chunks c ON c.lane_id = l.id AND c.queued > 0 AND NOT c.atomic_pending
WHERE l.tenant_id = %(tenant_id)s GROUP BY c.lane_id

-- name: unshared_blob_keys
-- Single posts of several groups share a blob: it is deleted with the last of them. An expired group may have no row any more.
SELECT DISTINCT c.blob_key FROM chunks c
WHERE c.upload_id = ANY(%(upload_ids)s) AND NOT EXISTS (
    SELECT 1 FROM chunks o JOIN uploads u ON u.id = o.upload_id
    WHERE o.blob_key = c.blob_key AND o.upload_id <> ALL(%(upload_ids)s) AND u.expired_at IS NULL
)
