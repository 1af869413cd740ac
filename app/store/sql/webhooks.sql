-- name: lock_tenant
-- Registrations of one tenant run one after the other, so that the most endpoints of a tenant are never exceeded.
SELECT id FROM tenants WHERE id = %(tenant_id)s FOR NO KEY UPDATE

-- name: add_endpoint
-- Adds and returns no row when the tenant has the most endpoints already.
INSERT INTO webhook_endpoints (id, tenant_id, url, description, event_types, secrets, signing, ordering, max_concurrency,
    header_names, headers, created_at)
SELECT %(id)s, %(tenant_id)s, %(url)s, %(description)s, %(event_types)s, %(secrets)s, %(signing)s, %(ordering)s,
    %(max_concurrency)s, %(header_names)s, %(headers)s, %(now)s
WHERE (SELECT count(*) FROM webhook_endpoints WHERE tenant_id = %(tenant_id)s AND deleted_at IS NULL) < %(most)s
RETURNING *

-- name: list_endpoints
-- Oldest first; uses webhook_endpoints_by_tenant. A tenant has few.
SELECT * FROM webhook_endpoints WHERE tenant_id = %(tenant_id)s AND deleted_at IS NULL ORDER BY created_at, id

-- name: get_endpoint
SELECT * FROM webhook_endpoints WHERE id = %(id)s AND tenant_id = %(tenant_id)s AND deleted_at IS NULL

-- name: lock_endpoint
-- For a change that depends on the present row.
SELECT * FROM webhook_endpoints WHERE id = %(id)s AND tenant_id = %(tenant_id)s AND deleted_at IS NULL FOR NO KEY UPDATE

-- name: update_endpoint
-- The dispatcher sees the new version and reads the row again.
UPDATE webhook_endpoints SET
    url = %(url)s, description = %(description)s, event_types = %(event_types)s, ordering = %(ordering)s,
    max_concurrency = %(max_concurrency)s, header_names = %(header_names)s, headers = %(headers)s,
    disabled_at = %(disabled_at)s, disabled_reason = %(disabled_reason)s, failing_since = %(failing_since)s,
    version = version + 1
WHERE id = %(id)s
RETURNING *

-- name: set_secrets
UPDATE webhook_endpoints SET secrets = %(secrets)s, signing = %(signing)s, version = version + 1 WHERE id = %(id)s

-- name: delete_endpoint
-- The row is kept for the history, without its secrets.
UPDATE webhook_endpoints SET deleted_at = %(now)s, secrets = '', headers = NULL, version = version + 1
WHERE id = %(id)s AND tenant_id = %(tenant_id)s AND deleted_at IS NULL
RETURNING id, tenant_id
