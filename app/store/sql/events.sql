-- name: add_event
INSERT INTO events (id, tenant_id, type, created_at, session_id, data)
VALUES (%(id)s, %(tenant_id)s, %(type)s, %(now)s, %(session_id)s, %(data)s)
RETURNING sequence

-- name: add_invoice_events
-- Up to 500 invoices an event, written as the JSON text that is sent, within the database. Uses the primary key by the chunks of
-- the session, and on the order in which a loop over sorted chunks brings their sorted invoices: whichever share an event, each is in one.
WITH listed AS (
    SELECT i.json, (row_number() OVER () - 1) / 500 AS page
    FROM (
        SELECT c.id, c.last_id FROM session_chunks sc JOIN chunks c ON c.id = sc.chunk_id
        WHERE sc.session_id = %(session_id)s ORDER BY c.id OFFSET 0
    ) c
    CROSS JOIN LATERAL (
        SELECT invoice_json_text(i) AS json FROM invoices i
        WHERE i.id BETWEEN c.id AND c.last_id AND i.session_id = %(session_id)s AND i.state = ANY(%(states)s)
        ORDER BY i.id OFFSET 0
    ) i
), pages AS (
    SELECT page, string_agg(json, ', ') AS invoices FROM listed GROUP BY page
)
INSERT INTO events (id, tenant_id, type, created_at, session_id, data)
SELECT gen_random_uuid(), %(tenant_id)s, %(type)s, %(now)s, %(session_id)s,
    '{"session": "' || public_id('ses', %(session_id)s) || '", "invoices": [' || invoices || ']}'
FROM pages ORDER BY page
RETURNING sequence

-- name: add_events_of_invoices
-- The same for some of a session's invoices, in one event; the caller gives 500 at most.
INSERT INTO events (id, tenant_id, type, created_at, session_id, data)
SELECT gen_random_uuid(), %(tenant_id)s, %(type)s, %(now)s, %(session_id)s,
    '{"session": "' || public_id('ses', %(session_id)s) || '", "invoices": [' || listed.invoices || ']}'
FROM (
    SELECT string_agg(invoice_json_text(i), ', ' ORDER BY i.id) AS invoices FROM invoices i
    WHERE i.id = ANY(%(ids)s) AND i.tenant_id = %(tenant_id)s
) AS listed
WHERE listed.invoices IS NOT NULL
RETURNING sequence

-- name: add_deliveries
-- One for each enabled endpoint of the tenant that wants this type. The dispatcher is notified once, at the commit.
WITH added AS (
    INSERT INTO deliveries (id, tenant_id, endpoint_id, event_sequence, session_id, state, next_attempt_at, created_at)
    SELECT gen_random_uuid(), e.tenant_id, w.id, e.sequence, e.session_id, 'pending', %(now)s, %(now)s
    FROM events e
    JOIN webhook_endpoints w ON w.tenant_id = e.tenant_id AND w.deleted_at IS NULL AND w.disabled_at IS NULL
        AND (w.event_types IS NULL OR e.type = ANY(w.event_types))
    WHERE e.sequence = ANY(%(sequences)s)
    ORDER BY e.sequence
    RETURNING 1
)
SELECT pg_notify('ksefd_deliveries', '') FROM (SELECT 1 FROM added LIMIT 1) AS one

-- name: add_delivery
WITH added AS (
    INSERT INTO deliveries (id, tenant_id, endpoint_id, event_sequence, state, next_attempt_at, created_at)
    VALUES (%(id)s, %(tenant_id)s, %(endpoint_id)s, %(event_sequence)s, 'pending', %(now)s, %(now)s)
    RETURNING 1
)
SELECT pg_notify('ksefd_deliveries', '') FROM added
