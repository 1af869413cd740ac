-- name: lock_lane
SELECT l.*, t.disabled_at IS NOT NULL AS disabled, t.late_invoices FROM lanes l JOIN tenants t ON t.id = l.tenant_id
-- Not FOR UPDATE: every new chunk holds its lane by a foreign key, and a post must not wait for a seal.
WHERE l.id = %(lane_id)s FOR NO KEY UPDATE OF l

-- name: queued_chunks
-- What waits in a lane, oldest first; leans on chunks_queued. Locked: a repeat of intake may not change them now.
SELECT id, last_id, queued, queued_bytes, created_at FROM chunks
WHERE lane_id = %(lane_id)s AND queued > 0 AND NOT held ORDER BY id LIMIT %(limit)s
FOR NO KEY UPDATE

-- name: lane_backlog
SELECT coalesce(sum(queued), 0)::bigint AS invoices, coalesce(sum(queued_bytes), 0)::bigint AS bytes,
    min(created_at) AS oldest, min(created_at) FILTER (WHERE latest_issue_date >= %(today)s) AS oldest_of_today
FROM chunks
WHERE lane_id = %(lane_id)s AND queued > 0 AND NOT held

-- name: add_session
INSERT INTO sessions (id, tenant_id, lane_id, state, form_code, offline_mode, compression, invoices, sealed_at)
VALUES (%(id)s, %(tenant_id)s, %(lane_id)s, 'sealed', %(form_code)s, %(offline_mode)s, %(compression)s, 0, %(now)s)

-- name: take_invoices
-- Gives a session at most `limit` queued invoices of a chunk within `max_bytes`, in the order of their arrival.
WITH waiting AS (
    SELECT id, upload_id, blob_bytes,
        row_number() OVER (ORDER BY id) AS n,
        sum(blob_bytes + %(overhead)s) OVER (ORDER BY id) AS running
    FROM invoices WHERE id BETWEEN %(first)s AND %(last)s AND state = 'queued' AND hold IS DISTINCT FROM 'held'
), taken AS (
    UPDATE invoices i SET state = 'packed', session_id = %(session_id)s, attempts = i.attempts + 1
    FROM waiting w WHERE i.id = w.id AND w.n <= %(limit)s AND w.running <= %(max_bytes)s
    RETURNING i.id, i.upload_id, i.blob_bytes, i.issue_date
), kept AS (
    UPDATE chunks c SET
        queued = c.queued - t.n,
        queued_bytes = c.queued_bytes - t.bytes
    FROM (SELECT count(*)::integer AS n, coalesce(sum(blob_bytes + %(overhead)s), 0) AS bytes FROM taken) t
    WHERE c.id = %(first)s
), recorded AS (
    INSERT INTO session_chunks (session_id, chunk_id, invoices)
    SELECT %(session_id)s, %(first)s, count(*) FROM taken HAVING count(*) > 0
)
SELECT upload_id, count(*)::integer AS n, sum(blob_bytes + %(overhead)s)::bigint AS bytes, max(issue_date) AS latest
FROM taken GROUP BY upload_id

-- name: set_session_size
UPDATE sessions SET invoices = %(invoices)s, latest_issue_date = %(latest_issue_date)s WHERE id = %(id)s

-- name: get_session_for_job
SELECT s.*, t.nip FROM sessions s JOIN tenants t ON t.id = s.tenant_id WHERE s.id = %(id)s

-- name: get_session
SELECT * FROM sessions WHERE id = %(id)s AND tenant_id = %(tenant_id)s

-- name: list_sessions
SELECT * FROM sessions
WHERE tenant_id = %(tenant_id)s AND (%(before)s::uuid IS NULL OR id < %(before)s)
    AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY id DESC LIMIT %(limit)s

-- name: unfinished_sessions
SELECT id, state FROM sessions WHERE state NOT IN ('completed', 'failed') ORDER BY id

-- name: session_entries
-- What a package is made of, in the order of the invoice ids, so that a repeat gives the same bytes.
SELECT i.id, i.crc32, i.size, i.blob_offset, i.blob_bytes, c.blob_key
FROM session_chunks sc
JOIN chunks c ON c.id = sc.chunk_id
JOIN invoices i ON i.id BETWEEN c.id AND c.last_id
WHERE sc.session_id = %(session_id)s AND i.session_id = %(session_id)s
ORDER BY i.id

-- name: packed
UPDATE sessions SET state = 'packed', package_bytes = %(package_bytes)s, package_sha256 = %(package_sha256)s,
    encryption_key = %(encryption_key)s, iv = %(iv)s, packed_at = %(now)s
WHERE id = %(id)s AND state = 'sealed'
RETURNING id

-- name: drop_parts
DELETE FROM parts WHERE session_id = %(session_id)s RETURNING blob_key

-- name: add_part
INSERT INTO parts (session_id, ordinal_number, plain_bytes, bytes, sha256, blob_key)
VALUES (%(session_id)s, %(ordinal_number)s, %(plain_bytes)s, %(bytes)s, %(sha256)s, %(blob_key)s)

-- name: list_parts
SELECT * FROM parts WHERE session_id = %(session_id)s ORDER BY ordinal_number

-- name: move_session
-- Only from the state that the caller saw: a second worker with the same job changes nothing.
UPDATE sessions SET state = %(new)s,
    closed_at = CASE WHEN %(new)s = 'processing' THEN coalesce(closed_at, %(now)s) ELSE closed_at END
WHERE id = %(id)s AND state = %(old)s
RETURNING id

-- name: oldest_opened
-- Leans on sessions_unfinished.
SELECT state, min(opened_at) AS opened_at FROM sessions
WHERE state NOT IN ('completed', 'failed') AND opened_at IS NOT NULL
GROUP BY state

-- name: renew_key
UPDATE sessions SET key_renewals = key_renewals + 1 WHERE id = %(id)s

-- name: strike
UPDATE sessions SET strikes = strikes + 1 WHERE id = %(id)s RETURNING strikes

-- name: incomplete_look
UPDATE sessions SET incomplete_looks = incomplete_looks + 1 WHERE id = %(id)s RETURNING incomplete_looks

-- name: earlier_sessions
-- Sessions that carried any of these invoices before, newest first: the journal of what may have been accepted.
SELECT DISTINCT s.id, s.reference_number FROM unnest(%(ids)s::uuid[]) AS i (id)
JOIN chunks c ON i.id BETWEEN c.id AND c.last_id
JOIN session_chunks sc ON sc.chunk_id = c.id AND sc.session_id <> %(session_id)s
JOIN sessions s ON s.id = sc.session_id AND s.reference_number IS NOT NULL
ORDER BY s.id DESC

-- name: opened
UPDATE sessions SET state = 'open', reference_number = %(reference_number)s, opened_at = %(now)s
WHERE id = %(id)s AND state = 'opening'
RETURNING id

-- name: set_upload_target
UPDATE parts SET upload_target = %(upload_target)s, uploaded_at = NULL
WHERE session_id = %(session_id)s AND ordinal_number = %(ordinal_number)s

-- name: part_uploaded
UPDATE parts SET uploaded_at = %(now)s WHERE session_id = %(session_id)s AND ordinal_number = %(ordinal_number)s

-- name: part_missing
UPDATE parts SET uploaded_at = NULL WHERE session_id = %(session_id)s AND ordinal_number = %(ordinal_number)s

-- name: mark_sent
WITH moved AS (
    UPDATE invoices i SET state = 'sent'
    FROM session_chunks sc JOIN chunks c ON c.id = sc.chunk_id
    WHERE sc.session_id = %(session_id)s AND i.id BETWEEN c.id AND c.last_id
        AND i.session_id = %(session_id)s AND i.state = 'packed'
    RETURNING i.upload_id
)
SELECT upload_id, count(*)::integer AS n FROM moved GROUP BY upload_id

-- name: count_poll
UPDATE sessions SET polls = polls + 1, ksef_status = %(ksef_status)s, strikes = 0,
    ksef_created_at = coalesce(%(ksef_created_at)s, ksef_created_at),
    processed_at = CASE WHEN %(ksef_status)s >= 200 THEN coalesce(processed_at, %(now)s) ELSE processed_at END
WHERE id = %(id)s
RETURNING polls

-- name: accept_invoices
-- Joined by hash: KSeF's receipt names each document by the SHA-256 of its XML.
WITH changed AS (
    UPDATE invoices i SET state = 'accepted', ksef_number = v.ksef_number, acquired_at = v.acquired_at,
        invoicing_mode = v.mode, upo_page = %(page)s, finished_at = %(now)s
    FROM unnest(%(hashes)s::bytea[], %(ksef_numbers)s::text[], %(acquired)s::timestamptz[], %(modes)s::text[])
            AS v (hash, ksef_number, acquired_at, mode),
        session_chunks sc JOIN chunks c ON c.id = sc.chunk_id
    WHERE sc.session_id = %(session_id)s AND i.id BETWEEN c.id AND c.last_id
        AND i.session_id = %(session_id)s AND i.state = 'sent' AND i.sha256 = v.hash
    RETURNING i.upload_id
)
SELECT upload_id, count(*)::integer AS n FROM changed GROUP BY upload_id

-- name: session_invoice_by_hash
SELECT i.id, i.upload_id, i.sha256, i.state, i.identity
FROM session_chunks sc
JOIN chunks c ON c.id = sc.chunk_id
JOIN invoices i ON i.id BETWEEN c.id AND c.last_id
WHERE sc.session_id = %(session_id)s AND i.session_id = %(session_id)s AND i.sha256 = ANY(%(hashes)s)

-- name: sent_invoices
-- Those that have no verdict yet.
SELECT i.id, i.sha256, i.attempts
FROM session_chunks sc
JOIN chunks c ON c.id = sc.chunk_id
JOIN invoices i ON i.id BETWEEN c.id AND c.last_id
WHERE sc.session_id = %(session_id)s AND i.session_id = %(session_id)s AND i.state IN ('packed', 'sent')
ORDER BY i.id

-- name: refuse_invoices
-- Final without a number; the claim is released, so that a corrected document is welcome.
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

-- name: add_upo_page
INSERT INTO upo_pages (session_id, page, upo_reference_number, blob_key, bytes, sha256, documents, fetched_at)
VALUES (%(session_id)s, %(page)s, %(upo_reference_number)s, %(blob_key)s, %(bytes)s, %(sha256)s, %(documents)s, %(now)s)
ON CONFLICT (session_id, page) DO NOTHING

-- name: list_upo_pages
SELECT * FROM upo_pages WHERE session_id = %(session_id)s ORDER BY page

-- name: finish_session
-- The session's key is destroyed with its last state.
UPDATE sessions SET state = %(state)s, completed_at = %(now)s, encryption_key = NULL,
    accepted = %(accepted)s, rejected = %(rejected)s, failed = %(failed)s, requeued = %(requeued)s
WHERE id = %(id)s AND state = %(old)s
RETURNING id

-- name: add_history
INSERT INTO session_history (session_id, at, action, outcome, detail)
VALUES (%(session_id)s, %(now)s, %(action)s, %(outcome)s, %(detail)s::jsonb)

-- name: session_history
SELECT at, action, outcome, detail FROM session_history WHERE session_id = %(session_id)s ORDER BY id

-- name: session_state_counts
SELECT state, count(*)::integer AS n FROM sessions GROUP BY state

-- name: uploads_of_session
SELECT DISTINCT c.upload_id FROM session_chunks sc JOIN chunks c ON c.id = sc.chunk_id
WHERE sc.session_id = %(session_id)s
