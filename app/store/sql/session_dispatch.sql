-- name: opened
UPDATE sessions SET state = 'open', reference_number = %(reference_number)s, opened_at = %(now)s
WHERE id = %(id)s AND state = 'opening' AND owner_epoch = %(epoch)s
RETURNING id

-- name: set_upload_target
UPDATE parts SET upload_target = %(upload_target)s, uploaded_at = NULL
WHERE session_id = %(session_id)s AND ordinal_number = %(ordinal_number)s

-- name: upload_targets
SELECT s.tenant_id, p.ordinal_number, p.upload_target FROM parts p JOIN sessions s ON s.id = p.session_id
WHERE p.session_id = %(session_id)s AND p.upload_target IS NOT NULL ORDER BY p.ordinal_number

-- name: part_uploaded
UPDATE parts SET uploaded_at = %(now)s WHERE session_id = %(session_id)s AND ordinal_number = %(ordinal_number)s

-- name: part_missing
UPDATE parts SET uploaded_at = NULL WHERE session_id = %(session_id)s AND ordinal_number = %(ordinal_number)s

-- name: renew_key
UPDATE sessions SET key_renewals = key_renewals + 1 WHERE id = %(id)s AND owner_epoch = %(epoch)s
RETURNING id

-- name: mark_sent
-- By ranges of the primary key: OFFSET 0 keeps the planner from reading all invoices.
WITH moved AS (
    UPDATE invoices i SET state = 'sent'
    WHERE i.id = ANY(ARRAY(
            SELECT packed.id
            FROM session_chunks sc JOIN chunks c ON c.id = sc.chunk_id
            CROSS JOIN LATERAL (
                SELECT i.id FROM invoices i
                WHERE i.id BETWEEN c.id AND c.last_id AND i.session_id = %(session_id)s AND i.state = 'packed'
                OFFSET 0
            ) packed
            WHERE sc.session_id = %(session_id)s))
        AND i.session_id = %(session_id)s AND i.state = 'packed'
    RETURNING i.upload_id
)
SELECT upload_id, count(*)::integer AS n FROM moved GROUP BY upload_id
