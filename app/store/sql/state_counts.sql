-- name: lock_uploads
-- Locks the rows in the order of their ids, so that two transactions cannot deadlock.
SELECT id FROM uploads WHERE id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE

-- name: move_counts
-- Moves invoices of uploads between the counters of two states. The caller has locked the rows.
WITH moved AS (
    UPDATE uploads u SET
        received = received - CASE WHEN %(old)s = 'received' THEN m.n ELSE 0 END,
        queued = queued - CASE WHEN %(old)s = 'queued' THEN m.n ELSE 0 END + CASE WHEN %(new)s = 'queued' THEN m.n ELSE 0 END,
        packed = packed - CASE WHEN %(old)s = 'packed' THEN m.n ELSE 0 END + CASE WHEN %(new)s = 'packed' THEN m.n ELSE 0 END,
        sent = sent - CASE WHEN %(old)s = 'sent' THEN m.n ELSE 0 END + CASE WHEN %(new)s = 'sent' THEN m.n ELSE 0 END,
        -- Final states are left only when KSeF proves that it has accepted the invoice after all.
        invalid = invalid + CASE WHEN %(new)s = 'invalid' THEN m.n ELSE 0 END,
        duplicate = duplicate + CASE WHEN %(new)s = 'duplicate' THEN m.n ELSE 0 END,
        accepted = accepted + CASE WHEN %(new)s = 'accepted' THEN m.n ELSE 0 END,
        rejected = rejected - CASE WHEN %(old)s = 'rejected' THEN m.n ELSE 0 END + CASE WHEN %(new)s = 'rejected' THEN m.n ELSE 0 END,
        failed = failed - CASE WHEN %(old)s = 'failed' THEN m.n ELSE 0 END + CASE WHEN %(new)s = 'failed' THEN m.n ELSE 0 END
    FROM unnest(%(ids)s::uuid[], %(counts)s::integer[]) AS m (id, n)
    WHERE u.id = m.id
    RETURNING m.n
)
INSERT INTO invoice_totals (state, invoices)
SELECT one.state, one.sign * sum(moved.n)
FROM moved, (VALUES (%(old)s, -1), (%(new)s, 1)) AS one (state, sign)
GROUP BY one.state, one.sign

-- name: totals
SELECT state, sum(invoices)::bigint AS invoices FROM invoice_totals GROUP BY state

-- name: add_up_totals
-- Puts one row for each state in the place of many. Rows that are written meanwhile are not seen, and stay for the next time.
WITH gone AS (
    DELETE FROM invoice_totals
    WHERE (SELECT count(*) FROM (SELECT FROM invoice_totals LIMIT %(at_least)s) AS few) = %(at_least)s
    RETURNING state, invoices
)
INSERT INTO invoice_totals (state, invoices)
SELECT state, sum(invoices) FROM gone GROUP BY state HAVING sum(invoices) <> 0
