-- name: count_poll
UPDATE sessions SET polls = polls + 1, ksef_status = %(ksef_status)s, not_found_polls = 0,
    ksef_created_at = coalesce(%(ksef_created_at)s, ksef_created_at),
    processed_at = CASE WHEN %(ksef_status)s >= 200 THEN coalesce(processed_at, %(now)s) ELSE processed_at END
WHERE id = %(id)s AND owner_epoch = %(epoch)s
RETURNING polls

-- name: count_not_found
UPDATE sessions SET not_found_polls = not_found_polls + 1 WHERE id = %(id)s AND owner_epoch = %(epoch)s
RETURNING not_found_polls

-- name: count_incomplete
UPDATE sessions SET incomplete_polls = incomplete_polls + 1 WHERE id = %(id)s AND owner_epoch = %(epoch)s
RETURNING incomplete_polls

-- name: sent_invoices
-- Invoices without a verdict, except those named by their hashes (Base64, joined by \x1f). The invoices of a
-- session are ranges of the primary key; OFFSET 0 keeps the planner from reading all invoices instead, which it estimates as
-- cheaper while there are few.
SELECT i.id, i.sha256, i.attempts
FROM session_chunks sc
JOIN chunks c ON c.id = sc.chunk_id
CROSS JOIN LATERAL (
    SELECT i.id, i.sha256, i.attempts FROM invoices i
    WHERE i.id BETWEEN c.id AND c.last_id AND i.session_id = %(session_id)s AND i.state IN ('packed', 'sent')
    OFFSET 0
) i
WHERE sc.session_id = %(session_id)s AND NOT EXISTS (
    SELECT FROM unnest(string_to_array(%(named)s, E'\x1f')) AS named (hash) WHERE decode(named.hash, 'base64') = i.sha256)
ORDER BY i.id

-- name: add_upo_page
INSERT INTO upo_pages (session_id, page, upo_reference_number, blob_key, bytes, sha256, documents, fetched_at)
VALUES (%(session_id)s, %(page)s, %(upo_reference_number)s, %(blob_key)s, %(bytes)s, %(sha256)s, %(documents)s, %(now)s)
ON CONFLICT (session_id, page) DO NOTHING

-- name: accept_invoices
-- Joined by hash: KSeF's receipt names each document by the SHA-256 of its XML. Each column is one text, its values joined by \x1f,
-- an empty one for NULL; arrays would be taken apart and put together on both sides. No index of `invoices` has a column that is
-- changed here, so that the new versions of the rows stay on their pages; KSeF numbers have a table of their own for searches.
WITH changed AS (
    UPDATE invoices i SET state = 'accepted', ksef_number = v.ksef_number, acquired_at = v.acquired_at::timestamptz,
        invoicing_mode = v.mode, upo_page = %(page)s, finished_at = %(now)s
    FROM unnest(string_to_array(%(hashes)s, E'\x1f'), string_to_array(%(ksef_numbers)s, E'\x1f'),
            string_to_array(%(acquired)s, E'\x1f', ''), string_to_array(%(modes)s, E'\x1f', ''))
            AS v (hash, ksef_number, acquired_at, mode)
    WHERE i.id = ANY(ARRAY(
            SELECT sent.id
            FROM session_chunks sc JOIN chunks c ON c.id = sc.chunk_id
            CROSS JOIN LATERAL (
                SELECT i.id FROM invoices i
                WHERE i.id BETWEEN c.id AND c.last_id AND i.session_id = %(session_id)s AND i.state = 'sent'
                OFFSET 0
            ) sent
            WHERE sc.session_id = %(session_id)s))
        AND i.session_id = %(session_id)s AND i.state = 'sent' AND i.sha256 = decode(v.hash, 'base64')
    RETURNING i.upload_id, i.id, i.ksef_number
), numbered AS (
    INSERT INTO ksef_numbers (ksef_number, invoice_id) SELECT ksef_number, id FROM changed ORDER BY ksef_number
    ON CONFLICT DO NOTHING
)
SELECT upload_id, count(*)::integer AS n FROM changed GROUP BY upload_id

-- name: refuse_invoices
-- Final without a number; the claim is deleted, so that a corrected invoice with the same number is accepted.
WITH changed AS (
    UPDATE invoices i SET state = %(state)s, finished_at = %(now)s,
        findings = coalesce(i.findings, '[]'::jsonb) || v.finding::jsonb,
        invoice_reference_number = coalesce(v.reference, i.invoice_reference_number)
    FROM unnest(%(ids)s::uuid[], %(findings)s::text[], %(references)s::text[]) AS v (id, finding, reference)
    WHERE i.id = v.id AND i.session_id = %(session_id)s AND i.state = %(old)s
    RETURNING i.upload_id, i.tenant_id, i.identity, i.id
), released AS (
    DELETE FROM claims k USING changed c
    WHERE k.tenant_id = c.tenant_id AND k.identity = c.identity AND k.invoice_id = c.id
)
SELECT upload_id, count(*)::integer AS n FROM changed GROUP BY upload_id

-- name: requeue_invoices
-- KSeF's own answer says that nothing of these was accepted: they wait for another session.
WITH changed AS (
    UPDATE invoices i SET state = 'queued', session_id = NULL,
        attempts = i.attempts - CASE WHEN %(uncounted)s THEN 1 ELSE 0 END,
        findings = coalesce(i.findings, '[]'::jsonb) || %(finding)s::jsonb
    WHERE i.id = ANY(%(ids)s) AND i.session_id = %(session_id)s AND i.state = %(old)s
    RETURNING i.id, i.upload_id, i.blob_bytes, i.issue_date
), chunked AS (
    UPDATE chunks c SET queued = c.queued + n.n, queued_bytes = c.queued_bytes + n.bytes,
        latest_issue_date = greatest(c.latest_issue_date, n.latest)
    FROM (
        SELECT c.id, count(*)::integer AS n, sum(ch.blob_bytes + %(overhead)s) AS bytes, max(ch.issue_date) AS latest
        FROM changed ch JOIN session_chunks sc ON sc.session_id = %(session_id)s
        JOIN chunks c ON c.id = sc.chunk_id AND ch.id BETWEEN c.id AND c.last_id
        GROUP BY c.id
    ) n WHERE c.id = n.id
)
SELECT upload_id, count(*)::integer AS n FROM changed GROUP BY upload_id

-- name: finish_session
-- The session's key and the links of its parts are destroyed with its last state.
WITH finished AS (
    UPDATE sessions SET state = %(state)s, completed_at = %(now)s, encryption_key = NULL,
        accepted = %(accepted)s, rejected = %(rejected)s, failed = %(failed)s, requeued = %(requeued)s
    WHERE id = %(id)s AND state = %(old)s AND owner_epoch = %(epoch)s
    RETURNING id
), forgotten AS (
    UPDATE parts SET upload_target = NULL FROM finished
    WHERE parts.session_id = finished.id AND parts.upload_target IS NOT NULL
)
SELECT id FROM finished
