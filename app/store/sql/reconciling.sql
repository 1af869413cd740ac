-- name: known_session
SELECT state, accepted FROM sessions WHERE tenant_id = %(tenant_id)s AND reference_number = %(reference)s

-- name: not_accepted
-- Our invoices with these hashes (Base64, joined by \x1f) that we do not hold as accepted, and that no session of ours at KSeF has.
SELECT i.id, i.state, i.session_id, i.number, v.hash
FROM unnest(string_to_array(%(hashes)s, E'\x1f')) AS v (hash)
CROSS JOIN LATERAL (
    SELECT i.id, i.state, i.session_id, i.number FROM invoices i
    WHERE i.sha256 = decode(v.hash, 'base64') AND i.tenant_id = %(tenant_id)s
        AND i.state IN ('queued', 'packed', 'sent', 'rejected', 'failed') OFFSET 0
) i
LEFT JOIN sessions s ON s.id = i.session_id
WHERE i.state NOT IN ('packed', 'sent')
    OR (i.state = 'packed' AND s.state IN ('sealed', 'packed', 'opening'))
    OR (i.state = 'sent' AND s.state IN ('completed', 'failed'))
ORDER BY i.id

-- name: tenants_to_reconcile
SELECT id FROM tenants WHERE reconcile_since IS NOT NULL AND disabled_at IS NULL ORDER BY id

-- name: queued_lanes
SELECT l.id FROM lanes l WHERE l.tenant_id = %(tenant_id)s
    AND EXISTS (SELECT FROM chunks c WHERE c.lane_id = l.id AND c.queued > 0 AND NOT c.atomic_pending)
ORDER BY l.id

-- name: advance
-- Sessions created before are reconciled; a restart goes on from here.
UPDATE tenants SET reconcile_since = greatest(reconcile_since, %(until)s)
WHERE id = %(tenant_id)s AND reconcile_since IS NOT NULL
