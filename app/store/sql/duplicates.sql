-- name: suspect
-- In the transaction that ends the session. A repeat of it changes nothing.
INSERT INTO suspected_duplicates (invoice_id, tenant_id, session_id, sha256, words, original_ksef_number, original_session,
    suspected_at, next_at)
SELECT i.id, i.tenant_id, i.session_id, i.sha256, v.words, v.ksef_number, v.session, %(now)s, %(now)s
FROM unnest(%(ids)s::uuid[], %(words)s::text[], %(ksef_numbers)s::text[], %(sessions)s::text[])
    AS v (id, words, ksef_number, session)
JOIN invoices i ON i.id = v.id AND i.session_id = %(session_id)s AND i.state = 'sent'
ON CONFLICT (invoice_id) DO NOTHING

-- name: tenants_with_due
-- Tenants with something to look into, or to report as unresolved.
SELECT DISTINCT tenant_id FROM suspected_duplicates WHERE next_at IS NOT NULL
    AND (next_at <= %(now)s OR (settled_at IS NULL AND notified_at IS NULL AND attempts > 0 AND suspected_at <= %(overdue)s))

-- name: due
-- Of an accepted one the number that it was given, which a person may have decided.
SELECT d.invoice_id, d.session_id, d.sha256, d.words, d.original_session, d.suspected_at, d.attempts,
    CASE WHEN d.settled_at IS NULL THEN d.original_ksef_number ELSE i.ksef_number END AS original_ksef_number
FROM suspected_duplicates d JOIN invoices i ON i.id = d.invoice_id
WHERE d.tenant_id = %(tenant_id)s AND d.next_at <= %(now)s AND (d.settled_at IS NOT NULL) = %(settled)s
ORDER BY d.invoice_id LIMIT %(limit)s

-- name: originals_of_ours
-- Our own invoices that have the numbers of the originals, with the session that they were accepted in.
-- OFFSET 0 makes each a search in its index, also before statistics of new rows are there.
SELECT d.invoice_id, i.sha256, s.reference_number
FROM unnest(%(ids)s::uuid[]) AS wanted (id)
JOIN suspected_duplicates d ON d.invoice_id = wanted.id AND d.tenant_id = %(tenant_id)s
CROSS JOIN LATERAL (
    SELECT k.invoice_id FROM ksef_numbers k
    WHERE k.ksef_number = d.original_ksef_number AND k.invoice_id <> d.invoice_id OFFSET 0
) k
CROSS JOIN LATERAL (
    SELECT i.id, i.sha256, i.session_id FROM invoices i
    WHERE i.id = k.invoice_id AND i.tenant_id = d.tenant_id AND i.state = 'accepted' OFFSET 0
) i
LEFT JOIN sessions s ON s.id = i.session_id
ORDER BY d.invoice_id, i.id

-- name: earlier_sessions
-- Sessions that carried these invoices before, newest first: KSeF may have accepted them there.
SELECT d.invoice_id, s.reference_number
FROM unnest(%(ids)s::uuid[], %(chunks)s::uuid[]) AS wanted (id, chunk)
JOIN suspected_duplicates d ON d.invoice_id = wanted.id AND d.tenant_id = %(tenant_id)s
JOIN session_chunks sc ON sc.chunk_id = wanted.chunk AND sc.session_id <> d.session_id
JOIN sessions s ON s.id = sc.session_id AND s.reference_number IS NOT NULL
ORDER BY s.id DESC, d.invoice_id

-- name: accept_originals
-- Findings of the search are replaced by those of the verdict.
WITH changed AS (
    UPDATE invoices i SET state = 'accepted', ksef_number = v.ksef_number, acquired_at = v.acquired_at,
        invoicing_mode = v.mode, finished_at = %(now)s, decision = NULL,
        findings = jsonb_path_query_array(coalesce(i.findings, '[]'::jsonb),
            '$[*] ? (@.rule != "not-compared" && @.rule != "duplicate-other" && @.rule != "gave-up")') || v.findings::jsonb
    FROM unnest(%(ids)s::uuid[], %(ksef_numbers)s::text[], %(acquired)s::timestamptz[], %(modes)s::text[],
        %(findings)s::text[]) AS v (id, ksef_number, acquired_at, mode, findings)
    WHERE i.id = ANY(%(ids)s) AND i.id = v.id AND i.tenant_id = %(tenant_id)s AND i.state = %(old)s
    RETURNING i.id, i.upload_id, i.session_id, i.ksef_number
), numbered AS (
    INSERT INTO ksef_numbers (ksef_number, invoice_id) SELECT ksef_number, id FROM changed ORDER BY ksef_number
    ON CONFLICT DO NOTHING
)
SELECT id, upload_id, session_id FROM changed ORDER BY id

-- name: reject_duplicates
-- The claim is deleted, so that a corrected invoice can be sent.
WITH changed AS (
    UPDATE invoices i SET state = 'rejected', finished_at = %(now)s,
        findings = jsonb_path_query_array(coalesce(i.findings, '[]'::jsonb), '$[*] ? (@.rule != "not-compared")')
            || v.finding::jsonb
    FROM unnest(%(ids)s::uuid[], %(findings)s::text[]) AS v (id, finding)
    WHERE i.id = ANY(%(ids)s) AND i.id = v.id AND i.tenant_id = %(tenant_id)s AND i.state = 'sent'
    RETURNING i.id, i.upload_id, i.session_id, i.tenant_id, i.identity
), released AS (
    DELETE FROM claims k USING changed c
    WHERE k.tenant_id = c.tenant_id AND k.identity = c.identity AND k.invoice_id = c.id
)
SELECT id, upload_id, session_id FROM changed ORDER BY id

-- name: settle
-- `next_at` is for a receipt that is asked for again.
UPDATE suspected_duplicates d SET settled_at = %(now)s, outcome = %(outcome)s, evidence = v.evidence, settled_by = %(by)s,
    next_at = v.next_at, reason = NULL
FROM unnest(%(ids)s::uuid[], %(evidence)s::text[], %(next_at)s::timestamptz[]) AS v (id, evidence, next_at)
WHERE d.invoice_id = ANY(%(ids)s) AND d.invoice_id = v.id AND d.tenant_id = %(tenant_id)s AND d.settled_at IS NULL

-- name: count_settled
UPDATE sessions s SET accepted = s.accepted + v.accepted, rejected = s.rejected + v.rejected
FROM unnest(%(ids)s::uuid[], %(accepted)s::integer[], %(rejected)s::integer[]) AS v (id, accepted, rejected)
WHERE s.id = v.id AND s.tenant_id = %(tenant_id)s AND s.state IN ('completed', 'failed')

-- name: add_receipts
INSERT INTO invoice_receipts (invoice_id, tenant_id, session_reference_number, blob_key, bytes, sha256, fetched_at)
SELECT v.id, %(tenant_id)s, v.session, v.blob_key, v.bytes, v.sha256, %(now)s
FROM unnest(%(ids)s::uuid[], %(sessions)s::text[], %(blob_keys)s::text[], %(bytes)s::bigint[], %(sha256)s::bytea[])
    AS v (id, session, blob_key, bytes, sha256)
ON CONFLICT (invoice_id) DO NOTHING

-- name: leave_open
-- The finding is written once.
WITH open AS (
    UPDATE suspected_duplicates d SET attempts = d.attempts + 1, reason = v.reason, next_at = v.next_at
    FROM unnest(%(ids)s::uuid[], %(reasons)s::text[], %(next_at)s::timestamptz[], %(findings)s::text[])
        AS v (id, reason, next_at, finding)
    WHERE d.invoice_id = ANY(%(ids)s) AND d.invoice_id = v.id AND d.tenant_id = %(tenant_id)s AND d.settled_at IS NULL
    RETURNING d.invoice_id, v.finding
)
UPDATE invoices i SET findings = coalesce(i.findings, '[]'::jsonb) || open.finding::jsonb
FROM open
WHERE i.id = ANY(%(ids)s) AND i.id = open.invoice_id AND i.tenant_id = %(tenant_id)s AND i.state = 'sent'
    AND NOT coalesce(i.findings, '[]'::jsonb) @> '[{"rule": "not-compared"}]'

-- name: receipt_found
UPDATE invoices i SET findings = jsonb_path_query_array(i.findings, '$[*] ? (@.rule != "receipt-missing")')
WHERE i.id = ANY(%(ids)s) AND i.tenant_id = %(tenant_id)s

-- name: end_receipt_asks
UPDATE suspected_duplicates SET next_at = NULL WHERE invoice_id = ANY(%(ids)s) AND tenant_id = %(tenant_id)s

-- name: ask_receipt_again
UPDATE suspected_duplicates SET receipt_asks = receipt_asks + 1,
    next_at = CASE WHEN receipt_asks + 1 < %(most)s THEN %(next_at)s::timestamptz END
WHERE invoice_id = ANY(%(ids)s) AND tenant_id = %(tenant_id)s

-- name: take_overdue
-- Marks what is unresolved for too long as reported; a bounded number, by session.
UPDATE suspected_duplicates d SET notified_at = %(now)s
WHERE d.invoice_id = ANY(ARRAY(
        SELECT o.invoice_id FROM suspected_duplicates o
        WHERE o.tenant_id = %(tenant_id)s AND o.settled_at IS NULL AND o.notified_at IS NULL AND o.attempts > 0
            AND o.suspected_at <= %(overdue)s
        ORDER BY o.session_id, o.invoice_id LIMIT %(limit)s))
    AND d.tenant_id = %(tenant_id)s
RETURNING d.invoice_id AS id, d.session_id

-- name: unresolved_count
SELECT count(*)::integer AS n FROM suspected_duplicates WHERE settled_at IS NULL AND notified_at IS NOT NULL

-- name: lock
-- In the order of their ids, and before their invoices, so that two transactions cannot deadlock.
SELECT * FROM suspected_duplicates WHERE invoice_id = ANY(%(ids)s) AND tenant_id = %(tenant_id)s
ORDER BY invoice_id FOR UPDATE

-- name: one
SELECT * FROM suspected_duplicates WHERE invoice_id = %(id)s AND tenant_id = %(tenant_id)s

-- name: receipt
SELECT * FROM invoice_receipts WHERE invoice_id = %(id)s AND tenant_id = %(tenant_id)s

-- name: scan
SELECT since, until, next_page FROM duplicate_scans WHERE tenant_id = %(tenant_id)s

-- name: keep_scan
INSERT INTO duplicate_scans (tenant_id, since, until, next_page) VALUES (%(tenant_id)s, %(since)s, %(until)s, %(next_page)s)
ON CONFLICT (tenant_id) DO UPDATE SET since = excluded.since, until = excluded.until, next_page = excluded.next_page

-- name: end_scan
DELETE FROM duplicate_scans WHERE tenant_id = %(tenant_id)s
