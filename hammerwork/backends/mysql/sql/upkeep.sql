-- What keeps a queue going: heartbeats, the clock of the leases, retries that fall due.

-- name: heartbeat
-- Shows that a worker lives, and adds what it has done since its last heartbeat to the minute's statistics. :known_… is what
-- the worker had done at its last heartbeat that was answered: it counts where the worker's row has gone meanwhile.
-- Returns which of the claims :held are this worker's; then whether it has others that are older than :seconds_us, whether
-- something of its queue is ready, for how long nobody has done the upkeep, and what the ledger says of versions.
-- The clock of the leases stands between two turns of the upkeep: what has passed since the last one is added to it, at most
-- what the next one can add where turns are a second apart.
SET @was_processed = :known_processed, @was_failed = :known_failed, @was_busy_ms = :known_busy_ms,
    @clock = NULL, @idle = NULL, @blamed = NULL;
START TRANSACTION;
SELECT clock, TIMESTAMPDIFF(MICROSECOND, seen_at, UTC_TIMESTAMP(6)) / 1e6 INTO @clock, @idle FROM hammerwork_upkeep WHERE id = 1;
SET @clock = @clock + LEAST(GREATEST(@idle, 0), 2);
SELECT processed, failed, busy_ms INTO @was_processed, @was_failed, @was_busy_ms
    FROM hammerwork_workers WHERE id = :id FOR UPDATE;
INSERT INTO hammerwork_workers (
        id, queue, pool, instance, lanes, lease_seconds, started_at, heartbeat_at, heard, processed, failed, busy_ms)
    VALUES (:id, :queue, :pool, :instance, :lanes, :lease_seconds, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6), @clock, :processed,
            :failed, :busy_ms)
    ON DUPLICATE KEY UPDATE heartbeat_at = UTC_TIMESTAMP(6), heard = @clock, lanes = :lanes, processed = :processed,
        failed = :failed, busy_ms = :busy_ms;
-- Whatever it was taken for, it lives: it has not died of any job.
SELECT CONCAT('[', GROUP_CONCAT(q.id ORDER BY q.id), ']') INTO @blamed FROM (
    SELECT id FROM hammerwork_chunks WHERE lost_by = :id UNION SELECT id FROM hammerwork_chunks WHERE lost_before = :id) q;
UPDATE JSON_TABLE(@blamed, '$[*]' COLUMNS (id BIGINT PATH '$')) s
    STRAIGHT_JOIN hammerwork_chunks c FORCE INDEX (PRIMARY) ON c.id = s.id
    SET c.lost_by = NULLIF(c.lost_by, :id), c.lost_before = NULLIF(c.lost_before, :id);
INSERT INTO hammerwork_statistics (queue, minute, processed, failed, busy_ms)
    SELECT :queue, DATE_FORMAT(UTC_TIMESTAMP(), '%Y-%m-%d %H:%i:00'), :processed - @was_processed, :failed - @was_failed,
           :busy_ms - @was_busy_ms
    FROM DUAL WHERE :processed > @was_processed
    ON DUPLICATE KEY UPDATE
        processed = hammerwork_statistics.processed + :processed - @was_processed,
        failed = hammerwork_statistics.failed + :failed - @was_failed,
        busy_ms = hammerwork_statistics.busy_ms + :busy_ms - @was_busy_ms;
COMMIT;
SELECT id FROM hammerwork_claims WHERE id IN (:held) AND worker_id = :id;
SELECT EXISTS (SELECT 1 FROM hammerwork_claims FORCE INDEX (hammerwork_claims_worker)
               WHERE worker_id = :id AND id NOT IN (:held)
                 AND claimed_at < UTC_TIMESTAMP(6) - INTERVAL :seconds_us MICROSECOND) AS undelivered,
       EXISTS (SELECT 1 FROM hammerwork_ready WHERE queue = :queue)
           AND NOT EXISTS (SELECT 1 FROM hammerwork_queues WHERE name = :queue AND paused) AS ready,
       @idle AS upkeep_idle,
       l.least, l.version
FROM (SELECT MAX(least) AS least, MAX(version) AS version FROM hammerwork_migrations) l

-- name: upkeep
-- Whether it is the caller's turn to do the upkeep, which somebody is to do every :seconds. Moves the clock of the leases: at
-- most by two turns, so that time in which nobody could reach the database does not count.
SET @turn = NULL, @passed = NULL;
START TRANSACTION;
SELECT id, TIMESTAMPDIFF(MICROSECOND, seen_at, UTC_TIMESTAMP(6)) / 1e6 INTO @turn, @passed
    FROM hammerwork_upkeep WHERE id = 1 FOR UPDATE SKIP LOCKED;
SET @turn = IF(@passed BETWEEN 0 AND :seconds / 2, NULL, @turn);
UPDATE hammerwork_upkeep SET clock = clock + LEAST(GREATEST(@passed, 0), 2 * :seconds), seen_at = UTC_TIMESTAMP(6)
    WHERE id = @turn;
COMMIT;
SELECT @turn IS NOT NULL AS turn

-- name: tick
-- Makes up to :limit chunks ready whose retry is due; returns their queues, once for each chunk.
SET @due = NULL, @made = NULL, @offers = NULL;
START TRANSACTION;
SELECT CONCAT('[', GROUP_CONCAT(id ORDER BY id), ']') INTO @due FROM (
    SELECT id FROM hammerwork_chunks FORCE INDEX (hammerwork_chunks_scheduled)
    WHERE run_at <= UTC_TIMESTAMP(6) ORDER BY run_at LIMIT :limit) d;
SELECT CONCAT('[', GROUP_CONCAT(q.id), ']'), GROUP_CONCAT(JSON_ARRAY(HEX(q.batch_id), q.precedence)) INTO @made, @offers
    FROM (
        SELECT c.id, c.batch_id, c.precedence
        FROM JSON_TABLE(@due, '$[*]' COLUMNS (id BIGINT PATH '$')) d
        STRAIGHT_JOIN hammerwork_chunks c FORCE INDEX (PRIMARY) ON c.id = d.id
        WHERE c.state = 'scheduled' LIMIT 10000 /*M! FOR UPDATE SKIP LOCKED */ /*!80000 FOR UPDATE OF c SKIP LOCKED */
    ) q;
UPDATE JSON_TABLE(@made, '$[*]' COLUMNS (id BIGINT PATH '$')) d
    STRAIGHT_JOIN hammerwork_chunks c FORCE INDEX (PRIMARY) ON c.id = d.id
    SET c.state = 'ready', c.run_at = NULL;
{offer}
COMMIT;
SELECT b.queue FROM JSON_TABLE(CONVERT(CONCAT('[', @offers, ']') USING utf8mb4), '$[*]' COLUMNS (batch CHAR(32) PATH '$[0]')) o
JOIN hammerwork_batches b ON b.id = UNHEX(o.batch)

-- name: forget_statistics
DELETE FROM hammerwork_statistics WHERE minute < UTC_TIMESTAMP() - INTERVAL 7 DAY

-- name: retire
SET @held = NULL;
SELECT EXISTS (SELECT 1 FROM hammerwork_claims WHERE worker_id = :worker) INTO @held;
DELETE FROM hammerwork_workers WHERE id = IF(@held, NULL, :worker)

-- name: workers_of_instance
SELECT id FROM hammerwork_workers WHERE instance = :instance AND id <> :worker ORDER BY id

-- name: retire_others
DELETE FROM hammerwork_workers WHERE id IN (:ids)
