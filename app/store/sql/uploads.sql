-- name: add_upload
-- Single posts are `received` from the start and counted in invoice_totals; of other uploads no invoice is known yet.
WITH added AS (
    INSERT INTO uploads (id, tenant_id, kind, boundary, state, blob_key, bytes, sha256, reference, idempotency_key,
        offline_mode, flush, atomic, content_encoding, created_at, received, next_entry)
    VALUES (%(id)s, %(tenant_id)s, %(kind)s, %(boundary)s, %(state)s, %(blob_key)s, %(bytes)s, %(sha256)s, %(reference)s,
        %(idempotency_key)s, %(offline_mode)s, %(flush)s, %(atomic)s, %(content_encoding)s, %(now)s, %(received)s,
        %(received)s)
    RETURNING received
)
INSERT INTO invoice_totals (state, invoices) SELECT 'received', received FROM added WHERE received > 0

-- name: upload_by_idempotency_key
SELECT * FROM uploads
WHERE tenant_id = %(tenant_id)s AND idempotency_key = %(idempotency_key)s

-- name: unfinished_with_key
SELECT id FROM resumable_uploads
WHERE tenant_id = %(tenant_id)s AND idempotency_key = %(idempotency_key)s

-- name: lock_hash
SELECT pg_advisory_xact_lock(hashtextextended('hash:' || %(tenant_id)s::text || encode(%(sha256)s::bytea, 'hex'), 0))

-- name: note_repeat
-- The first body with the same bytes, kind, coding and mode in the window; uses uploads_by_hash.
UPDATE uploads u SET repeat_of = (
    SELECT o.id FROM uploads o
    WHERE o.tenant_id = %(tenant_id)s AND o.sha256 = %(sha256)s AND o.kind <> 'invoices' AND o.id <> u.id
        AND o.bytes = u.bytes AND o.kind = u.kind AND o.offline_mode = u.offline_mode
        AND o.content_encoding IS NOT DISTINCT FROM u.content_encoding AND o.created_at >= %(since)s
    ORDER BY (o.repeat_of IS NOT NULL), o.created_at, o.id LIMIT 1
)
WHERE u.id = %(id)s

-- name: set_hash
UPDATE uploads SET sha256 = %(sha256)s WHERE id = %(id)s

-- name: get_upload
SELECT * FROM uploads WHERE id = %(id)s AND tenant_id = %(tenant_id)s

-- name: get_upload_for_job
SELECT * FROM uploads WHERE id = %(id)s

-- name: list_uploads
-- Newest first, from a cursor; uses uploads_by_tenant.
SELECT * FROM uploads
WHERE tenant_id = %(tenant_id)s AND (%(before)s::uuid IS NULL OR id < %(before)s) AND kind <> 'invoices'
ORDER BY id DESC LIMIT %(limit)s

-- name: unread_beside
-- The number of other uploads of the same tenant that wait to be read, counted to a thousand.
SELECT u.tenant_id, u.bytes, (
    SELECT count(*) FROM (
        SELECT FROM uploads o WHERE o.tenant_id = u.tenant_id AND o.state IN ('received', 'reading') LIMIT 1001
    ) AS beside
) - 1 AS others
FROM uploads u WHERE u.id = %(id)s

-- name: start_reading
UPDATE uploads SET state = 'reading' WHERE id = %(id)s AND state IN ('received', 'reading')
RETURNING *

-- name: finish_reading
UPDATE uploads SET state = %(state)s, read_at = %(now)s, errors = errors || %(errors)s::jsonb, blob_key = NULL
WHERE id = %(id)s AND state IN ('received', 'reading')
RETURNING id

-- name: advance_upload
-- The last statement of a chunk's transaction, so that the row is locked only until the commit.
WITH advanced AS (
    UPDATE uploads SET
        next_entry = greatest(next_entry, %(next_entry)s),
        queued = queued + %(queued)s,
        invalid = invalid + %(invalid)s,
        duplicate = duplicate + %(duplicate)s
    WHERE id = %(id)s
    RETURNING id
)
INSERT INTO invoice_totals (state, invoices)
SELECT one.state, one.invoices
FROM advanced, (VALUES
    ('queued', %(queued)s::integer), ('invalid', %(invalid)s::integer), ('duplicate', %(duplicate)s::integer)
) AS one (state, invoices)
WHERE one.invoices <> 0

-- name: complete_uploads
-- An upload is complete when it was read and all its invoices have their last state. One that could not be read keeps its state.
UPDATE uploads SET
    state = CASE WHEN state = 'failed' THEN state ELSE 'completed' END,
    completed_at = %(now)s
WHERE id = ANY(%(ids)s) AND state IN ('in_progress', 'failed') AND completed_at IS NULL
    AND received + queued + packed + sent = 0
RETURNING id, tenant_id, kind

-- name: forget_idempotency_keys
UPDATE uploads SET idempotency_key = NULL WHERE idempotency_key IS NOT NULL AND created_at < %(before)s

-- name: unread_uploads
SELECT id FROM uploads WHERE state IN ('received', 'reading') ORDER BY id

-- name: expired_uploads
-- Uses uploads_unexpired.
SELECT id FROM uploads WHERE completed_at < %(before)s AND expired_at IS NULL ORDER BY completed_at LIMIT %(limit)s

-- name: mark_expired
UPDATE uploads SET expired_at = %(now)s WHERE id = ANY(%(ids)s)

-- name: remove_expired_groups
-- Uses uploads_expired_groups. The totals of /metrics are in invoice_totals and do not change.
DELETE FROM uploads WHERE id IN (
    SELECT id FROM uploads WHERE kind = 'invoices' AND expired_at IS NOT NULL ORDER BY id LIMIT %(limit)s
)

-- name: unknown_blobs
-- Those of these blobs to which no row refers; a bounded number, once a night.
SELECT k.key FROM unnest(%(keys)s::text[]) AS k (key)
WHERE NOT EXISTS (SELECT 1 FROM uploads u WHERE u.blob_key = k.key)
    AND NOT EXISTS (SELECT 1 FROM upload_segments s WHERE s.blob_key = k.key)
    AND NOT EXISTS (SELECT 1 FROM chunks c WHERE c.blob_key = k.key)
    AND NOT EXISTS (SELECT 1 FROM parts p WHERE p.blob_key = k.key)
    AND NOT EXISTS (SELECT 1 FROM upo_pages o WHERE o.blob_key = k.key)
    AND NOT EXISTS (SELECT 1 FROM invoice_receipts r WHERE r.blob_key = k.key)
