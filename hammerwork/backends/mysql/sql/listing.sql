-- What can be asked. A batch that is being deleted is shown to nobody.

-- name: batch_statuses
-- Counts of the chunks that have begun are added to those that ended chunks left in the batch; one statement, one instant.
SELECT b.id, b.name, b.queue, IF(b.state = 'Retrying', 'Pending', b.state) AS state, b.suspended, b.failure_mode, b.total,
       b.metadata, b.fingerprint, b.created_at, b.finished_at,
       COALESCE(LEAST(b.started_at, c.started_at), b.started_at, c.started_at) AS started_at,
       b.completed + COALESCE(c.completed, 0) AS completed,
       IF(b.state = 'Retrying' AND b.retry_chosen IS NULL, 0, b.failed + COALESCE(c.failed, 0)) AS failed,
       COALESCE(c.running, 0) AS running, b.retry_attempt, b.retried_at
FROM hammerwork_batches b
LEFT JOIN (
    SELECT batch_id, CAST(SUM(completed) AS SIGNED) AS completed, CAST(SUM(failed) AS SIGNED) AS failed,
           MIN(started_at) AS started_at, CAST(SUM(next - completed - failed - moved) AS SIGNED) AS running
    FROM hammerwork_chunks FORCE INDEX (hammerwork_chunks_begun)
    WHERE batch_id IN (:batches) AND started_at > '1000-01-01' GROUP BY batch_id
) c ON c.batch_id = b.id
WHERE b.id IN (:batches) AND b.state NOT IN ('Deleting', 'Abandoned')

-- name: waiting_spans
-- Jobs that are not handed out, chunk by chunk.
SELECT lo, hi, spans, next, size, state FROM hammerwork_chunks
WHERE batch_id = :batch AND next < size AND hi > :after ORDER BY lo

-- name: running_spans
SELECT lo, hi, remaining FROM hammerwork_claims WHERE batch_id = :batch AND hi > :after ORDER BY lo

-- name: failed_spans
SELECT idx AS lo, idx AS hi FROM hammerwork_failures
WHERE batch_id = :batch AND idx > :after AND final ORDER BY idx LIMIT :limit

-- name: job_window
-- What tells where the jobs :first..:last stand; a snapshot, so that a job that moves meanwhile is in one place. :longest is
-- the most jobs that a chunk can have; one of spans may begin far before its jobs.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
START TRANSACTION WITH CONSISTENT SNAPSHOT;
SELECT state, total, priorities FROM hammerwork_batches WHERE id = :batch;
SELECT id, attempt, lo, hi, spans, next, state FROM hammerwork_chunks
    WHERE batch_id = :batch AND lo > :first - :longest AND lo <= :last AND hi >= :first AND spans IS NULL
    UNION ALL
    SELECT id, attempt, lo, hi, spans, next, state FROM hammerwork_chunks
    WHERE batch_id = :batch AND lo <= :last AND hi >= :first AND spans IS NOT NULL;
SELECT chunk_id, lo, hi, remaining FROM hammerwork_claims WHERE batch_id = :batch AND lo <= :last AND hi >= :first;
SELECT idx, MAX(attempt) AS attempt, MAX(final) AS final FROM hammerwork_failures
    WHERE batch_id = :batch AND idx BETWEEN :first AND :last GROUP BY idx;
COMMIT

-- name: job_errors
SELECT idx, attempt, error_type, message, traceback, failed_at FROM hammerwork_failures
WHERE batch_id = :batch AND idx IN (:indexes) ORDER BY idx, attempt

-- name: batch_errors
SELECT g.error_type, g.count, f.idx, f.message
FROM (
    SELECT error_type, COUNT(*) AS count, MIN(idx) AS idx FROM hammerwork_failures
    WHERE batch_id = :batch GROUP BY error_type ORDER BY count DESC, error_type LIMIT :limit
) g
JOIN hammerwork_failures f ON f.batch_id = :batch AND f.idx = g.idx AND f.error_type = g.error_type
ORDER BY g.count DESC, g.error_type, f.attempt

-- name: queue_depths
-- Jobs of a batch that is worked on: those in its counts are done, the rest is done, running or scheduled in chunks, or ready.
SELECT d.queue, EXISTS (SELECT 1 FROM hammerwork_queues q WHERE q.name = d.queue AND q.paused) AS paused,
       CAST(SUM(IF(d.suspended, 0, d.ready)) AS SIGNED) AS ready,
       CAST(SUM(d.scheduled) AS SIGNED) AS scheduled,
       CAST(SUM(d.running) AS SIGNED) AS running,
       TIMESTAMPDIFF(MICROSECOND, MIN(IF(d.ready > 0 AND NOT d.suspended, d.sealed_at, NULL)), UTC_TIMESTAMP(6)) / 1e6
           AS oldest_ready_seconds,
       TIMESTAMPDIFF(MICROSECOND, UTC_TIMESTAMP(6), MIN(IF(d.suspended, NULL, d.run_at))) / 1e6 AS next_scheduled_seconds
FROM (
    SELECT b.queue, b.suspended, b.sealed_at, s.run_at, COALESCE(c.running, 0) AS running, COALESCE(s.scheduled, 0) AS scheduled,
           b.total - b.completed - b.failed - COALESCE(c.begun, 0) - COALESCE(s.scheduled, 0) AS ready
    FROM hammerwork_batches b
    LEFT JOIN (
        SELECT o.id AS batch_id, SUM(c.next - c.completed - c.failed - c.moved) AS running, SUM(c.next - c.moved) AS begun
        FROM hammerwork_batches o FORCE INDEX (hammerwork_batches_state)
        STRAIGHT_JOIN hammerwork_chunks c FORCE INDEX (hammerwork_chunks_begun)
            ON c.batch_id = o.id AND c.started_at > '1000-01-01'
        WHERE o.state = 'Pending' GROUP BY o.id
    ) c ON c.batch_id = b.id
    LEFT JOIN (
        SELECT batch_id, SUM(size - next) AS scheduled, MIN(run_at) AS run_at
        FROM hammerwork_chunks FORCE INDEX (hammerwork_chunks_scheduled)
        WHERE run_at > '1000-01-01' GROUP BY batch_id
    ) s ON s.batch_id = b.id
    WHERE b.state = 'Pending'
) d
GROUP BY d.queue

-- name: list_batches
SELECT id FROM hammerwork_batches
WHERE JSON_CONTAINS(metadata, :metadata) AND (:queue IS NULL OR queue = :queue)
  AND created_at <= :created_at AND (created_at < :created_at OR id < :batch) AND state NOT IN ('Deleting', 'Abandoned')
  AND (:any_state OR state IN (:states))
  AND (:begun IS NULL OR :begun = (started_at IS NOT NULL OR completed + failed > 0 OR EXISTS (
      SELECT 1 FROM hammerwork_chunks c FORCE INDEX (hammerwork_chunks_begun)
      WHERE c.batch_id = hammerwork_batches.id AND c.started_at > '1000-01-01')))
ORDER BY created_at DESC, id DESC LIMIT :limit

-- name: queue_statistics
SELECT s.processed, s.failed, s.busy_ms, b.batches, b.average_batch_size
FROM (
    SELECT CAST(COALESCE(SUM(processed), 0) AS SIGNED) AS processed, CAST(COALESCE(SUM(failed), 0) AS SIGNED) AS failed,
           CAST(COALESCE(SUM(busy_ms), 0) AS SIGNED) AS busy_ms
    FROM hammerwork_statistics WHERE queue = :queue AND minute > UTC_TIMESTAMP(6) - INTERVAL :window_us MICROSECOND
) s, (
    SELECT COUNT(*) AS batches, COALESCE(AVG(total), 0) + 0e0 AS average_batch_size FROM hammerwork_batches
    WHERE queue = :queue AND finished_at > UTC_TIMESTAMP(6) - INTERVAL :window_us MICROSECOND
) b

-- name: queue_activities
SELECT queue, CAST(SUM(processed) AS SIGNED) AS processed, CAST(SUM(failed) AS SIGNED) AS failed,
       CAST(SUM(busy_ms) AS SIGNED) AS busy_ms
FROM hammerwork_statistics
WHERE queue IN (:queues) AND minute > UTC_TIMESTAMP(6) - INTERVAL :window_us MICROSECOND GROUP BY queue

-- name: list_workers
SELECT id, queue, pool, instance, lanes, started_at, heartbeat_at, processed, failed, busy_ms,
       (SELECT CAST(COALESCE(SUM(k.`open`), 0) AS SIGNED) FROM hammerwork_claims k WHERE k.worker_id = w.id) AS held
FROM hammerwork_workers w
WHERE :queue IS NULL OR queue = :queue ORDER BY queue, started_at, id
