-- name: installation
SELECT id, created_at, key_check, handed_over, handed_over_by FROM installation

-- name: lock_installation
-- Two first starts on one database decide one after the other which key is its key.
SELECT id, created_at, key_check, handed_over, handed_over_by FROM installation FOR UPDATE

-- name: set_key_check
UPDATE installation SET key_check = %(key_check)s

-- name: any_secret
-- A secret that the master key itself encrypts, by which it is recognised in a database that has no key check value yet.
SELECT 'data-key:' || number AS purpose, wrapped AS sealed FROM data_keys
UNION ALL SELECT 'credential:' || nip, credential FROM tenants WHERE substr(credential, 1, 1) = '\x01'
LIMIT 1

-- name: schema_is_there
SELECT to_regclass('alembic_version') IS NOT NULL AS migrated

-- name: documents
-- Blobs that a backup must have: unread bodies, invoices until they expire, receipts, and parts that KSeF may still want.
SELECT blob_key FROM uploads WHERE blob_key IS NOT NULL
UNION ALL SELECT blob_key FROM upload_segments
UNION ALL SELECT c.blob_key FROM chunks c JOIN uploads u ON u.id = c.upload_id WHERE u.expired_at IS NULL
UNION ALL SELECT blob_key FROM upo_pages
UNION ALL SELECT p.blob_key FROM parts p JOIN sessions s ON s.id = p.session_id WHERE s.state NOT IN ('completed', 'failed')

-- name: begin_snapshot
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: export_snapshot
SELECT pg_export_snapshot() AS snapshot, now() AS moment, (SELECT version_num FROM alembic_version) AS revision

-- name: database_bytes
SELECT pg_database_size(current_database()) AS bytes

-- name: count_tenants
SELECT count(*) AS tenants FROM tenants

-- name: require_reconciliation_of_all
UPDATE tenants SET reconcile_since = least(reconcile_since, %(since)s) RETURNING id

-- name: analyze
-- A restored database has no statistics, without which it plans badly until its first vacuum.
ANALYZE
