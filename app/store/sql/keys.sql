-- name: data_keys
SELECT number, wrapped FROM data_keys ORDER BY number

-- name: add_data_key
INSERT INTO data_keys (number, wrapped) VALUES (%(number)s, %(wrapped)s) ON CONFLICT DO NOTHING

-- name: lock_data_keys
SELECT number, wrapped FROM data_keys ORDER BY number FOR UPDATE

-- name: set_data_key
UPDATE data_keys SET wrapped = %(wrapped)s WHERE number = %(number)s

-- name: hand_over
UPDATE installation SET key_check = %(key_check)s, handed_over = %(handed_over)s, handed_over_by = %(handed_over_by)s

-- name: end_hand_over
UPDATE installation SET handed_over = NULL, handed_over_by = NULL WHERE key_check = %(key_check)s

-- name: secrets_by_key
-- How many secrets each data key encrypts; 0 is the master key itself, in earlier versions. Uses the partial indexes.
SELECT CASE get_byte(value, 0) WHEN 1 THEN 0
        ELSE (get_byte(value, 1)::bigint << 24) + (get_byte(value, 2) << 16) + (get_byte(value, 3) << 8) + get_byte(value, 4) END AS key,
    count(*) AS n
FROM (
    SELECT credential AS value FROM tenants
    UNION ALL SELECT tokens FROM ksef_tokens
    UNION ALL SELECT encryption_key FROM sessions WHERE encryption_key IS NOT NULL
    UNION ALL SELECT upload_target FROM parts WHERE upload_target IS NOT NULL
    UNION ALL SELECT secrets FROM webhook_endpoints WHERE length(secrets) > 0
    UNION ALL SELECT headers FROM webhook_endpoints WHERE headers IS NOT NULL
) all_secrets
WHERE length(value) > 5
GROUP BY 1 ORDER BY 1

-- Secrets that the master key itself encrypts, a bounded number after a place in the order of `pk`; rows that a worker has locked come
-- in a later pass.
-- name: direct_credential
SELECT nip COLLATE "C" AS pk, nip, credential AS value FROM tenants
WHERE credential IS NOT NULL AND substr(credential, 1, 1) = '\x01' AND nip COLLATE "C" > %(after)s
ORDER BY pk LIMIT %(limit)s FOR UPDATE OF tenants SKIP LOCKED

-- name: set_credential
UPDATE tenants SET credential = %(value)s WHERE nip = %(nip)s

-- name: direct_tokens
SELECT tenant_id::text COLLATE "C" AS pk, tenant_id, tokens AS value FROM ksef_tokens
WHERE tokens IS NOT NULL AND substr(tokens, 1, 1) = '\x01' AND tenant_id::text COLLATE "C" > %(after)s
ORDER BY pk LIMIT %(limit)s FOR UPDATE OF ksef_tokens SKIP LOCKED

-- name: set_tokens
UPDATE ksef_tokens SET tokens = %(value)s WHERE tenant_id = %(tenant_id)s

-- name: direct_session_key
SELECT id::text COLLATE "C" AS pk, tenant_id, id AS session_id, encryption_key AS value FROM sessions
WHERE encryption_key IS NOT NULL AND substr(encryption_key, 1, 1) = '\x01' AND id::text COLLATE "C" > %(after)s
ORDER BY pk LIMIT %(limit)s FOR UPDATE OF sessions SKIP LOCKED

-- name: set_session_key
UPDATE sessions SET encryption_key = %(value)s WHERE id = %(session_id)s

-- name: direct_upload_target
SELECT (p.session_id || ':' || p.ordinal_number) COLLATE "C" AS pk, s.tenant_id, p.session_id, p.ordinal_number, p.upload_target AS value FROM parts p JOIN sessions s ON s.id = p.session_id
WHERE p.upload_target IS NOT NULL AND substr(p.upload_target, 1, 1) = '\x01' AND (p.session_id || ':' || p.ordinal_number) COLLATE "C" > %(after)s
ORDER BY pk LIMIT %(limit)s FOR UPDATE OF p SKIP LOCKED

-- name: set_upload_target
UPDATE parts SET upload_target = %(value)s WHERE session_id = %(session_id)s AND ordinal_number = %(ordinal_number)s

-- name: direct_webhook_keys
SELECT id::text COLLATE "C" AS pk, tenant_id, id AS endpoint_id, secrets AS value FROM webhook_endpoints
WHERE secrets IS NOT NULL AND substr(secrets, 1, 1) = '\x01' AND id::text COLLATE "C" > %(after)s
ORDER BY pk LIMIT %(limit)s FOR UPDATE OF webhook_endpoints SKIP LOCKED

-- name: set_webhook_keys
UPDATE webhook_endpoints SET secrets = %(value)s WHERE id = %(endpoint_id)s

-- name: direct_webhook_headers
SELECT id::text COLLATE "C" AS pk, tenant_id, id AS endpoint_id, headers AS value FROM webhook_endpoints
WHERE headers IS NOT NULL AND substr(headers, 1, 1) = '\x01' AND id::text COLLATE "C" > %(after)s
ORDER BY pk LIMIT %(limit)s FOR UPDATE OF webhook_endpoints SKIP LOCKED

-- name: set_webhook_headers
UPDATE webhook_endpoints SET headers = %(value)s WHERE id = %(endpoint_id)s
