-- name: session_entries
-- Entries of a package, in the order of the invoice ids, so that a repeat gives the same bytes. One row for each chunk: ten thousand
-- rows would block the event loop. Of each invoice the position in its chunk (2 bytes), CRC-32 (8), size, offset and length (4).
SELECT c.id AS chunk_id, c.blob_key, count(*)::integer AS invoices, string_agg(
    substring(uuid_send(i.id) FROM 15) || int8send(i.crc32) || int4send(i.size) || int4send(i.blob_offset)
    || int4send(i.blob_bytes), ''::bytea ORDER BY i.id) AS entries
FROM session_chunks sc
JOIN chunks c ON c.id = sc.chunk_id
JOIN invoices i ON i.id BETWEEN c.id AND c.last_id
WHERE sc.session_id = %(session_id)s AND i.session_id = %(session_id)s
GROUP BY c.id
ORDER BY c.id

-- name: tenant_of_session
SELECT tenant_id FROM sessions WHERE id = %(id)s

-- name: packed
UPDATE sessions SET state = 'packed', package_bytes = %(package_bytes)s, package_sha256 = %(package_sha256)s,
    encryption_key = %(encryption_key)s, iv = %(iv)s, packed_at = %(now)s
WHERE id = %(id)s AND state = 'sealed'
RETURNING id

-- name: encryption_key
SELECT tenant_id, encryption_key FROM sessions WHERE id = %(id)s

-- name: drop_parts
DELETE FROM parts WHERE session_id = %(session_id)s RETURNING blob_key

-- name: add_part
INSERT INTO parts (session_id, ordinal_number, plain_bytes, bytes, sha256, blob_key)
VALUES (%(session_id)s, %(ordinal_number)s, %(plain_bytes)s, %(bytes)s, %(sha256)s, %(blob_key)s)

-- name: list_parts
SELECT * FROM parts WHERE session_id = %(session_id)s ORDER BY ordinal_number
