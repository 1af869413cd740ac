-- name: add_tenant
INSERT INTO tenants (public_id, nip, name, credential_kind, credential, compression, created_at)
VALUES (%(public_id)s, %(nip)s, %(name)s, %(credential_kind)s, %(credential)s, %(compression)s, %(now)s)
ON CONFLICT (nip) DO NOTHING
RETURNING id

-- name: list_tenants
SELECT * FROM tenants ORDER BY id

-- name: tenant_by_id
SELECT * FROM tenants WHERE id = %(tenant_id)s

-- name: public_id_for_job
-- Names the tenant of a job in log lines; one of the ids is given.
SELECT public_id FROM tenants WHERE id = coalesce(
    %(tenant_id)s::bigint,
    (SELECT tenant_id FROM sessions WHERE id = %(session_id)s::uuid),
    (SELECT tenant_id FROM uploads WHERE id = %(upload_id)s::uuid),
    (SELECT tenant_id FROM lanes WHERE id = %(lane_id)s::bigint),
    (SELECT tenant_id FROM webhook_endpoints WHERE id = %(endpoint_id)s::uuid),
    (SELECT e.tenant_id FROM webhook_replays r JOIN webhook_endpoints e ON e.id = r.endpoint_id WHERE r.id = %(replay_id)s::uuid)
)

-- name: tenant_by_nip
SELECT * FROM tenants WHERE nip = %(nip)s

-- name: disable_tenant
UPDATE tenants SET disabled_at = coalesce(disabled_at, %(now)s) WHERE id = %(tenant_id)s

-- name: enable_tenant
UPDATE tenants SET disabled_at = NULL WHERE id = %(tenant_id)s

-- name: require_reconciliation
UPDATE tenants SET reconcile_since = least(reconcile_since, %(since)s) WHERE id = %(tenant_id)s

-- name: end_reconciliation
-- Not when an earlier moment was asked for meanwhile.
UPDATE tenants SET reconcile_since = NULL
WHERE id = %(tenant_id)s AND reconcile_since IS NOT NULL
    AND (%(since)s::timestamptz IS NULL OR reconcile_since >= %(since)s)

-- name: set_late_invoices
UPDATE tenants SET late_invoices = %(choice)s WHERE id = %(tenant_id)s

-- name: set_credential
-- Deletes the tokens of the old credential, too, and what its login could not query, so that it is queried again.
WITH dropped AS (DELETE FROM ksef_tokens WHERE tenant_id = %(tenant_id)s),
    forgotten AS (DELETE FROM ksef_permissions WHERE tenant_id = %(tenant_id)s)
UPDATE tenants SET credential_kind = %(credential_kind)s, credential = %(credential)s WHERE id = %(tenant_id)s

-- name: add_api_key
INSERT INTO api_keys (id, tenant_id, label, secret_sha256, created_at)
VALUES (%(id)s, %(tenant_id)s, %(label)s, %(secret_sha256)s, %(now)s)

-- name: list_api_keys
SELECT id, label, created_at, last_used_at, revoked_at FROM api_keys WHERE tenant_id = %(tenant_id)s ORDER BY id

-- name: revoke_api_key
UPDATE api_keys SET revoked_at = coalesce(revoked_at, %(now)s) WHERE id = %(id)s AND tenant_id = %(tenant_id)s

-- name: api_keys_with_tenants
SELECT k.secret_sha256, k.id AS key_id, k.label, t.*
FROM api_keys k JOIN tenants t ON t.id = k.tenant_id
WHERE k.id = ANY(%(ids)s) AND k.revoked_at IS NULL

-- name: touch_api_keys
-- At most one write a minute and key: reading must not turn into writing.
UPDATE api_keys SET last_used_at = %(now)s
WHERE id = ANY(%(ids)s) AND (last_used_at IS NULL OR last_used_at < %(now)s - interval '1 minute')

-- name: load_tokens
SELECT tokens FROM ksef_tokens WHERE tenant_id = %(tenant_id)s

-- name: save_tokens
INSERT INTO ksef_tokens (tenant_id, tokens, updated_at) VALUES (%(tenant_id)s, %(tokens)s, %(now)s)
ON CONFLICT (tenant_id) DO UPDATE SET tokens = excluded.tokens, updated_at = excluded.updated_at

-- name: ensure_lane
-- Returns the lane's id whether it was there or not; the harmless update makes RETURNING see an old row.
INSERT INTO lanes (tenant_id, form_code, offline_mode, compression)
VALUES (%(tenant_id)s, %(form_code)s, %(offline_mode)s, %(compression)s)
ON CONFLICT (tenant_id, form_code, offline_mode, compression) DO UPDATE SET form_code = excluded.form_code
RETURNING id

-- name: request_flush
UPDATE lanes SET flush_requested_at = %(now)s WHERE tenant_id = %(tenant_id)s
RETURNING id
