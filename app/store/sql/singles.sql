-- name: take_single_keys
-- Sorted by the caller. A key that is in use is not returned. The statement waits for another transaction that is taking a key.
INSERT INTO single_keys (tenant_id, idempotency_key, invoice_id, sha256, offline_mode, created_at)
SELECT %(tenant_id)s, k.key, k.invoice_id, k.sha256, %(offline_mode)s, %(now)s
FROM unnest(%(keys)s::text[], %(invoice_ids)s::uuid[], %(hashes)s::bytea[])
    WITH ORDINALITY AS k (key, invoice_id, sha256, position)
ORDER BY k.position
ON CONFLICT DO NOTHING
RETURNING invoice_id

-- name: single_with_key
SELECT invoice_id, sha256, offline_mode FROM single_keys
WHERE tenant_id = %(tenant_id)s AND idempotency_key = %(idempotency_key)s

-- name: forget_single_keys
DELETE FROM single_keys WHERE created_at < %(before)s

-- name: unchecked_singles
-- Groups of single posts that wait for their check, oldest first; uses chunks_unchecked.
SELECT c.id, c.last_id, c.upload_id, c.lane_id, l.form_code, c.blob_key FROM chunks c JOIN lanes l ON l.id = c.lane_id
WHERE c.tenant_id = %(tenant_id)s AND c.encoding = 'plain' ORDER BY c.id LIMIT %(limit)s

-- name: tenants_with_unchecked_singles
SELECT DISTINCT tenant_id FROM chunks WHERE encoding = 'plain'

-- name: singles_of_chunk
SELECT id, name, sha256, size, blob_offset, blob_bytes FROM invoices
WHERE id BETWEEN %(first)s AND %(last)s AND state = 'received' ORDER BY id

-- name: stage_invoices
CREATE TEMPORARY TABLE staged ON COMMIT DROP AS
SELECT id, tenant_id, upload_id, state, name, number, seller_nip, kind, issue_date, identity, sha256, size, crc32,
    blob_offset, blob_bytes, findings, finished_at
FROM invoices WHERE false

-- name: copy_staged
COPY staged (id, tenant_id, upload_id, state, name, number, seller_nip, kind, issue_date, identity, sha256, size,
    crc32, blob_offset, blob_bytes, findings, finished_at) FROM STDIN

-- name: apply_staged
-- Single posts have rows since their acknowledgement; this adds the results of the check.
UPDATE invoices i SET state = s.state, number = s.number, seller_nip = s.seller_nip, kind = s.kind,
    issue_date = s.issue_date, identity = s.identity, crc32 = s.crc32, blob_offset = s.blob_offset,
    blob_bytes = s.blob_bytes, findings = s.findings, finished_at = s.finished_at
FROM staged s WHERE i.id = s.id AND i.state = 'received'

-- name: finish_singles
-- Results of the check of each chunk, counted in the database. A chunk that another job has finished is left out.
UPDATE chunks c SET encoding = 'deflate', blob_key = %(blob_key)s, queued = n.queued,
    queued_bytes = n.bytes + %(overhead)s * n.queued, latest_issue_date = n.latest
FROM (
    SELECT c.id,
        count(*) FILTER (WHERE i.state = 'queued')::integer AS queued,
        count(*) FILTER (WHERE i.state = 'invalid')::integer AS invalid,
        count(*) FILTER (WHERE i.state = 'duplicate')::integer AS duplicate,
        coalesce(sum(i.blob_bytes) FILTER (WHERE i.state = 'queued'), 0) AS bytes,
        max(i.issue_date) FILTER (WHERE i.state = 'queued') AS latest
    FROM unnest(%(ids)s::uuid[]) AS o (id)
    JOIN chunks c ON c.id = o.id
    JOIN invoices i ON i.id BETWEEN c.id AND c.last_id
    GROUP BY c.id
) n
WHERE c.id = n.id AND c.encoding = 'plain'
RETURNING c.upload_id, n.queued, n.invalid, n.duplicate
