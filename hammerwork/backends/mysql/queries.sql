-- Each text is one round trip. A text of several statements is one short transaction that the server runs to its end by
-- itself, so a client that vanishes leaves no lock behind. User variables carry values from one statement to the next;
-- every text sets the ones it reads. A condition on a variable that is not met makes a statement find no row.
--
-- Order of row locks, which keeps the texts free of deadlocks: claim, chunk, batch. One text settles at most one claim.
-- Taking a new claim never waits (SKIP LOCKED) and is always the last thing. Whatever locks a batch first takes chunk
-- rows with SKIP LOCKED only, unless nobody can hold any. Rows of one table are removed by their ids: a search by
-- another index locks that index first, and meets an update that goes the other way. Variables are read from tables by
-- SELECT … INTO, never by SET or in a DELETE: there a subquery locks what it reads.
--
-- A claim reads the batch without a lock. Ending a stopped batch is exact nevertheless: a claim keeps its chunk's row
-- locked, and while one chunk of the batch is locked, or not cancelled, the batch does not end.

-- name: batch_statuses
-- Counts of open chunks are added to those that ended chunks left in the batch; one statement, so one instant.
SELECT b.id, b.name, b.queue, b.state, b.suspended, b.failure_mode, b.total, b.metadata, b.fingerprint,
       b.created_at, b.finished_at, COALESCE(LEAST(b.started_at, c.started_at), b.started_at, c.started_at) AS started_at,
       b.completed + COALESCE(c.completed, 0) AS completed,
       b.failed + COALESCE(c.failed, 0) AS failed,
       COALESCE(c.running, 0) AS running
FROM hammerwork_batches b
LEFT JOIN (
    SELECT batch_id, CAST(SUM(completed) AS SIGNED) AS completed, CAST(SUM(failed) AS SIGNED) AS failed,
           MIN(started_at) AS started_at, CAST(SUM(next - lo - completed - failed - moved) AS SIGNED) AS running
    FROM hammerwork_chunks WHERE batch_id IN (:batches) GROUP BY batch_id
) c ON c.batch_id = b.id
WHERE b.id IN (:batches)

-- name: batch_header
SELECT queue, state, total FROM hammerwork_batches WHERE id = :batch

-- name: waiting_spans
-- Runs of jobs that are not handed out, in order.
SELECT next AS lo, hi, state FROM hammerwork_chunks
WHERE batch_id = :batch AND next <= hi AND hi > :after ORDER BY next

-- name: running_spans
SELECT lo, hi FROM hammerwork_claims WHERE batch_id = :batch AND hi > :after ORDER BY lo

-- name: failed_spans
SELECT idx AS lo, idx AS hi FROM hammerwork_failures
WHERE batch_id = :batch AND idx > :after AND final ORDER BY idx LIMIT :limit

-- name: job_window
-- What tells where the jobs after..last stand; a snapshot, so that a job that moves meanwhile is in one place.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
START TRANSACTION WITH CONSISTENT SNAPSHOT;
SELECT queue, state, total, priorities FROM hammerwork_batches WHERE id = :batch;
SELECT id, attempt, lo, hi, next, state FROM hammerwork_chunks
    WHERE batch_id = :batch AND lo > :after - :longest AND lo <= :last AND hi > :after;
SELECT k.chunk_id, k.lo, k.hi, k.remaining FROM hammerwork_claims k JOIN hammerwork_chunks c ON c.id = k.chunk_id
    WHERE c.batch_id = :batch AND c.lo > :after - :longest AND c.lo <= :last AND k.hi > :after AND k.lo <= :last;
SELECT idx, MAX(attempt) AS attempt, MAX(final) AS final FROM hammerwork_failures
    WHERE batch_id = :batch AND idx > :after AND idx <= :last GROUP BY idx;
COMMIT

-- name: job_rows
SELECT idx, payload FROM hammerwork_jobs WHERE batch_id = :batch AND idx IN (:indexes)

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
SELECT c.queue,
       CAST(SUM(IF(c.state = 'ready' AND NOT b.suspended, c.hi - c.next + 1, 0)) AS SIGNED) AS ready,
       CAST(SUM(IF(c.state = 'scheduled', c.hi - c.next + 1, 0)) AS SIGNED) AS scheduled,
       CAST(SUM(c.next - c.lo - c.completed - c.failed - c.moved) AS SIGNED) AS running,
       TIMESTAMPDIFF(MICROSECOND, MIN(IF(c.state = 'ready' AND NOT b.suspended, b.sealed_at, NULL)), UTC_TIMESTAMP(6))
           / 1e6 AS oldest_ready_seconds
FROM hammerwork_chunks c JOIN hammerwork_batches b ON b.id = c.batch_id
WHERE b.state = 'Pending'
GROUP BY c.queue

-- name: stop_batch
UPDATE hammerwork_batches SET state = :state WHERE id = :batch AND state IN ('Loading', 'Pending')

-- name: finish_stopped
-- Ends a stopped batch once no worker holds anything of it, and takes its chunks out of the way of claims.
SET @batch = NULL, @open = NULL;
START TRANSACTION;
SELECT id INTO @batch FROM hammerwork_batches
    WHERE id = :batch AND state IN ('Failed', 'Cancelled') AND finished_at IS NULL FOR UPDATE;
UPDATE (
    SELECT id FROM hammerwork_chunks WHERE batch_id = @batch AND state IN ('held', 'ready', 'scheduled')
    LIMIT 1000000 FOR UPDATE SKIP LOCKED
) s STRAIGHT_JOIN hammerwork_chunks c ON c.id = s.id SET c.state = 'cancelled';
SELECT EXISTS (
    SELECT 1 FROM hammerwork_chunks
    WHERE batch_id = @batch
      AND (state IN ('held', 'ready', 'scheduled') OR next - lo > completed + failed + moved)
) INTO @open;
UPDATE hammerwork_batches SET finished_at = UTC_TIMESTAMP(6) WHERE id = IF(@open, NULL, @batch);
COMMIT

-- name: set_suspended
-- A chunk that is missed when it stops, because its row is locked, is kept back by the check in the claim. None may be
-- missed when it goes on, and none may be waited for (lock order): `done` 0 asks to try again; the batch is held still.
SET @batch = NULL, @state = NULL, @missed = 0;
START TRANSACTION;
SELECT id, state INTO @batch, @state FROM hammerwork_batches WHERE id = :batch FOR UPDATE;
UPDATE (
    SELECT id FROM hammerwork_chunks
    WHERE batch_id = IF(@state = 'Pending', @batch, NULL) AND state = :from_state
    LIMIT 1000000 FOR UPDATE SKIP LOCKED
) s STRAIGHT_JOIN hammerwork_chunks c ON c.id = s.id SET c.state = :to_state;
SELECT NOT :suspended AND @state = 'Pending' AND EXISTS (
    SELECT 1 FROM hammerwork_chunks WHERE batch_id = @batch AND state = 'held') INTO @missed;
UPDATE hammerwork_batches SET suspended = :suspended WHERE id = IF(@missed, NULL, @batch);
COMMIT;
SELECT @batch IS NOT NULL AS found, NOT COALESCE(@missed, 0) AS done

-- name: claimable_batches
SELECT id FROM hammerwork_batches WHERE id IN (:batches) AND NOT suspended AND state NOT IN ('Failed', 'Cancelled')

-- name: claims_of_batch
SELECT id FROM hammerwork_claims WHERE batch_id = :batch ORDER BY id LIMIT 1000

-- name: chunks_of_batch
SELECT id FROM hammerwork_chunks WHERE batch_id = :batch ORDER BY id LIMIT 1000

-- name: delete_claims
DELETE FROM hammerwork_claims WHERE id IN (:ids)

-- name: delete_chunks
DELETE FROM hammerwork_chunks WHERE id IN (:ids)

-- name: delete_failures
DELETE FROM hammerwork_failures WHERE batch_id = :batch LIMIT :limit;
SELECT ROW_COUNT() AS deleted

-- name: delete_jobs
DELETE FROM hammerwork_jobs WHERE batch_id = :batch LIMIT :limit;
SELECT ROW_COUNT() AS deleted

-- name: delete_batch
DELETE FROM hammerwork_batches WHERE id = :batch;
SELECT ROW_COUNT() AS deleted

-- name: insert_batch
INSERT INTO hammerwork_batches (
    id, name, queue, failure_mode, state, suspended, total, batch_size, max_attempts, timeout_seconds, retry_policy,
    top_priority, priorities, `rank`, metadata, fingerprint, created_at, sealed_at
) VALUES (
    :id, :name, :queue, :failure_mode, :state, :suspended, :total, :batch_size, :max_attempts, :timeout_seconds,
    :retry_policy, :top_priority, :priorities, FLOOR(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000), :metadata, :fingerprint,
    UTC_TIMESTAMP(6), IF(:state = 'Pending', UTC_TIMESTAMP(6), NULL)
)

-- name: unless_there
ON DUPLICATE KEY UPDATE id = hammerwork_batches.id

-- name: abandon_batch
UPDATE hammerwork_batches SET state = 'Cancelled' WHERE id = :batch AND state = 'Loading';
SELECT ROW_COUNT() AS abandoned

-- name: stored_batch
SELECT state, total, fingerprint FROM hammerwork_batches WHERE id = :batch

-- name: begin_append
START TRANSACTION;
SELECT state, total, priorities FROM hammerwork_batches WHERE id = :batch FOR UPDATE

-- name: insert_chunks
INSERT INTO hammerwork_chunks (batch_id, queue, precedence, `rank`, state, lo, hi, next)
SELECT b.id, b.queue, c.precedence, b.`rank`, :state, c.lo, c.hi, c.lo
FROM hammerwork_batches b
CROSS JOIN JSON_TABLE(:chunks, '$[*]' COLUMNS (
    lo INT PATH '$[0]', hi INT PATH '$[1]', precedence INT PATH '$[2]')) c
WHERE b.id = :batch ORDER BY c.lo

-- name: end_append
UPDATE hammerwork_batches SET total = :total, priorities = :priorities WHERE id = :batch;
COMMIT

-- name: seal_batch
-- Makes a loaded batch claimable, all at once. Nobody else locks chunks of a loading batch without the batch.
SET @batch = NULL, @suspended = NULL;
START TRANSACTION;
SELECT id, suspended INTO @batch, @suspended FROM hammerwork_batches
    WHERE id = :batch AND state = 'Loading' FOR UPDATE;
SELECT 4 - MIN(precedence) INTO @top FROM hammerwork_chunks WHERE batch_id = @batch;
UPDATE hammerwork_batches SET state = 'Pending', sealed_at = UTC_TIMESTAMP(6), top_priority = @top WHERE id = @batch;
UPDATE hammerwork_chunks SET state = 'ready' WHERE batch_id = IF(@suspended, NULL, @batch);
COMMIT

-- name: settle_begin
-- Fenced: a claim that is not this worker's, or has other books than the report, is not touched.
SET @claim = NULL, @chunk = NULL, @batch = NULL, @open = NULL, @mode = NULL, @moved = 0;
START TRANSACTION;
SELECT id, chunk_id, batch_id, open INTO @claim, @chunk, @batch, @open FROM hammerwork_claims
    WHERE id = :claim AND worker_id = :worker FOR UPDATE;
SET @good = COALESCE(@open = :open, 0), @asked = @batch;
SET @claim = IF(@good, @claim, NULL), @chunk = IF(@good, @chunk, NULL), @batch = IF(@good, @batch, NULL);

-- name: settle_end_claim
DELETE FROM hammerwork_claims WHERE id = @claim;

-- name: settle_keep_claim
UPDATE hammerwork_claims SET open = open - :outcomes, remaining = :remaining WHERE id = @claim;

-- name: settle_details
-- Read under the chunk's lock. No chunk, no details: the batch was deleted.
SET @queue = NULL, @back = 0, @stopped = NULL;
SELECT queue, precedence, `rank`, attempt, next, claim_limit, losses
    INTO @queue, @precedence, @rank, @attempt, @next, @claim_limit, @losses
    FROM hammerwork_chunks WHERE id = @chunk FOR UPDATE;
SELECT state <> 'Pending', failure_mode, 4 - top_priority, `rank` - 1 INTO @stopped, @mode, @top, @before
    FROM hammerwork_batches WHERE id = @batch;

-- name: settle_failures
INSERT INTO hammerwork_failures (batch_id, idx, attempt, final, error_type, message, traceback, failed_at)
SELECT @batch, f.idx, f.attempt, f.final, f.error_type, f.message, f.traceback, UTC_TIMESTAMP(6)
FROM JSON_TABLE(:failures, '$[*]' COLUMNS (
    idx INT PATH '$.idx', attempt INT PATH '$.attempt', final INT PATH '$.final',
    error_type TEXT CHARACTER SET utf8mb4 PATH '$.error_type', message TEXT CHARACTER SET utf8mb4 PATH '$.message',
    traceback TEXT CHARACTER SET utf8mb4 PATH '$.traceback')) f
WHERE @queue IS NOT NULL
ON DUPLICATE KEY UPDATE attempt = hammerwork_failures.attempt;

-- name: settle_retries
-- A FailFast batch that allows retries wants to know soon whether the job fails for good.
INSERT INTO hammerwork_chunks (batch_id, queue, precedence, `rank`, state, attempt, lo, hi, next, run_at)
SELECT @batch, @queue, IF(@mode = 'FailFast', @top, @precedence), IF(@mode = 'FailFast', @before, @rank),
       CASE WHEN @stopped THEN 'cancelled' WHEN r.delay > 0 THEN 'scheduled' ELSE 'ready' END,
       @attempt + 1, r.lo, r.hi, r.lo, UTC_TIMESTAMP(6) + INTERVAL FLOOR(r.delay * 1000000) MICROSECOND
FROM JSON_TABLE(:retries, '$[*]' COLUMNS (lo INT PATH '$[0]', hi INT PATH '$[1]', delay DOUBLE PATH '$[2]')) r
WHERE @queue IS NOT NULL;

-- name: settle_released
-- Only the last span can end where the chunk goes on; then the chunk goes on from there. The others become chunks.
SET @back = COALESCE(:last_hi + 1 = @next AND NOT @stopped, 0);
UPDATE hammerwork_chunks SET next = :last_lo, state = 'ready' WHERE id = IF(@back, @chunk, NULL);
INSERT INTO hammerwork_chunks (batch_id, queue, precedence, `rank`, state, attempt, lo, hi, next, claim_limit, losses)
SELECT @batch, @queue, @precedence, @rank, IF(@stopped, 'cancelled', 'ready'), @attempt, r.lo, r.hi, r.lo,
       @claim_limit, @losses
FROM JSON_TABLE(:released, '$[*]' COLUMNS (lo INT PATH '$[0]', hi INT PATH '$[1]')) r
WHERE @queue IS NOT NULL AND NOT (@back AND r.lo = :last_lo);

-- name: settle_moved
SET @moved = :moved - IF(@back, :last_jobs, 0);

-- name: settle_fail_fast
-- Before the count: a failure of the last job must find the batch still open.
UPDATE hammerwork_batches SET state = 'Failed'
    WHERE id = IF(@mode = 'FailFast', @batch, NULL) AND state IN ('Loading', 'Pending');

-- name: settle_counts
SET @completed = :completed, @failed = :failed;

-- name: count
-- Adds @completed, @failed and @moved to @chunk. Ends the chunk with its last outcome, and the batch with its last job.
SET @ended = NULL;
UPDATE hammerwork_chunks
    SET completed = completed + @completed, failed = failed + @failed, moved = moved + @moved WHERE id = @chunk;
SELECT IF(completed + failed + moved < hi - lo + 1, NULL, id), completed, failed, started_at
    INTO @ended, @completed, @failed, @started_at FROM hammerwork_chunks WHERE id = @chunk;
DELETE FROM hammerwork_chunks WHERE id = @ended;
UPDATE hammerwork_batches SET
        finished_at = IF(state = 'Pending' AND completed + failed + @completed + @failed = total, UTC_TIMESTAMP(6), finished_at),
        state = CASE WHEN state <> 'Pending' OR completed + failed + @completed + @failed < total THEN state
                     WHEN failed + @failed > 0 THEN 'CompletedWithErrors' ELSE 'Completed' END,
        started_at = COALESCE(LEAST(started_at, @started_at), started_at, @started_at),
        completed = completed + @completed, failed = failed + @failed
    WHERE id = IF(@ended IS NULL, NULL, @batch);

-- name: settle_answer
SET @state = NULL, @suspended = NULL, @finished = NULL;
SELECT state, suspended, finished_at IS NOT NULL INTO @state, @suspended, @finished FROM hammerwork_batches WHERE id = @asked;

-- name: claim
-- Hands out the front of the best ready chunk. The batch is read without a lock, by a subquery that no optimizer turns
-- into a join; a join would lock it.
SET @taken = NULL, @claimed = NULL;
SELECT ch.id, ch.batch_id, ch.next, ch.hi, ch.attempt, ch.precedence, ch.claim_limit
    INTO @taken, @taken_batch, @lo, @hi, @attempt, @precedence, @claim_limit
    FROM hammerwork_chunks ch FORCE INDEX (hammerwork_chunks_ready)
    WHERE ch.queue = :queue AND ch.state = 'ready'
      AND (SELECT b.state = 'Pending' AND NOT b.suspended FROM hammerwork_batches b WHERE b.id = ch.batch_id)
      AND NOT EXISTS (SELECT 1 FROM hammerwork_queues q WHERE q.name = :queue AND q.paused)
    ORDER BY ch.precedence, ch.`rank`, ch.id LIMIT 1 FOR UPDATE SKIP LOCKED;
SELECT LEAST(@hi, @lo + LEAST(:limit, batch_size, COALESCE(@claim_limit, :limit)) - 1) INTO @hi
    FROM hammerwork_batches WHERE id = IF(@taken IS NULL, NULL, @taken_batch);
UPDATE hammerwork_chunks SET
        next = @hi + 1, state = IF(@hi = hi, 'taken', state), started_at = COALESCE(started_at, UTC_TIMESTAMP(6))
    WHERE id = @taken;
INSERT INTO hammerwork_claims (worker_id, chunk_id, batch_id, lo, hi, open, claimed_at)
    SELECT :worker, @taken, @taken_batch, @lo, @hi, @hi - @lo + 1, UTC_TIMESTAMP(6) FROM DUAL WHERE @taken IS NOT NULL;
SET @claimed = IF(@taken IS NULL, NULL, LAST_INSERT_ID());

-- name: begin
START TRANSACTION;

-- name: commit
COMMIT;

-- name: settled
SELECT @open AS open, @asked AS batch_id, @state AS state, @suspended AS suspended, @finished AS finished;

-- name: claimed
-- One row if something was claimed.
SELECT CAST(@claimed AS SIGNED) AS claim_id, id AS batch_id, @lo AS lo, @hi AS hi, @attempt AS attempt,
       4 - @precedence AS priority, @claim_limit <=> 1 AS alone, max_attempts, timeout_seconds, failure_mode,
       retry_policy, batch_size
FROM hammerwork_batches WHERE id = IF(@taken IS NULL, NULL, @taken_batch);
-- Payloads with commas between them, cut at the length that the session allows. If nothing was claimed: whether others
-- are at something ready this very moment.
SELECT GROUP_CONCAT(payload ORDER BY idx SEPARATOR ',') AS payloads,
       IF(@taken IS NULL, EXISTS (
           SELECT 1 FROM hammerwork_chunks ch FORCE INDEX (hammerwork_chunks_ready)
           WHERE ch.queue = :queue AND ch.state = 'ready'
             AND (SELECT b.state = 'Pending' AND NOT b.suspended FROM hammerwork_batches b WHERE b.id = ch.batch_id)
             AND NOT EXISTS (SELECT 1 FROM hammerwork_queues q WHERE q.name = :queue AND q.paused)), 0) AS busy
FROM hammerwork_jobs WHERE batch_id = IF(@taken IS NULL, NULL, @taken_batch) AND idx BETWEEN @lo AND @hi

-- name: payloads
SELECT payload FROM hammerwork_jobs WHERE batch_id = :batch AND idx BETWEEN :lo AND :hi ORDER BY idx

-- name: heartbeat
SET @processed = NULL, @failed = NULL, @busy_ms = NULL;
START TRANSACTION;
SELECT processed, failed, busy_ms INTO @processed, @failed, @busy_ms FROM hammerwork_workers WHERE id = :id FOR UPDATE;
INSERT INTO hammerwork_workers (id, queue, pool, instance, lanes, started_at, heartbeat_at, processed, failed, busy_ms)
    VALUES (:id, :queue, :pool, :instance, :lanes, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), :processed, :failed, :busy_ms)
    ON DUPLICATE KEY UPDATE heartbeat_at = UTC_TIMESTAMP(6), processed = :processed, failed = :failed, busy_ms = :busy_ms;
INSERT INTO hammerwork_statistics (queue, minute, processed, failed, busy_ms)
    SELECT :queue, DATE_FORMAT(UTC_TIMESTAMP(), '%Y-%m-%d %H:%i:00'), :processed - COALESCE(@processed, 0),
           :failed - COALESCE(@failed, 0), :busy_ms - COALESCE(@busy_ms, 0)
    FROM DUAL WHERE :processed > COALESCE(@processed, 0)
    ON DUPLICATE KEY UPDATE
        processed = hammerwork_statistics.processed + :processed - COALESCE(@processed, 0),
        failed = hammerwork_statistics.failed + :failed - COALESCE(@failed, 0),
        busy_ms = hammerwork_statistics.busy_ms + :busy_ms - COALESCE(@busy_ms, 0);
COMMIT

-- name: retire
SET @held = NULL;
SELECT EXISTS (SELECT 1 FROM hammerwork_claims WHERE worker_id = :worker) INTO @held;
DELETE FROM hammerwork_workers WHERE id = IF(@held, NULL, :worker)

-- name: workers_of_instance
SELECT id FROM hammerwork_workers WHERE instance = :instance AND id <> :worker ORDER BY id

-- name: delete_workers
DELETE FROM hammerwork_workers WHERE id IN (:ids)

-- name: make_due_ready
START TRANSACTION;
UPDATE (
    SELECT id FROM hammerwork_chunks FORCE INDEX (hammerwork_chunks_scheduled)
    WHERE queue = :queue AND state = 'scheduled' AND run_at <= UTC_TIMESTAMP(6) LIMIT 10000 FOR UPDATE SKIP LOCKED
) s STRAIGHT_JOIN hammerwork_chunks c ON c.id = s.id SET c.state = 'ready', c.run_at = NULL;
COMMIT;
DELETE FROM hammerwork_statistics WHERE queue = :queue AND minute < UTC_TIMESTAMP() - INTERVAL 7 DAY;
SELECT id FROM hammerwork_batches
    WHERE queue = :queue AND finished_at IS NULL AND state IN ('Failed', 'Cancelled') ORDER BY id

-- name: lost_claims
-- There are about two claims a worker. The newest first: a suspect while what it waited for is still there.
SELECT k.id FROM hammerwork_claims k
WHERE NOT EXISTS (
    SELECT 1 FROM hammerwork_workers w
    WHERE w.id = k.worker_id AND w.heartbeat_at >= UTC_TIMESTAMP(6) - INTERVAL :lease_us MICROSECOND)
ORDER BY k.id DESC LIMIT 1000

-- name: lost_workers
SELECT id FROM hammerwork_workers WHERE heartbeat_at < UTC_TIMESTAMP(6) - INTERVAL :lease_us MICROSECOND ORDER BY id

-- name: delete_lost_workers
DELETE FROM hammerwork_workers
WHERE id IN (:ids) AND heartbeat_at < UTC_TIMESTAMP(6) - INTERVAL :lease_us MICROSECOND

-- name: undelivered_claims
SELECT id FROM hammerwork_claims WHERE worker_id = :worker AND id > :last ORDER BY id

-- name: free_claim
-- Gives the jobs of a claim back to the queue. A job that has been alone with three dead workers is taken to have
-- killed them, and fails. With another claim in their hands they had not started it: it would have waited for that one
-- to end. :blame 0: the claim never reached its worker, which lives.
SET @claim = NULL, @chunk = NULL, @batch = NULL, @open = NULL, @queue = NULL, @state = NULL, @mode = NULL, @worker = NULL;
START TRANSACTION;
SELECT id, worker_id, chunk_id, batch_id, lo, hi, open, COALESCE(remaining, JSON_ARRAY(JSON_ARRAY(lo, hi)))
    INTO @claim, @worker, @chunk, @batch, @lo, @hi, @open, @remaining
    FROM hammerwork_claims WHERE id = :claim FOR UPDATE SKIP LOCKED;
SELECT IF(:blame AND EXISTS (
        SELECT 1 FROM hammerwork_workers
        WHERE id = @worker AND heartbeat_at >= UTC_TIMESTAMP(6) - INTERVAL :lease_us MICROSECOND), NULL, @claim)
    INTO @claim;
SET @chunk = IF(@claim IS NULL, NULL, @chunk), @batch = IF(@claim IS NULL, NULL, @batch);
DELETE FROM hammerwork_claims WHERE id = @claim;
SELECT queue, precedence, `rank`, attempt, claim_limit, losses
    INTO @queue, @precedence, @rank, @attempt, @claim_limit, @losses
    FROM hammerwork_chunks WHERE id = @chunk FOR UPDATE;
SELECT state, failure_mode INTO @state, @mode FROM hammerwork_batches WHERE id = @batch;
SELECT @lo = @hi AND NOT EXISTS (SELECT 1 FROM hammerwork_claims WHERE worker_id = @worker) INTO @alone;
SET @culprit = COALESCE(:blame AND @queue IS NOT NULL AND @alone AND @losses >= 2 AND @state = 'Pending', 0);
INSERT INTO hammerwork_failures (batch_id, idx, attempt, final, error_type, message, failed_at)
    SELECT @batch, @lo, @attempt, TRUE, 'WorkerLost',
           'the worker vanished three times while it ran this job and nothing else', UTC_TIMESTAMP(6)
    FROM DUAL WHERE @culprit
    ON DUPLICATE KEY UPDATE attempt = hammerwork_failures.attempt;
INSERT INTO hammerwork_chunks (batch_id, queue, precedence, `rank`, state, attempt, lo, hi, next, claim_limit, losses)
    SELECT @batch, @queue, @precedence, @rank, IF(@state = 'Pending', 'ready', 'cancelled'), @attempt, r.lo, r.hi, r.lo,
           IF(:blame, GREATEST(1, (@hi - @lo + 1) DIV 4), @claim_limit),
           IF(:blame, IF(@claim_limit <=> 1, @losses + @alone, 0), @losses)
    FROM JSON_TABLE(@remaining, '$[*]' COLUMNS (lo INT PATH '$[0]', hi INT PATH '$[1]')) r
    WHERE @queue IS NOT NULL AND NOT @culprit;
SET @completed = 0, @failed = @culprit, @moved = IF(@culprit, 0, @open);
UPDATE hammerwork_batches SET state = 'Failed'
    WHERE id = IF(@culprit AND @mode = 'FailFast', @batch, NULL) AND state IN ('Loading', 'Pending');

-- name: freed
SELECT CAST(IF(@queue IS NULL, 0, IF(@culprit, 1, @open)) AS SIGNED) AS jobs, b.id AS stopped FROM (SELECT 1) one
LEFT JOIN hammerwork_batches b ON b.id = @batch AND b.state IN ('Failed', 'Cancelled') AND b.finished_at IS NULL

-- name: retry_failed
-- Runs the failed jobs of an ended batch again, from the first attempt, and those that a failed FailFast batch cancelled.
-- Nobody else locks chunks of an ended batch without the batch.
SET @batch = NULL, @jobs = NULL, @was = NULL;
START TRANSACTION;
SELECT IF(finished_at IS NOT NULL AND state NOT IN ('Completed', 'Cancelled'), id, NULL),
       CASE WHEN state = 'Completed' THEN 0 WHEN finished_at IS NULL OR state = 'Cancelled' THEN -1 ELSE 1 END,
       queue, `rank`, priorities, IF(suspended, 'held', 'ready')
    INTO @batch, @was, @queue, @rank, @priorities, @state
    FROM hammerwork_batches WHERE id = :batch FOR UPDATE;
-- What an ended batch still has of chunks was cut short: count what they did in the batch, keep their rest.
SELECT CAST(COALESCE(SUM(completed), 0) AS SIGNED) INTO @completed FROM hammerwork_chunks WHERE batch_id = @batch;
DELETE FROM hammerwork_chunks WHERE batch_id = @batch AND next > hi;
UPDATE hammerwork_chunks SET lo = next, completed = 0, failed = 0, moved = 0, state = @state WHERE batch_id = @batch;
-- Runs of neighbours of one priority, none longer than a loaded chunk.
INSERT INTO hammerwork_chunks (batch_id, queue, precedence, `rank`, state, lo, hi, next)
    SELECT @batch, @queue, 4 - priority, @rank, @state, MIN(idx), MAX(idx), MIN(idx)
    FROM (
        SELECT f.idx, p.priority,
               CAST(f.idx AS SIGNED)
                   - CAST(ROW_NUMBER() OVER (PARTITION BY p.priority ORDER BY f.idx) AS SIGNED) AS run
        FROM hammerwork_failures f
        JOIN (
            SELECT lo, priority, COALESCE(LEAD(lo) OVER (ORDER BY lo), 2147483647) AS until
            FROM JSON_TABLE(@priorities, '$[*]' COLUMNS (lo INT PATH '$[0]', priority INT PATH '$[1]')) t
        ) p ON f.idx >= p.lo AND f.idx < p.until
        WHERE f.batch_id = @batch AND f.final
    ) runs
    GROUP BY priority, run, idx DIV 1000;
DELETE FROM hammerwork_failures WHERE batch_id = @batch;
UPDATE hammerwork_batches SET state = 'Pending', finished_at = NULL, completed = completed + @completed, failed = 0
    WHERE id = @batch;
SELECT total - completed INTO @jobs FROM hammerwork_batches WHERE id = @batch;
COMMIT;
SELECT CAST(COALESCE(@jobs, @was) AS SIGNED) AS jobs

-- name: pause_queue
INSERT INTO hammerwork_queues (name, paused, paused_at) VALUES (:queue, :paused, IF(:paused, UTC_TIMESTAMP(6), NULL))
ON DUPLICATE KEY UPDATE
    paused_at = IF(hammerwork_queues.paused = :paused, hammerwork_queues.paused_at, IF(:paused, UTC_TIMESTAMP(6), NULL)),
    paused = :paused

-- name: list_batches
SELECT id FROM hammerwork_batches
WHERE JSON_CONTAINS(metadata, :metadata) AND (:queue IS NULL OR queue = :queue)
  AND created_at <= :created_at AND (created_at < :created_at OR id < :batch)
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

-- name: list_workers
SELECT id, queue, pool, instance, lanes, started_at, heartbeat_at, processed, failed, busy_ms FROM hammerwork_workers
WHERE :queue IS NULL OR queue = :queue ORDER BY queue, started_at, id
