-- name: load_limits
SELECT * FROM ksef_limits WHERE tenant_id = %(tenant_id)s

-- name: reserve_refresh
-- Returns a row to one caller only, and to no other within the pause, even if the reading failed.
INSERT INTO ksef_limits (tenant_id, asked_at) VALUES (%(tenant_id)s, %(now)s)
ON CONFLICT (tenant_id) DO UPDATE SET asked_at = excluded.asked_at
WHERE (ksef_limits.asked_at IS NULL OR ksef_limits.asked_at <= %(now)s - %(pause)s::interval)
    AND (ksef_limits.stale OR ksef_limits.fetched_at IS NULL OR ksef_limits.fetched_at <= %(now)s - %(good_for)s::interval)
RETURNING tenant_id

-- name: save_limits
-- A limit learnt from KSeF's refusal applies until KSeF itself reports more.
INSERT INTO ksef_limits (tenant_id, rate_limits, context_limits, fetched_at, asked_at)
VALUES (%(tenant_id)s, %(rate_limits)s, %(context_limits)s, %(now)s, %(now)s)
ON CONFLICT (tenant_id) DO UPDATE
SET rate_limits = excluded.rate_limits, context_limits = excluded.context_limits, fetched_at = excluded.fetched_at,
    stale = false,
    session_max_invoices = CASE
        WHEN (excluded.context_limits ->> 'max_invoices')::integer > ksef_limits.session_max_invoices THEN NULL
        ELSE ksef_limits.session_max_invoices
    END

-- name: distrust_limits
UPDATE ksef_limits SET stale = true WHERE tenant_id = %(tenant_id)s

-- name: lower_session_limit
INSERT INTO ksef_limits (tenant_id, session_max_invoices, stale) VALUES (%(tenant_id)s, %(most)s, true)
ON CONFLICT (tenant_id) DO UPDATE
SET session_max_invoices = least(ksef_limits.session_max_invoices, excluded.session_max_invoices), stale = true
