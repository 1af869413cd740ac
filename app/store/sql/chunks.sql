-- name: add_chunk
-- Nothing is returned when the chunk is there already: an earlier run of the job committed it.
INSERT INTO chunks (id, last_id, tenant_id, upload_id, lane_id, first_entry, encoding, blob_key, queued, queued_bytes,
    held, created_at)
VALUES (%(id)s, %(last_id)s, %(tenant_id)s, %(upload_id)s, %(lane_id)s, %(first_entry)s, %(encoding)s, %(blob_key)s,
    %(queued)s, %(queued_bytes)s, %(held)s, %(now)s)
ON CONFLICT (upload_id, first_entry) DO NOTHING
RETURNING id

-- name: copy_invoices
COPY invoices (id, tenant_id, upload_id, state, name, number, seller_nip, kind, issue_date, identity, sha256, size,
    crc32, blob_offset, blob_bytes, findings, finished_at) FROM STDIN

-- name: stage_invoices
CREATE TEMPORARY TABLE staged ON COMMIT DROP AS
SELECT id, tenant_id, upload_id, state, name, number, seller_nip, kind, issue_date, identity, sha256, size, crc32,
    blob_offset, blob_bytes, findings, finished_at
FROM invoices WHERE false

-- name: copy_staged
COPY staged (id, tenant_id, upload_id, state, name, number, seller_nip, kind, issue_date, identity, sha256, size,
    crc32, blob_offset, blob_bytes, findings, finished_at) FROM STDIN

-- name: apply_staged
-- Single posts have their rows since they were acknowledged; the check fills them in.
UPDATE invoices i SET state = s.state, number = s.number, seller_nip = s.seller_nip, kind = s.kind,
    issue_date = s.issue_date, identity = s.identity, crc32 = s.crc32, blob_offset = s.blob_offset,
    blob_bytes = s.blob_bytes, findings = s.findings, finished_at = s.finished_at
FROM staged s WHERE i.id = s.id AND i.state = 'received'

-- name: claim_identities
-- Sorted by the caller, so that two transactions with common keys wait in the same order. The first position wins.
INSERT INTO claims (tenant_id, identity, invoice_id)
SELECT %(tenant_id)s, c.identity, c.invoice_id
FROM unnest(%(identities)s::uuid[], %(invoice_ids)s::uuid[]) WITH ORDINALITY AS c (identity, invoice_id, position)
ORDER BY c.position
ON CONFLICT DO NOTHING

-- name: lost_claims
-- Which of these invoices do not hold their identity, and who does.
SELECT c.invoice_id, k.invoice_id AS holder, h.sha256 AS holder_sha256, h.number AS holder_number,
    h.state AS holder_state, h.ksef_number AS holder_ksef_number
FROM unnest(%(identities)s::uuid[], %(invoice_ids)s::uuid[]) AS c (identity, invoice_id)
JOIN claims k ON k.tenant_id = %(tenant_id)s AND k.identity = c.identity AND k.invoice_id <> c.invoice_id
JOIN invoices h ON h.id = k.invoice_id AND h.tenant_id = %(tenant_id)s

-- name: mark_duplicates
UPDATE invoices i SET state = 'duplicate', duplicate_of = d.holder, finished_at = %(now)s,
    findings = coalesce(i.findings, '[]'::jsonb) || d.finding::jsonb
FROM unnest(%(ids)s::uuid[], %(holders)s::uuid[], %(findings)s::text[]) AS d (id, holder, finding)
WHERE i.id = d.id
RETURNING i.id, i.blob_bytes

-- name: set_chunk_queue
UPDATE chunks SET queued = %(queued)s, queued_bytes = %(queued_bytes)s, latest_issue_date = %(latest_issue_date)s
WHERE id = %(id)s

-- name: unchecked_singles
-- Groups of single posts that wait for their check, oldest first; leans on chunks_unchecked.
SELECT id, last_id, upload_id, lane_id, blob_key FROM chunks
WHERE tenant_id = %(tenant_id)s AND encoding = 'plain' ORDER BY id LIMIT %(limit)s

-- name: singles_of_chunk
SELECT id, name, sha256, size, blob_offset, blob_bytes FROM invoices
WHERE id BETWEEN %(first)s AND %(last)s AND state = 'received' ORDER BY id

-- name: finish_singles
UPDATE chunks SET encoding = 'deflate', blob_key = %(blob_key)s, queued = %(queued)s, queued_bytes = %(queued_bytes)s,
    latest_issue_date = (
        SELECT max(i.issue_date) FROM invoices i WHERE i.id BETWEEN chunks.id AND chunks.last_id AND i.state = 'queued'
    )
WHERE id = %(id)s AND encoding = 'plain'
RETURNING id

-- name: tenants_with_unchecked_singles
SELECT DISTINCT tenant_id FROM chunks WHERE encoding = 'plain'

-- name: release_held
UPDATE chunks SET held = false WHERE upload_id = %(upload_id)s AND held RETURNING lane_id

-- name: drop_held
UPDATE chunks SET held = false, queued = 0, queued_bytes = 0 WHERE upload_id = %(upload_id)s AND held

-- name: fail_held_invoices
-- All or nothing was asked for, and the upload could not be read to its end.
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

-- name: lanes_with_queue
SELECT lane_id, tenant_id, sum(queued)::integer AS queued, min(created_at) AS oldest
FROM chunks WHERE queued > 0 AND NOT held GROUP BY lane_id, tenant_id

-- name: unshared_blob_keys
-- Single posts of several groups share a blob: it goes with the last of them.
SELECT DISTINCT c.blob_key FROM chunks c
WHERE c.upload_id = %(upload_id)s AND NOT EXISTS (
    SELECT 1 FROM chunks o JOIN uploads u ON u.id = o.upload_id
    WHERE o.blob_key = c.blob_key AND o.upload_id <> c.upload_id AND u.expired_at IS NULL
)

-- name: take_single_keys
-- Sorted by the caller. A key that is in use is not returned; one that another transaction is taking is waited for.
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
