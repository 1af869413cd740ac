-- name: make_counter
INSERT INTO ksef_quota (tenant_id, limit_group) VALUES (%(tenant_id)s, %(counter)s) ON CONFLICT DO NOTHING

-- name: book
-- Asked and booked in one statement. An asker that had to wait for the row has all of this computed again on the row's new
-- version, so it sees what the one before it booked. The arrays are sorted, so the moment at which a window has room again
-- is one element of them plus the window's length; an index outside an array gives NULL, which is "at once".
UPDATE ksef_quota AS q
SET (times, reserved, promised, close_waits_until, retry_at) = (
    SELECT
        CASE WHEN booked THEN kept || greatest(now, kept[cardinality(kept)]) ELSE kept END,
        CASE
            WHEN booked AND %(closes)s THEN held[2:]
            WHEN booked AND %(reserves)s THEN held || greatest(now, held[cardinality(held)])
            ELSE held
        END,
        CASE
            WHEN booked OR %(closes)s OR NOT promises THEN waiting
            ELSE waiting || array_fill(told + %(lateness)s::interval, ARRAY[units])
        END,
        CASE
            WHEN NOT %(closes)s THEN q.close_waits_until
            WHEN NOT booked THEN told + %(close_grace)s
        END,
        CASE WHEN NOT booked THEN told END
    FROM (SELECT coalesce(%(now)s::timestamptz, clock_timestamp()) AS now OFFSET 0) AS clock
    CROSS JOIN LATERAL (
        SELECT
            ARRAY(SELECT t FROM unnest(q.times) AS t WHERE t > now - %(keep)s::interval ORDER BY t) AS kept,
            ARRAY(SELECT t FROM unnest(q.reserved) AS t WHERE t > now - %(reservation)s::interval ORDER BY t) AS held,
            ARRAY(SELECT t FROM unnest(q.promised) AS t WHERE t > now ORDER BY t) AS waiting,
            CASE WHEN %(reserves)s THEN 2 ELSE 1 END AS units
    ) AS pruned
    -- Reservations stand for requests to come, except the one that this request redeems.
    CROSS JOIN LATERAL (
        SELECT units + cardinality(held) - CASE WHEN %(closes)s AND cardinality(held) > 0 THEN 1 ELSE 0 END AS needed
    ) AS taken
    CROSS JOIN LATERAL (
        SELECT
            max(CASE WHEN need > most THEN now + span ELSE kept[cardinality(kept) - most + need] + span END) AS free_at,
            max(CASE WHEN need > most THEN now + span
                ELSE (kept || waiting)[cardinality(kept) + cardinality(waiting) - most + need] + span END) AS queue_ends_at
        FROM (VALUES
            -- A close can wait for a second to pass, so nothing is kept free for it in this window.
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
            -- A far place in the queue is not promised: should somebody not come, those behind must notice.
            coalesce(queue_ends_at <= at + %(horizon)s::interval, true) AS promises,
            CASE
                WHEN %(closes)s THEN at
                WHEN queue_ends_at > at + %(horizon)s::interval THEN at + (0.2 + 0.8 * random()) * %(horizon)s::interval
                ELSE greatest(at, queue_ends_at)
            END AS told
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
-- The newest reservation goes; any would do, they differ only in when they end by themselves.
UPDATE ksef_quota SET reserved = reserved[:cardinality(reserved) - 1]
WHERE tenant_id = %(tenant_id)s AND limit_group = %(counter)s

-- name: block
INSERT INTO ksef_quota (tenant_id, limit_group, blocked_until, blocked_reason)
VALUES (%(tenant_id)s, %(counter)s, coalesce(%(now)s::timestamptz, clock_timestamp()) + %(pause)s::interval, %(reason)s)
ON CONFLICT (tenant_id, limit_group) DO UPDATE
SET blocked_until = greatest(ksef_quota.blocked_until, excluded.blocked_until), blocked_reason = excluded.blocked_reason

-- name: unblock
UPDATE ksef_quota SET blocked_until = NULL, blocked_reason = NULL WHERE tenant_id = %(tenant_id)s

-- name: remaining
-- What is left in each window of each counter that was ever used: of one tenant, or the least over all of them.
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
        count(*) FILTER (WHERE t > now - %(minute)s::interval) + held AS used_minute,
        count(*) FILTER (WHERE t > now - %(hour)s::interval) + held AS used_hour
    FROM (SELECT count(*) AS held FROM unnest(q.reserved) AS r WHERE r > now - %(reservation)s::interval) AS reservations
    LEFT JOIN unnest(q.times) AS t ON true
    GROUP BY held
) AS used
WHERE %(tenant_id)s::integer IS NULL OR q.tenant_id = %(tenant_id)s
GROUP BY q.limit_group
ORDER BY q.limit_group
