-- name: installation
SELECT id, created_at, key_check FROM installation

-- name: lock_installation
-- Two first starts on one database decide one after the other which key is its key.
SELECT id, created_at, key_check FROM installation FOR UPDATE

-- name: set_key_check
UPDATE installation SET key_check = %(key_check)s

-- name: any_credential
-- A secret by which a master key is recognised in a database of a version that kept no key check value.
SELECT nip, credential FROM tenants ORDER BY id LIMIT 1

-- name: schema_is_there
SELECT to_regclass('alembic_version') IS NOT NULL AS migrated
