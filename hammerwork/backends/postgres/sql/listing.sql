-- What can be asked. A batch that is being deleted is shown to nobody.

-- name: batch_statuses
-- Counts of the chunks that have begun are added to those that ended chunks left in the batch; one statement, one instant.
SELECT b.id, b.name, b.queue, CASE b.state WHEN 'Retrying' THEN 'Pending' ELSE b.state END AS state, b.suspended,
       b.failure_mode, b.total, b.metadata::text AS metadata, b.fingerprint,
       b.created_at, b.finished_at, least(b.started_at, c.started_at) AS started_at,
       b.completed + coalesce(c.completed, 0) AS completed,
       CASE WHEN b.state = 'Retrying' AND b.retry_chosen IS NULL THEN 0 ELSE b.failed + coalesce(c.failed, 0) END AS failed,
       coalesce(c.running, 0) AS running, b.retry_attempt, b.retried_at
FROM hammerwork_batches b
LEFT JOIN LATERAL (
    SELECT sum(completed) AS completed, sum(failed) AS failed, min(started_at) AS started_at,
           sum(next - completed - failed - moved) AS running
    FROM hammerwork_chunks WHERE batch_id = b.id AND started_at IS NOT NULL
) c ON true
WHERE b.id = ANY(:batches::uuid[]) AND b.state NOT IN ('Deleting', 'Abandoned')

-- name: waiting_spans
-- Jobs that are not handed out, chunk by chunk.
SELECT lo, hi, spans, next, size, state FROM hammerwork_chunks
WHERE batch_id = :batch AND next < size AND hi > :after ORDER BY lo

-- name: running_spans
SELECT lo, hi, remaining FROM hammerwork_claims WHERE batch_id = :batch AND hi > :after ORDER BY lo

-- name: failed_spans
SELECT idx AS lo, idx AS hi FROM hammerwork_failures WHERE batch_id = :batch AND idx > :after AND final ORDER BY idx LIMIT :limit

-- name: job_window
-- What tells where the jobs :first..:last stand, in one statement: a job that moves meanwhile is in one place. :longest is the most jobs
-- that a chunk can have; one of spans may begin far before its jobs.
SELECT
    b.state, b.total, b.priorities::text AS priorities,
    (SELECT coalesce(json_agg(c), '[]') FROM (
        SELECT id, attempt, lo, hi, spans, next, state FROM hammerwork_chunks
        WHERE batch_id = :batch AND lo > :first::int - :longest::int AND lo <= :last AND hi >= :first AND spans IS NULL
        UNION ALL
        SELECT id, attempt, lo, hi, spans, next, state FROM hammerwork_chunks
        WHERE batch_id = :batch AND lo <= :last AND hi >= :first AND spans IS NOT NULL
     ) c)::text AS chunks,
    (SELECT coalesce(json_agg(k), '[]') FROM (
        SELECT chunk_id, lo, hi, remaining FROM hammerwork_claims WHERE batch_id = :batch AND lo <= :last AND hi >= :first
     ) k)::text AS claims,
    (SELECT coalesce(json_agg(f), '[]') FROM (
        SELECT idx, max(attempt) AS attempt, bool_or(final) AS final FROM hammerwork_failures
        WHERE batch_id = :batch AND idx BETWEEN :first AND :last GROUP BY idx
     ) f)::text AS failures
FROM hammerwork_batches b WHERE b.id = :batch

-- name: job_payloads
SELECT idx, payload::text AS payload FROM hammerwork_jobs WHERE batch_id = :batch AND idx = ANY(:indexes::int[])

-- name: job_errors
SELECT idx, attempt, error_type, message, traceback, failed_at FROM hammerwork_failures
WHERE batch_id = :batch AND idx = ANY(:indexes::int[]) ORDER BY idx, attempt

-- name: batch_errors
SELECT g.error_type, g.count, s.idx, s.message
FROM (
    SELECT error_type, count(*) AS count FROM hammerwork_failures
    WHERE batch_id = :batch GROUP BY error_type ORDER BY count DESC, error_type LIMIT :limit
) g
CROSS JOIN LATERAL (
    SELECT idx, message FROM hammerwork_failures
    WHERE batch_id = :batch AND error_type = g.error_type ORDER BY idx, attempt LIMIT 1
) s
ORDER BY g.count DESC, g.error_type

-- name: queue_depths
-- Jobs of a batch that is worked on: those in its counts are done, the rest is done, running or scheduled in chunks, or ready.
SELECT queue, EXISTS (SELECT 1 FROM hammerwork_queues q WHERE q.name = queue AND q.paused) AS paused,
       sum(CASE WHEN suspended THEN 0 ELSE ready END)::bigint AS ready,
       sum(scheduled)::bigint AS scheduled,
       sum(running)::bigint AS running,
       extract(epoch FROM clock_timestamp() - min(sealed_at) FILTER (WHERE ready > 0 AND NOT suspended))
           ::float8 AS oldest_ready_seconds,
       extract(epoch FROM min(run_at) FILTER (WHERE NOT suspended) - clock_timestamp())::float8 AS next_scheduled_seconds
FROM (
    SELECT b.queue, b.suspended, b.sealed_at, s.run_at, coalesce(c.running, 0) AS running, coalesce(s.scheduled, 0) AS scheduled,
           b.total - b.completed - b.failed - coalesce(c.begun, 0) - coalesce(s.scheduled, 0) AS ready
    FROM hammerwork_batches b
    LEFT JOIN (
        SELECT batch_id, sum(next - completed - failed - moved) AS running, sum(next - moved) AS begun
        FROM hammerwork_chunks WHERE started_at IS NOT NULL GROUP BY batch_id
    ) c ON c.batch_id = b.id
    LEFT JOIN (
        SELECT batch_id, sum(size - next) AS scheduled, min(run_at) AS run_at
        FROM hammerwork_chunks WHERE state = 'scheduled' GROUP BY batch_id
    ) s ON s.batch_id = b.id
    WHERE b.state = 'Pending'
) d
GROUP BY queue

-- name: list_batches
SELECT id, created_at FROM hammerwork_batches
WHERE metadata @> :metadata::jsonb AND (:queue::text IS NULL OR queue = :queue) AND (created_at, id) < (:created_at, :id)
  AND state NOT IN ('Deleting', 'Abandoned') AND (:states::text[] IS NULL OR state = ANY(:states))
  AND (:begun::boolean IS NULL OR :begun = (started_at IS NOT NULL OR completed + failed > 0 OR EXISTS (
      SELECT 1 FROM hammerwork_chunks c WHERE c.batch_id = hammerwork_batches.id AND c.started_at IS NOT NULL)))
ORDER BY created_at DESC, id DESC LIMIT :limit

-- name: queue_statistics
SELECT coalesce(s.processed, 0)::bigint AS processed, coalesce(s.failed, 0)::bigint AS failed,
       coalesce(s.busy_ms, 0)::bigint AS busy_ms, b.batches, b.average_batch_size
FROM (
    SELECT sum(processed) AS processed, sum(failed) AS failed, sum(busy_ms) AS busy_ms FROM hammerwork_statistics
    WHERE queue = :queue AND minute > clock_timestamp() - :seconds * interval '1 second'
) s, (
    SELECT count(*) AS batches, coalesce(avg(total), 0)::float8 AS average_batch_size FROM hammerwork_batches
    WHERE queue = :queue AND finished_at > clock_timestamp() - :seconds * interval '1 second'
) b

-- name: queue_activities
SELECT queue, sum(processed)::bigint AS processed, sum(failed)::bigint AS failed, sum(busy_ms)::bigint AS busy_ms
FROM hammerwork_statistics
WHERE queue = ANY(:queues::text[]) AND minute > clock_timestamp() - :seconds * interval '1 second' GROUP BY queue

-- name: list_workers
SELECT id, queue, pool, instance, lanes, started_at, heartbeat_at, processed, failed, busy_ms,
       (SELECT coalesce(sum(open), 0) FROM hammerwork_claims k WHERE k.worker_id = w.id)::bigint AS held
FROM hammerwork_workers w
WHERE :queue::text IS NULL OR queue = :queue ORDER BY queue, started_at, id
