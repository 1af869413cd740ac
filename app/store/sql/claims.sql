-- name: claim_identities
-- Sorted by the caller, so that two transactions with common keys wait in the same order. The first position wins.
INSERT INTO claims (tenant_id, identity, invoice_id)
SELECT %(tenant_id)s, c.identity, c.invoice_id
FROM unnest(%(identities)s::uuid[], %(invoice_ids)s::uuid[]) WITH ORDINALITY AS c (identity, invoice_id, position)
ORDER BY c.position
ON CONFLICT DO NOTHING

-- name: lost_claims
-- Which of these invoices do not hold their identity, who does, and whether that is the same document.
SELECT c.invoice_id, k.invoice_id AS holder, h.number AS holder_number, h.ksef_number AS holder_ksef_number,
    h.sha256 = o.sha256 AS same
FROM unnest(%(identities)s::uuid[], %(invoice_ids)s::uuid[]) AS c (identity, invoice_id)
JOIN claims k ON k.tenant_id = %(tenant_id)s AND k.identity = c.identity AND k.invoice_id <> c.invoice_id
JOIN invoices h ON h.id = k.invoice_id AND h.tenant_id = %(tenant_id)s
JOIN invoices o ON o.id = c.invoice_id

-- name: mark_duplicates
UPDATE invoices i SET state = 'duplicate', duplicate_of = d.holder, finished_at = %(now)s,
    findings = coalesce(i.findings, '[]'::jsonb) || d.finding::jsonb
FROM unnest(%(ids)s::uuid[], %(holders)s::uuid[], %(findings)s::text[]) AS d (id, holder, finding)
WHERE i.id = d.id
RETURNING i.id, i.blob_bytes
