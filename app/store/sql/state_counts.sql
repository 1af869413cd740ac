-- name: lock_uploads
-- Locks the rows in the order of their ids, so that two transactions cannot deadlock.
SELECT id FROM uploads WHERE id = ANY(%(ids)s) ORDER BY id FOR NO KEY UPDATE

-- name: move_counts
-- Moves invoices of uploads between the counters of two states. The caller has locked the rows.
UPDATE uploads u SET
    received = received - CASE WHEN %(old)s = 'received' THEN m.n ELSE 0 END,
    queued = queued - CASE WHEN %(old)s = 'queued' THEN m.n ELSE 0 END + CASE WHEN %(new)s = 'queued' THEN m.n ELSE 0 END,
    packed = packed - CASE WHEN %(old)s = 'packed' THEN m.n ELSE 0 END + CASE WHEN %(new)s = 'packed' THEN m.n ELSE 0 END,
    sent = sent - CASE WHEN %(old)s = 'sent' THEN m.n ELSE 0 END + CASE WHEN %(new)s = 'sent' THEN m.n ELSE 0 END,
    invalid = invalid + CASE WHEN %(new)s = 'invalid' THEN m.n ELSE 0 END,
    duplicate = duplicate + CASE WHEN %(new)s = 'duplicate' THEN m.n ELSE 0 END,
    accepted = accepted + CASE WHEN %(new)s = 'accepted' THEN m.n ELSE 0 END,
    rejected = rejected + CASE WHEN %(new)s = 'rejected' THEN m.n ELSE 0 END,
    failed = failed + CASE WHEN %(new)s = 'failed' THEN m.n ELSE 0 END
FROM unnest(%(ids)s::uuid[], %(counts)s::integer[]) AS m (id, n)
WHERE u.id = m.id
