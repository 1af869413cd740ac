-- name: make_head
-- A head that is missing although there are rows is made without a seal, so that the check finds it.
INSERT INTO audit_head (number, hash, mac)
SELECT coalesce(newest.number, 0), coalesce(newest.hash, %(beginning)s),
    CASE WHEN newest.number IS NULL THEN %(mac)s::bytea ELSE '' END
FROM (VALUES (1)) AS one LEFT JOIN (SELECT number, hash FROM audit_rows ORDER BY number DESC LIMIT 1) AS newest ON true
ON CONFLICT DO NOTHING

-- name: lock_head
-- The lock gives numbers one after the other. It is the last lock of each transaction and is released by its commit.
SELECT number, hash, mac FROM audit_head FOR UPDATE

-- name: newest_row
SELECT clock_timestamp() AS now, number, hash
FROM (VALUES (1)) AS one LEFT JOIN (SELECT number, hash FROM audit_rows ORDER BY number DESC LIMIT 1) AS newest ON true

-- name: add_row
INSERT INTO audit_rows (number, at, actor_kind, actor, act, tenant_id, object, request_id, outcome, details, previous_hash, hash)
VALUES (%(number)s, %(at)s, %(actor_kind)s, %(actor)s, %(act)s, %(tenant_id)s, %(object)s, %(request_id)s, %(outcome)s,
    %(details)s, %(previous_hash)s, %(hash)s)

-- name: set_head
UPDATE audit_head SET number = %(number)s, hash = %(hash)s, mac = %(mac)s

-- name: read_head
SELECT number, hash, mac FROM audit_head

-- name: all_rows
SELECT number, at, actor_kind, actor, act, tenant_id, object, request_id, outcome, details, previous_hash, hash
FROM audit_rows ORDER BY number

-- name: rows_after
-- Oldest first.
SELECT a.*, t.public_id AS tenant_public_id, t.nip
FROM audit_rows a LEFT JOIN tenants t ON t.id = a.tenant_id
WHERE a.number > %(after)s
    AND (%(tenant_id)s::bigint IS NULL OR a.tenant_id = %(tenant_id)s)
    AND (%(act)s::text IS NULL OR a.act = %(act)s)
    AND (%(since)s::timestamptz IS NULL OR a.at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR a.at < %(until)s)
ORDER BY a.number LIMIT %(limit)s

-- name: rows_before
-- Newest first.
SELECT a.*, t.public_id AS tenant_public_id, t.nip
FROM audit_rows a LEFT JOIN tenants t ON t.id = a.tenant_id
WHERE (%(before)s::bigint IS NULL OR a.number < %(before)s)
    AND (%(tenant_id)s::bigint IS NULL OR a.tenant_id = %(tenant_id)s)
    AND (%(act)s::text IS NULL OR a.act = %(act)s)
    AND (%(since)s::timestamptz IS NULL OR a.at >= %(since)s)
    AND (%(until)s::timestamptz IS NULL OR a.at < %(until)s)
ORDER BY a.number DESC LIMIT %(limit)s
