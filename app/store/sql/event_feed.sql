-- name: event_position
SELECT written_by::text AS written_by, sequence FROM events WHERE id = %(id)s AND tenant_id = %(tenant_id)s

-- name: events_page
-- In an order that no late commit can change: only events of transactions older than every running one are returned, so none is
-- added before them. A page ends before it grows beyond a bound (of stored, compressed bytes: nothing is unpacked to count),
-- but has at least one event if there is any; `found` above the number of rows means that there are more. Every row also has the
-- newest event of the tenant by the same snapshot; without any event of the tenant no row comes back. Uses events_by_tenant.
WITH newest AS MATERIALIZED (
    SELECT id, written_by, sequence FROM events
    WHERE tenant_id = %(tenant_id)s AND written_by < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY written_by DESC, sequence DESC LIMIT 1
), page AS (
    SELECT e.id, e.type, e.created_at, e.data, e.written_by, e.sequence, row_number() OVER arrival AS position,
        sum(pg_column_size(e.data)) OVER arrival AS bytes, count(*) OVER () AS found
    FROM (
        SELECT * FROM events
        WHERE tenant_id = %(tenant_id)s
            AND written_by < pg_snapshot_xmin(pg_current_snapshot())
            AND (written_by, sequence) > (%(written_by)s::text::xid8, %(sequence)s)
            AND (%(types)s::text[] IS NULL OR type = ANY(%(types)s))
            AND (%(since)s::timestamptz IS NULL OR created_at >= %(since)s)
        ORDER BY written_by, sequence LIMIT %(limit)s + 1
    ) e
    WINDOW arrival AS (ORDER BY e.written_by, e.sequence)
)
SELECT n.id AS newest_id, n.written_by::text AS newest_written_by, n.sequence AS newest_sequence,
    p.id, p.type, p.created_at, p.data, p.written_by::text AS written_by, p.sequence, p.found
FROM newest n
LEFT JOIN page p ON p.position <= %(limit)s AND (p.position = 1 OR p.bytes <= %(max_bytes)s)
ORDER BY p.position

-- name: newest_events
-- The newest event of each of these tenants that may be returned: one access of events_by_tenant for each.
SELECT t.tenant_id, e.id, e.written_by::text AS written_by, e.sequence
FROM unnest(%(tenants)s::integer[]) AS t (tenant_id)
CROSS JOIN LATERAL (
    SELECT id, written_by, sequence FROM events
    WHERE tenant_id = t.tenant_id AND written_by < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY written_by DESC, sequence DESC LIMIT 1
) e
