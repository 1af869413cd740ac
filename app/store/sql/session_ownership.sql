-- name: take_session
-- By the database's clock, which all workers share.
UPDATE sessions SET owner_epoch = owner_epoch + 1, owned_by = %(owner)s,
    owned_until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE id = %(id)s AND (owned_until IS NULL OR owned_until <= clock_timestamp())
RETURNING *

-- name: renew_ownership
UPDATE sessions SET owned_until = greatest(owned_until, clock_timestamp() + make_interval(secs => %(seconds)s))
WHERE id = %(id)s AND owner_epoch = %(epoch)s
RETURNING id

-- name: release_session
UPDATE sessions SET owned_by = NULL, owned_until = NULL WHERE id = %(id)s AND owner_epoch = %(epoch)s

-- name: owned_session
SELECT * FROM sessions WHERE id = %(id)s AND owner_epoch = %(epoch)s

-- name: fence
-- Locks the row, so that no other worker takes the session before this transaction ends.
SELECT id FROM sessions WHERE id = %(id)s AND owner_epoch = %(epoch)s FOR NO KEY UPDATE

-- name: release_sessions_of
UPDATE sessions SET owner_epoch = owner_epoch + 1, owned_by = NULL, owned_until = NULL
WHERE owned_until IS NOT NULL AND (owned_by = %(owner)s OR %(owner)s::text IS NULL)
RETURNING id
