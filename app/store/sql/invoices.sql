-- name: get_invoice
-- A group of single posts has no row in uploads after its retention; its chunk was made at the same moment.
SELECT invoice_json(i) AS json, i.id, i.upload_id, i.session_id, i.state, i.blob_offset, i.blob_bytes, i.size,
    i.crc32, i.upo_page, i.seller_nip, i.issue_date, i.sha256, i.ksef_number, i.name, i.finished_at,
    i.invoice_reference_number,
    c.encoding, c.blob_key, c.created_at AS checked_at,
    coalesce(u.created_at, c.created_at) AS received_at, s.sealed_at, s.opened_at, s.closed_at, s.reference_number, s.offline_mode
FROM invoices i
JOIN chunks c ON c.id = %(chunk_id)s
LEFT JOIN uploads u ON u.id = i.upload_id
LEFT JOIN sessions s ON s.id = i.session_id
WHERE i.id = %(id)s AND i.tenant_id = %(tenant_id)s

-- name: by_upload
-- In the order of the upload, from a cursor; uses the primary key by the upload's chunks.
SELECT i.id, invoice_json(i) AS json
FROM chunks c
CROSS JOIN LATERAL (
    SELECT * FROM invoices i
    WHERE i.id BETWEEN greatest(c.id, %(after)s) AND c.last_id AND i.id > %(after)s
        AND i.tenant_id = %(tenant_id)s AND (%(states)s::text[] IS NULL OR i.state = ANY(%(states)s))
    ORDER BY i.id LIMIT %(limit)s
) i
WHERE c.upload_id = %(upload_id)s AND c.tenant_id = %(tenant_id)s AND c.last_id > %(after)s
ORDER BY c.id, i.id LIMIT %(limit)s

-- name: by_session
SELECT i.id, invoice_json(i) AS json
FROM session_chunks sc
JOIN chunks c ON c.id = sc.chunk_id
CROSS JOIN LATERAL (
    SELECT * FROM invoices i
    WHERE i.id BETWEEN greatest(c.id, %(after)s) AND c.last_id AND i.id > %(after)s
        AND i.session_id = %(session_id)s AND i.tenant_id = %(tenant_id)s
        AND (%(states)s::text[] IS NULL OR i.state = ANY(%(states)s))
    ORDER BY i.id LIMIT %(limit)s
) i
WHERE sc.session_id = %(session_id)s AND c.last_id > %(after)s
ORDER BY c.id, i.id LIMIT %(limit)s

-- name: by_tenant
-- All invoices of a tenant, by its chunks; uses chunks_by_tenant and the primary key.
SELECT i.id, invoice_json(i) AS json
FROM chunks c
CROSS JOIN LATERAL (
    SELECT * FROM invoices i
    WHERE i.id BETWEEN greatest(c.id, %(after)s) AND c.last_id AND i.id > %(after)s
        AND i.tenant_id = %(tenant_id)s AND (%(states)s::text[] IS NULL OR i.state = ANY(%(states)s))
    ORDER BY i.id LIMIT %(limit)s
) i
WHERE c.tenant_id = %(tenant_id)s AND c.last_id > %(after)s
ORDER BY c.id, i.id LIMIT %(limit)s

-- name: search
-- All given filters apply; number and hash have indexes of their own, the KSeF number a table.
SELECT i.id, invoice_json(i) AS json FROM invoices i
WHERE i.tenant_id = %(tenant_id)s AND i.id > %(after)s
    AND (%(number)s::text IS NULL OR i.number = %(number)s)
    AND (%(ksef_number)s::text IS NULL OR i.id = ANY(ARRAY(
        SELECT k.invoice_id FROM ksef_numbers k WHERE k.ksef_number = %(ksef_number)s)))
    AND (%(sha256)s::bytea IS NULL OR i.sha256 = %(sha256)s)
    AND (%(upload_id)s::uuid IS NULL OR i.upload_id = %(upload_id)s)
    AND (%(session_id)s::uuid IS NULL OR i.session_id = %(session_id)s)
    AND (%(states)s::text[] IS NULL OR i.state = ANY(%(states)s))
    AND (NOT %(held)s OR i.decision = 'held')
ORDER BY i.id LIMIT %(limit)s
