-- name: add_unfinished
-- Returns no row when another unfinished upload has the key.
INSERT INTO resumable_uploads (id, tenant_id, kind, boundary, bytes, declared_sha256, metadata, filename, reference,
    idempotency_key, offline_mode, flush, atomic, created_at, expires_at)
VALUES (%(id)s, %(tenant_id)s, %(kind)s, %(boundary)s, %(bytes)s, %(declared_sha256)s, %(metadata)s, %(filename)s,
    %(reference)s, %(idempotency_key)s, %(offline_mode)s, %(flush)s, %(atomic)s, %(now)s, %(expires_at)s)
ON CONFLICT (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING *

-- name: unfinished_by_key
SELECT * FROM resumable_uploads WHERE tenant_id = %(tenant_id)s AND idempotency_key = %(idempotency_key)s

-- name: get_unfinished
SELECT * FROM resumable_uploads WHERE id = %(id)s AND tenant_id = %(tenant_id)s

-- name: count_unfinished
SELECT count(*)::integer AS unfinished FROM resumable_uploads WHERE tenant_id = %(tenant_id)s

-- name: list_unfinished
-- Newest first, from a cursor; uses resumable_uploads_by_tenant.
SELECT * FROM resumable_uploads
WHERE tenant_id = %(tenant_id)s AND (%(before)s::uuid IS NULL OR id < %(before)s)
ORDER BY id DESC LIMIT %(limit)s

-- name: begin_writing
-- The newest request becomes the writer: an older one, whose connection may be dead, can commit nothing from then on.
UPDATE resumable_uploads SET writer = %(writer)s, bytes = coalesce(bytes, %(bytes)s)
WHERE id = %(id)s AND tenant_id = %(tenant_id)s AND received = %(offset)s
RETURNING *

-- name: advance
-- Compare and set: only for the present writer, and only from the present offset.
UPDATE resumable_uploads SET received = %(end)s, expires_at = %(expires_at)s
WHERE id = %(id)s AND tenant_id = %(tenant_id)s AND writer = %(writer)s AND received = %(start)s
RETURNING *

-- name: add_segment
INSERT INTO upload_segments (upload_id, start, bytes, blob_key)
VALUES (%(id)s, %(start)s, %(bytes)s, %(blob_key)s)

-- name: finish
-- The unfinished upload becomes an ordinary one. A key that an ordinary upload has taken meanwhile is kept by that one.
WITH done AS (
    DELETE FROM resumable_uploads WHERE id = %(id)s AND received = bytes RETURNING *
)
INSERT INTO uploads (id, tenant_id, kind, boundary, state, blob_key, segmented, bytes, sha256, declared_sha256, reference,
    idempotency_key, offline_mode, flush, atomic, created_at)
SELECT id, tenant_id, kind, boundary, 'received', NULL, true, bytes, NULL, declared_sha256, reference,
    CASE WHEN %(keep_key)s THEN idempotency_key END, offline_mode, flush, atomic, %(now)s
FROM done
RETURNING *

-- name: segments
SELECT start, bytes, blob_key FROM upload_segments WHERE upload_id = %(id)s ORDER BY start

-- name: last_segments
SELECT s.start, s.bytes, s.blob_key
FROM upload_segments s JOIN resumable_uploads r ON r.id = s.upload_id AND r.tenant_id = %(tenant_id)s
WHERE s.upload_id = %(id)s ORDER BY s.start DESC LIMIT %(limit)s

-- name: lock_unfinished
SELECT id FROM resumable_uploads
WHERE id = %(id)s AND tenant_id = %(tenant_id)s AND writer = %(writer)s FOR UPDATE

-- name: drop_joined
DELETE FROM upload_segments WHERE upload_id = %(id)s AND blob_key = ANY(%(keys)s) RETURNING blob_key

-- name: drop_segments
DELETE FROM upload_segments WHERE upload_id = %(id)s RETURNING blob_key

-- name: drop_unfinished
DELETE FROM resumable_uploads WHERE id = %(id)s AND tenant_id = %(tenant_id)s RETURNING id

-- name: drop_expired
-- A bounded number; the caller repeats it. An upload that is being written at this moment is skipped.
DELETE FROM resumable_uploads WHERE id IN (
    SELECT id FROM resumable_uploads WHERE expires_at < %(now)s ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED
)
RETURNING id
