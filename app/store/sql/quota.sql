-- name: make_counter
INSERT INTO ksef_quota (tenant_id, limit_group) VALUES (%(tenant_id)s, %(counter)s) ON CONFLICT DO NOTHING

-- name: book
-- Checks and books in one statement. For a caller that had to wait for the row all of this is computed again on the row's new
-- version, with the bookings of the callers before it. The arrays are sorted, so the moment at which a window has room again
-- is one element of them plus the window's length; an index outside an array gives NULL, which is "at once".
UPDATE ksef_quota AS q
SET (times, reserved, promised, close_waits_until, retry_at) = (
    SELECT
        CASE WHEN booked THEN kept || greatest(now, kept[cardinality(kept)]) ELSE kept END,
        CASE
            WHEN booked AND %(closes)s THEN open_closes[2:]
            WHEN booked AND %(reserves)s THEN open_closes || greatest(now, open_closes[cardinality(open_closes)])
            ELSE open_closes
        END,
        CASE
            WHEN booked OR %(closes)s OR NOT promises THEN waiting
            ELSE waiting || array_fill(promised_at + %(lateness)s::interval, ARRAY[units])
        END,
        CASE
            WHEN NOT %(closes)s THEN q.close_waits_until
            WHEN NOT booked THEN promised_at + %(close_grace)s
        END,
        CASE WHEN NOT booked THEN promised_at END
    FROM (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) AS now OFFSET 0) AS clock
    CROSS JOIN LATERAL (
        SELECT
            ARRAY(SELECT t FROM unnest(q.times) AS t WHERE t > now - %(keep)s::interval ORDER BY t) AS kept,
            ARRAY(SELECT t FROM unnest(q.reserved) AS t WHERE t > now - %(reservation)s::interval ORDER BY t) AS open_closes,
            ARRAY(SELECT t FROM unnest(q.promised) AS t WHERE t > now ORDER BY t) AS waiting,
            CASE WHEN %(reserves)s THEN 2 ELSE 1 END AS units
    ) AS pruned
    -- Reservations stand for requests to come, except the one that this request redeems.
    CROSS JOIN LATERAL (
        SELECT units + cardinality(open_closes) - CASE WHEN %(closes)s AND cardinality(open_closes) > 0 THEN 1 ELSE 0 END AS needed
    ) AS taken
    CROSS JOIN LATERAL (
        SELECT
            max(CASE WHEN need > most THEN now + span ELSE kept[cardinality(kept) - most + need] + span END) AS free_at,
            max(CASE WHEN need > most THEN now + span
                ELSE (kept || waiting)[cardinality(kept) + cardinality(waiting) - most + need] + span END) AS queue_ends_at
        FROM (VALUES
            -- A close can wait for a second to pass, so no room is reserved for it in this window.
            (%(per_second)s::integer, %(second)s::interval, 1),
            (%(per_minute)s::integer, %(minute)s::interval, needed),
            (%(per_hour)s::integer, %(hour)s::interval, needed)
        ) AS windows (most, span, need)
        WHERE most IS NOT NULL
    ) AS windows
    CROSS JOIN LATERAL (
        SELECT greatest(
            free_at,
            q.blocked_until,
            (SELECT max(blocked_until) FROM ksef_quota WHERE tenant_id = ANY (%(pausers)s) AND limit_group = %(everything)s),
            CASE WHEN NOT %(closes)s THEN q.close_waits_until END
        ) AS at
    ) AS room
    CROSS JOIN LATERAL (
        SELECT
            coalesce(at <= now, true) AS booked,
            -- No far slot is promised: if a job does not return, the jobs behind it must move up.
            coalesce(queue_ends_at <= at + %(horizon)s::interval, true) AS promises,
            CASE
                WHEN %(closes)s THEN at
                WHEN queue_ends_at > at + %(horizon)s::interval THEN at + (0.2 + 0.8 * random()) * %(horizon)s::interval
                ELSE greatest(at, queue_ends_at)
            END AS promised_at
    ) AS answer
)
WHERE q.tenant_id = %(tenant_id)s AND q.limit_group = %(counter)s
RETURNING
    q.retry_at,
    q.times[cardinality(q.times)] AS booked_at,
    extract(epoch FROM q.retry_at - coalesce(%(now)s::timestamptz, clock_timestamp()))::float8 AS wait_seconds,
    (SELECT string_agg(DISTINCT b.blocked_reason, '; ') FROM ksef_quota b
     WHERE b.blocked_until >= q.retry_at
       AND (b.tenant_id, b.limit_group) IN (SELECT p, %(everything)s FROM unnest(%(pausers)s::integer[]) p
                                            UNION ALL SELECT q.tenant_id, q.limit_group)) AS blocked_reason

-- name: made_later
-- A request that was under way for long is counted from its end: KSeF may have seen it at any moment until then.
UPDATE ksef_quota
SET times = times[:array_position(times, %(booked_at)s::timestamptz) - 1]
    || times[array_position(times, %(booked_at)s::timestamptz) + 1:]
    || greatest(coalesce(%(now)s::timestamptz, clock_timestamp()), times[cardinality(times)])
WHERE tenant_id = %(tenant_id)s AND limit_group = %(counter)s
    AND array_position(times, %(booked_at)s::timestamptz) IS NOT NULL

-- name: release
-- Removes the newest reservation; they differ only in the time at which they expire.
UPDATE ksef_quota SET reserved = reserved[:cardinality(reserved) - 1]
WHERE tenant_id = %(tenant_id)s AND limit_group = %(counter)s

-- name: block
INSERT INTO ksef_quota (tenant_id, limit_group, blocked_until, blocked_reason)
VALUES (%(tenant_id)s, %(counter)s, coalesce(%(now)s::timestamptz, clock_timestamp()) + %(pause)s::interval, %(reason)s)
ON CONFLICT (tenant_id, limit_group) DO UPDATE
SET blocked_until = greatest(ksef_quota.blocked_until, excluded.blocked_until), blocked_reason = excluded.blocked_reason

-- name: unblock
UPDATE ksef_quota SET blocked_until = NULL, blocked_reason = NULL WHERE tenant_id = %(tenant_id)s

-- name: used
-- Of a counter, without what a share of it counts, too.
SELECT coalesce(sum(sign * minute), 0)::integer AS minute, coalesce(sum(sign * hour), 0)::integer AS hour
FROM (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) AS now OFFSET 0) AS clock
CROSS JOIN ksef_quota AS q
JOIN (VALUES (%(counter)s, 1), (%(share)s, -1)) AS wanted (name, sign) ON q.limit_group = wanted.name
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE t > now - %(minute)s::interval) AS minute,
        count(*) FILTER (WHERE t > now - %(hour)s::interval) AS hour
    FROM unnest(q.times) AS t
) AS used
WHERE q.tenant_id = %(tenant_id)s

-- name: remaining
-- Requests left in each window of each counter that was ever used: of one tenant, or the least over all tenants.
SELECT
    q.limit_group,
    min(CASE WHEN rate ->> 0 IS NOT NULL THEN greatest(0, (rate ->> 0)::integer - used_second) END) AS second,
    min(CASE WHEN rate ->> 1 IS NOT NULL THEN greatest(0, (rate ->> 1)::integer - used_minute) END) AS minute,
    min(CASE WHEN rate ->> 2 IS NOT NULL THEN greatest(0, (rate ->> 2)::integer - used_hour) END) AS hour,
    max(q.blocked_until) FILTER (WHERE q.blocked_until > now) AS blocked_until
FROM (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) AS now OFFSET 0) AS clock
CROSS JOIN ksef_quota AS q
LEFT JOIN ksef_limits AS l USING (tenant_id)
CROSS JOIN LATERAL (
    SELECT coalesce(l.rate_limits -> q.limit_group, %(defaults)s::jsonb -> q.limit_group) AS rate
) AS known
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE t > now - %(second)s::interval) AS used_second,
        count(*) FILTER (WHERE t > now - %(minute)s::interval) + open_closes AS used_minute,
        count(*) FILTER (WHERE t > now - %(hour)s::interval) + open_closes AS used_hour
    FROM (SELECT count(*) AS open_closes FROM unnest(q.reserved) AS r WHERE r > now - %(reservation)s::interval) AS reservations
    LEFT JOIN unnest(q.times) AS t ON true
    GROUP BY open_closes
) AS used
-- Counters of shares have a slash in their names.
WHERE (%(tenant_id)s::integer IS NULL OR q.tenant_id = %(tenant_id)s) AND position('/' IN q.limit_group) = 0
GROUP BY q.limit_group
ORDER BY q.limit_group
