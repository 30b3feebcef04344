-- name: batch_statuses
-- Counts of open chunks are added to those that ended chunks left in the batch; one statement, so one instant.
SELECT b.id, b.name, b.queue, b.state, b.suspended, b.failure_mode, b.total, b.metadata::text AS metadata, b.fingerprint,
       b.created_at, b.finished_at, least(b.started_at, c.started_at) AS started_at,
       b.completed + coalesce(c.completed, 0) AS completed,
       b.failed + coalesce(c.failed, 0) AS failed,
       coalesce(c.running, 0) AS running
FROM hammerwork_batches b
LEFT JOIN LATERAL (
    SELECT sum(completed) AS completed, sum(failed) AS failed, min(started_at) AS started_at,
           sum(next - lo - completed - failed - moved) AS running
    FROM hammerwork_chunks WHERE batch_id = b.id
) c ON true
WHERE b.id = ANY($1::uuid[])

-- name: batch_priorities
SELECT priorities::text FROM hammerwork_batches WHERE id = $1

-- name: batch_jobs
SELECT * FROM hammerwork_page($1, $2, $3, $4, $5, $6)

-- name: waiting_spans
-- Runs of jobs that are not handed out, in order.
SELECT next AS lo, hi, state FROM hammerwork_chunks WHERE batch_id = $1 AND next <= hi AND hi > $2 ORDER BY next

-- name: running_spans
SELECT lo, hi FROM hammerwork_claims WHERE batch_id = $1 AND hi > $2 ORDER BY lo

-- name: failed_spans
SELECT idx AS lo, idx AS hi FROM hammerwork_failures WHERE batch_id = $1 AND idx > $2 AND final ORDER BY idx LIMIT $3

-- name: batch_errors
SELECT g.error_type, g.count, s.idx, s.message
FROM (
    SELECT error_type, count(*) AS count FROM hammerwork_failures
    WHERE batch_id = $1 GROUP BY error_type ORDER BY count DESC, error_type LIMIT $2
) g
CROSS JOIN LATERAL (
    SELECT idx, message FROM hammerwork_failures
    WHERE batch_id = $1 AND error_type = g.error_type ORDER BY idx, attempt LIMIT 1
) s
ORDER BY g.count DESC, g.error_type

-- name: queue_depths
SELECT c.queue,
       coalesce(sum(c.hi - c.next + 1) FILTER (WHERE c.state = 'ready' AND NOT b.suspended), 0) AS ready,
       coalesce(sum(c.hi - c.next + 1) FILTER (WHERE c.state = 'scheduled'), 0) AS scheduled,
       sum(c.next - c.lo - c.completed - c.failed - c.moved) AS running,
       extract(epoch FROM clock_timestamp() - min(b.sealed_at) FILTER (WHERE c.state = 'ready' AND NOT b.suspended))
           ::float8 AS oldest_ready_seconds
FROM hammerwork_chunks c JOIN hammerwork_batches b ON b.id = c.batch_id
WHERE b.state = 'Pending'
GROUP BY c.queue

-- name: stop_batch
SELECT hammerwork_stop_batch($1, $2)

-- name: finish_stopped
SELECT hammerwork_finish_stopped($1)

-- name: set_suspended
SELECT hammerwork_set_suspended($1, $2)

-- name: stopped_batches
SELECT id FROM unnest($1::uuid[]) AS held(id)
WHERE NOT EXISTS (SELECT 1 FROM hammerwork_batches b WHERE b.id = held.id AND NOT b.suspended
                  AND b.state NOT IN ('Failed', 'Cancelled'))

-- name: delete_claims
DELETE FROM hammerwork_claims WHERE batch_id = $1

-- name: delete_chunks
DELETE FROM hammerwork_chunks WHERE batch_id = $1

-- name: delete_failures
DELETE FROM hammerwork_failures WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM hammerwork_failures WHERE batch_id = $1 LIMIT $2))

-- name: delete_jobs
DELETE FROM hammerwork_jobs WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM hammerwork_jobs WHERE batch_id = $1 LIMIT $2))

-- name: delete_batch
DELETE FROM hammerwork_batches WHERE id = $1

-- name: open_batch
SELECT created, state, total, fingerprint FROM hammerwork_open($1)

-- name: lock_batch
SELECT state, total FROM hammerwork_batches WHERE id = $1 FOR UPDATE

-- name: abandon_batch
UPDATE hammerwork_batches SET state = 'Cancelled' WHERE id = $1 AND state = 'Loading' RETURNING true

-- name: append_chunks
SELECT hammerwork_append($1, $2)

-- name: seal_batch
SELECT hammerwork_seal($1)

-- name: enqueue_small
SELECT created, state, total, fingerprint FROM hammerwork_enqueue($1, $2::text[], $3)

-- name: settle
SELECT hammerwork_settle($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: claim
SELECT * FROM hammerwork_claim($1, $2, $3)

-- name: exchange
SELECT * FROM hammerwork_exchange($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- name: heartbeat
SELECT hammerwork_heartbeat($1, $2, $3, $4, $5, $6, $7, $8)

-- name: retire
DELETE FROM hammerwork_workers WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM hammerwork_claims WHERE worker_id = $1)

-- name: retire_others
DELETE FROM hammerwork_workers WHERE instance = $2 AND id <> $1

-- name: tick
SELECT hammerwork_tick($1)

-- name: free_undelivered
SELECT hammerwork_free_undelivered($1, $2)

-- name: reap
SELECT hammerwork_reap($1)

-- name: retry_failed
SELECT hammerwork_retry_failed($1)

-- name: pause_queue
SELECT hammerwork_pause_queue($1, $2)

-- name: list_batches
SELECT id, created_at FROM hammerwork_batches
WHERE metadata @> $1::jsonb AND ($2::text IS NULL OR queue = $2) AND (created_at, id) < ($3, $4)
ORDER BY created_at DESC, id DESC LIMIT $5

-- name: queue_statistics
SELECT coalesce(s.processed, 0)::bigint AS processed, coalesce(s.failed, 0)::bigint AS failed,
       coalesce(s.busy_ms, 0)::bigint AS busy_ms, b.batches, b.average_batch_size
FROM (
    SELECT sum(processed) AS processed, sum(failed) AS failed, sum(busy_ms) AS busy_ms FROM hammerwork_statistics
    WHERE queue = $1 AND minute > clock_timestamp() - $2 * interval '1 second'
) s, (
    SELECT count(*) AS batches, coalesce(avg(total), 0)::float8 AS average_batch_size FROM hammerwork_batches
    WHERE queue = $1 AND finished_at > clock_timestamp() - $2 * interval '1 second'
) b

-- name: list_workers
SELECT id, queue, pool, instance, lanes, started_at, heartbeat_at, processed, failed, busy_ms FROM hammerwork_workers
WHERE $1::text IS NULL OR queue = $1 ORDER BY queue, started_at, id
