-- name: load_permissions
SELECT * FROM ksef_permissions WHERE tenant_id = %(tenant_id)s

-- name: due_permissions
-- Active tenants without an answer, or whose next query is due; those that have waited longest come first.
SELECT tenants.id
FROM tenants LEFT JOIN ksef_permissions ON ksef_permissions.tenant_id = tenants.id
WHERE tenants.disabled_at IS NULL
    AND (ksef_permissions.tenant_id IS NULL OR ksef_permissions.ask_after <= %(now)s)
ORDER BY ksef_permissions.ask_after NULLS FIRST, tenants.id
LIMIT %(limit)s

-- name: reserve_permissions
-- Returns a row to one caller only, and to no other within the pause, even if the query failed.
INSERT INTO ksef_permissions (tenant_id, asked_at, ask_after)
VALUES (%(tenant_id)s, %(now)s, %(now)s + %(pause)s::interval)
ON CONFLICT (tenant_id) DO UPDATE SET asked_at = excluded.asked_at, ask_after = excluded.ask_after
WHERE ksef_permissions.ask_after <= %(now)s
RETURNING tenant_id

-- name: save_permissions
INSERT INTO ksef_permissions AS known
    (tenant_id, attachments_allowed, attachments_end_at, fetched_at, asked_at, ask_after)
VALUES (%(tenant_id)s, %(allowed)s, %(ends_at)s, %(now)s, %(now)s, %(now)s + %(good_for)s::interval)
ON CONFLICT (tenant_id) DO UPDATE
SET attachments_allowed = excluded.attachments_allowed, attachments_end_at = excluded.attachments_end_at,
    fetched_at = excluded.fetched_at, asked_at = excluded.asked_at, refused = NULL,
    ask_after = CASE
        -- A tenant that sends attachments although KSeF refuses them is about to apply for the consent, or has it by now.
        WHEN known.wanted_at > %(now)s - %(wanted_for)s::interval AND excluded.attachments_allowed IS NOT TRUE
        THEN %(now)s + %(pause)s::interval
        ELSE excluded.ask_after
    END

-- name: refuse_permissions
-- The earlier answer does not apply any more.
INSERT INTO ksef_permissions (tenant_id, refused, fetched_at, asked_at, ask_after)
VALUES (%(tenant_id)s, %(reason)s, %(now)s, %(now)s, %(now)s + %(pause)s::interval)
ON CONFLICT (tenant_id) DO UPDATE
SET attachments_allowed = NULL, attachments_end_at = NULL, refused = excluded.refused,
    fetched_at = excluded.fetched_at, asked_at = excluded.asked_at, ask_after = excluded.ask_after

-- name: record_refused_attachment
INSERT INTO ksef_permissions AS known (tenant_id, wanted_at, ask_after) VALUES (%(tenant_id)s, %(now)s, %(now)s)
ON CONFLICT (tenant_id) DO UPDATE
SET wanted_at = excluded.wanted_at,
    ask_after = CASE
        WHEN known.refused IS NOT NULL THEN known.ask_after
        ELSE least(known.ask_after, greatest(known.asked_at + %(pause)s::interval, %(now)s))
    END
