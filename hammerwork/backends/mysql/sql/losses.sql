-- Claims that nobody works on: of workers that are gone, and such as never reached their worker.

-- name: lost_claim
-- One claim whose worker is gone: its lease is over by the upkeep's clock, or another process has taken its place.
SET @candidate = NULL, @clock = NULL, @lost = 1;
SELECT clock INTO @clock FROM hammerwork_upkeep WHERE id = 1;
SELECT k.id INTO @candidate FROM hammerwork_workers w
    STRAIGHT_JOIN hammerwork_claims k FORCE INDEX (hammerwork_claims_worker) ON k.worker_id = w.id
    WHERE w.heard < @clock - w.lease_seconds LIMIT 1;
SELECT k.id INTO @candidate FROM hammerwork_claims k
    WHERE @candidate IS NULL AND NOT EXISTS (SELECT 1 FROM hammerwork_workers w WHERE w.id = k.worker_id) LIMIT 1;

-- name: unknown_claim
-- One claim that its living worker does not know of: :held are those it knows, and claims of the last :seconds_us may still be
-- on their way.
SET @candidate = NULL, @lost = 0;
SELECT id INTO @candidate FROM hammerwork_claims FORCE INDEX (hammerwork_claims_worker)
    WHERE worker_id = :worker AND id NOT IN (:held)
      AND claimed_at <= UTC_TIMESTAMP(6) - INTERVAL :seconds_us MICROSECOND LIMIT 1;

-- name: put_back
-- Gives the jobs of the claim @candidate back to the queue. With @lost its worker is gone: a job that three of them had begun
-- to run, alone, when they were lost is taken to have killed them, and fails.
SET @claim = NULL, @worker = NULL, @chunk = NULL, @batch = NULL, @there = NULL, @state = NULL, @ended = NULL, @jobs = NULL,
    @queue = NULL, @rank = NULL, @withdrawn = NULL, @offers = NULL;
START TRANSACTION;
SELECT id, worker_id, chunk_id, batch_id, lo, hi, `open`, remaining, started
    INTO @claim, @worker, @chunk, @batch, @lo, @hi, @open, @remaining, @started
    FROM hammerwork_claims WHERE id = @candidate FOR UPDATE SKIP LOCKED;
DELETE FROM hammerwork_claims WHERE id = @claim;
SELECT id, precedence, place, attempt, claim_limit, lost_by, lost_before, size, completed, failed, moved, started_at
    INTO @there, @precedence, @place, @attempt, @claim_limit, @lost_by, @lost_before, @size, @completed, @failed, @moved, @begun
    FROM hammerwork_chunks WHERE id = @chunk FOR UPDATE;
SELECT state, failure_mode, queue INTO @state, @mode, @queue FROM hammerwork_batches WHERE id = IF(@there IS NULL, NULL, @batch)
    FOR UPDATE;
SET @blamed = @lost AND @started;
SET @culprit = COALESCE(@there IS NOT NULL AND @blamed AND @lost_by IS NOT NULL AND @lost_before IS NOT NULL AND @state = 'Pending', 0);
SELECT COUNT(*), MIN(s.lo), MAX(s.hi) INTO @count, @first, @last
    FROM JSON_TABLE(@remaining, '$[*]' COLUMNS (lo INT PATH '$[0]', hi INT PATH '$[1]')) s;
INSERT INTO hammerwork_failures (batch_id, idx, attempt, final, error_type, message, failed_at)
    SELECT @batch, COALESCE(@first, @lo), @attempt, TRUE, 'WorkerLost',
           'the worker vanished three times while it ran this job and nothing else', UTC_TIMESTAMP(6)
    FROM DUAL WHERE @culprit
    ON DUPLICATE KEY UPDATE attempt = hammerwork_failures.attempt;
INSERT INTO hammerwork_chunks (batch_id, precedence, place, attempt, state, lo, hi, spans, size, claim_limit, lost_by, lost_before)
    SELECT @batch, @precedence, @place, @attempt, 'ready', COALESCE(@first, @lo), COALESCE(@last, @hi),
           IF(@count > 1, @remaining, NULL), @open, IF(@lost, GREATEST(1, @open DIV 4), @claim_limit),
           IF(@blamed, @worker, @lost_by), IF(@blamed, COALESCE(@lost_by, @lost_before), @lost_before)
    FROM DUAL WHERE @there IS NOT NULL AND NOT @culprit;
SET @failed = @failed + @culprit, @moved = @moved + IF(@culprit, 0, @open),
    @jobs = CASE WHEN @claim IS NULL THEN NULL WHEN @there IS NULL THEN 0 WHEN @culprit THEN 1 ELSE @open END,
    @offers = IF(@there IS NULL OR @culprit, NULL, JSON_ARRAY(HEX(@batch), @precedence)),
    @stopped = IF(@culprit AND @mode = 'FailFast', @batch, NULL);
SET @ended = IF(@completed + @failed + @moved < @size, NULL, @there);
UPDATE hammerwork_chunks SET failed = @failed, moved = @moved WHERE id = IF(@ended IS NULL, @there, NULL);
DELETE FROM hammerwork_chunks WHERE id = @ended;
UPDATE hammerwork_batches SET state = 'Failed' WHERE id = @stopped;
UPDATE hammerwork_batches SET
        finished_at = IF(state = 'Pending' AND completed + failed + @completed + @failed = total, UTC_TIMESTAMP(6), finished_at),
        state = CASE WHEN state <> 'Pending' OR completed + failed + @completed + @failed < total THEN state
                     WHEN failed + @failed > 0 THEN 'CompletedWithErrors' ELSE 'Completed' END,
        started_at = COALESCE(LEAST(started_at, @begun), started_at, @begun),
        completed = completed + @completed, failed = failed + @failed
    WHERE id = IF(@ended IS NULL, NULL, @batch);
SELECT queue, `rank`, IF(@stopped IS NULL, NULL, id) INTO @queue, @rank, @withdrawn FROM hammerwork_batches WHERE id = @batch;
{withdraw_all}
{offer}
COMMIT;
SELECT CAST(@jobs AS SIGNED) AS jobs, @queue AS queue, b.id AS stopped FROM (SELECT 1 AS one) one
LEFT JOIN hammerwork_batches b ON b.id = @batch AND b.state IN ('Failed', 'Cancelled') AND b.finished_at IS NULL

-- name: lost_workers
SELECT w.id FROM hammerwork_workers w JOIN hammerwork_upkeep u ON u.id = 1
WHERE w.heard < u.clock - w.lease_seconds AND NOT EXISTS (SELECT 1 FROM hammerwork_claims k WHERE k.worker_id = w.id)
ORDER BY w.id

-- name: forget_workers
-- By their ids, with another look: one of them may have come back.
SET @clock = NULL;
SELECT clock INTO @clock FROM hammerwork_upkeep WHERE id = 1;
DELETE FROM hammerwork_workers WHERE id IN (:ids) AND heard < @clock - lease_seconds

-- name: workers_at
-- Of these instances, those of their processes (INSTANCE/NUMBER) included; silent: not heard for this share of the lease, or
-- taken for ended whatever was heard (a share of 0).
SELECT w.id, SUBSTRING_INDEX(w.instance, '/', 1) AS instance,
       :share = 0 OR w.heard <= u.clock - :share * w.lease_seconds AS silent
FROM hammerwork_workers w JOIN hammerwork_upkeep u ON u.id = 1
WHERE SUBSTRING_INDEX(w.instance, '/', 1) IN (:instances) ORDER BY w.id

-- name: forget_silent
-- By their ids, with another look: one of them may have been heard of.
SET @clock = NULL;
SELECT clock INTO @clock FROM hammerwork_upkeep WHERE id = 1;
DELETE FROM hammerwork_workers WHERE id IN (:ids) AND (:share = 0 OR heard <= @clock - :share * lease_seconds)
