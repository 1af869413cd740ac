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
