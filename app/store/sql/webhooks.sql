-- name: lock_tenant
-- Registrations of one tenant happen one after the other, so that its bound on endpoints holds.
SELECT id FROM tenants WHERE id = %(tenant_id)s FOR NO KEY UPDATE

-- name: add_endpoint
-- Nothing is added (no row comes back) when the tenant has as many live endpoints as it may have.
INSERT INTO webhook_endpoints (id, tenant_id, url, description, event_types, secrets, signing, ordering, max_concurrency,
    header_names, headers, created_at)
SELECT %(id)s, %(tenant_id)s, %(url)s, %(description)s, %(event_types)s, %(secrets)s, %(signing)s, %(ordering)s,
    %(max_concurrency)s, %(header_names)s, %(headers)s, %(now)s
WHERE (SELECT count(*) FROM webhook_endpoints WHERE tenant_id = %(tenant_id)s AND deleted_at IS NULL) < %(most)s
RETURNING *

-- name: list_endpoints
-- Oldest first; leans on webhook_endpoints_by_tenant. A tenant has few.
SELECT * FROM webhook_endpoints WHERE tenant_id = %(tenant_id)s AND deleted_at IS NULL ORDER BY created_at, id

-- name: get_endpoint
SELECT * FROM webhook_endpoints WHERE id = %(id)s AND tenant_id = %(tenant_id)s AND deleted_at IS NULL

-- name: lock_endpoint
-- For a change that depends on what the row says.
SELECT * FROM webhook_endpoints WHERE id = %(id)s AND tenant_id = %(tenant_id)s AND deleted_at IS NULL FOR NO KEY UPDATE

-- name: update_endpoint
-- Whoever delivers sees the new version and reads the row again.
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
-- The row stays for the history; its secrets do not.
UPDATE webhook_endpoints SET deleted_at = %(now)s, secrets = '', headers = NULL, version = version + 1
WHERE id = %(id)s AND tenant_id = %(tenant_id)s AND deleted_at IS NULL
RETURNING id
