-- name: claim_chunk
-- In the order of the identities, so that two transactions with common ones cannot deadlock. The first invoice of an identity owns it.
INSERT INTO claims (tenant_id, identity, invoice_id)
SELECT tenant_id, identity, id FROM invoices
WHERE id BETWEEN %(first)s AND %(last)s AND tenant_id = %(tenant_id)s AND state = 'queued'
ORDER BY identity, id
ON CONFLICT DO NOTHING

-- name: claim_staged
-- The same for single posts, whose rows are of several chunks.
INSERT INTO claims (tenant_id, identity, invoice_id)
SELECT tenant_id, identity, id FROM staged WHERE tenant_id = %(tenant_id)s AND state = 'queued'
ORDER BY identity, id
ON CONFLICT DO NOTHING

-- name: lost_claims
-- Queued invoices of these ranges whose identity another invoice owns, with that owner, and whether both are the same XML.
SELECT o.id AS invoice_id, k.invoice_id AS holder, h.number AS holder_number, h.ksef_number AS holder_ksef_number,
    h.sha256 = o.sha256 AS same
FROM unnest(%(firsts)s::uuid[], %(lasts)s::uuid[]) AS c (first, last)
JOIN invoices o ON o.id BETWEEN c.first AND c.last AND o.tenant_id = %(tenant_id)s AND o.state = 'queued'
JOIN claims k ON k.tenant_id = o.tenant_id AND k.identity = o.identity AND k.invoice_id <> o.id
JOIN invoices h ON h.id = k.invoice_id AND h.tenant_id = o.tenant_id

-- name: mark_duplicates
UPDATE invoices i SET state = 'duplicate', duplicate_of = d.holder, finished_at = %(now)s,
    findings = coalesce(i.findings, '[]'::jsonb) || d.finding::jsonb
FROM unnest(%(ids)s::uuid[], %(holders)s::uuid[], %(findings)s::text[]) AS d (id, holder, finding)
WHERE i.id = d.id
RETURNING i.id, i.blob_bytes
