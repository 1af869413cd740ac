-- name: usage
-- The backlog of each tenant: bodies that are not read yet, and invoices that KSeF does not have yet. Each branch is read from a
-- partial index of the backlog only.
SELECT tenant_id, sum(uploads)::bigint AS uploads, sum(spooled)::bigint AS spooled, sum(invoices)::bigint AS invoices
FROM (
    SELECT tenant_id, count(*) AS uploads, sum(bytes) AS spooled, 0 AS invoices
    FROM uploads WHERE state IN ('received', 'reading') GROUP BY tenant_id
    UNION ALL
    -- Resumable uploads: the bytes received so far.
    SELECT tenant_id, 0, sum(received), 0 FROM resumable_uploads GROUP BY tenant_id
    UNION ALL
    SELECT tenant_id, 0, 0, sum(received) FROM uploads WHERE received > 0 GROUP BY tenant_id
    UNION ALL
    SELECT tenant_id, 0, 0, sum(queued) FROM chunks WHERE queued > 0 GROUP BY tenant_id
    UNION ALL
    SELECT tenant_id, 0, 0, sum(invoices) FROM sessions
    WHERE state NOT IN ('completed', 'failed') AND state IN ('sealed', 'packed', 'opening') GROUP BY tenant_id
) AS waiting
GROUP BY tenant_id

-- name: enabled_tenants
SELECT count(*)::integer AS tenants FROM tenants WHERE disabled_at IS NULL

-- name: sessions_of_tenant
-- The number of sessions of a tenant in some unfinished states.
SELECT count(*)::integer AS sessions FROM sessions
WHERE state NOT IN ('completed', 'failed') AND state = ANY(%(states)s) AND tenant_id = %(tenant_id)s

-- name: worker_heartbeats
-- Seconds since the last heartbeat of each pool of each worker. Workers delete the rows of pools that stopped long ago.
SELECT extract(epoch FROM clock_timestamp() - last_heartbeat)::float8 AS age FROM procrastinate_workers ORDER BY age
