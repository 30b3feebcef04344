-- Suspend, resume, cancel, retry, delete, pause. A batch is locked FOR UPDATE to change its state: that waits for whoever
-- offers chunks of it. Then its rows of hammerwork_ready go, which waits for the claims that are being taken (they hold
-- these rows): after the commit, no claim of the batch is possible.

-- name: lock_batch_into
SET @batch = NULL, @state = NULL, @sealed = NULL, @suspended = NULL, @queue = NULL, @rank = NULL, @finished = NULL,
    @total = NULL, @completed = NULL;
START TRANSACTION;
SELECT id, state, sealed_at IS NOT NULL, suspended, queue, `rank`, finished_at IS NOT NULL, total, completed
    INTO @batch, @state, @sealed, @suspended, @queue, @rank, @finished, @total, @completed
    FROM hammerwork_batches WHERE id = :batch FOR UPDATE;

-- name: withdraw_all
-- Takes the batch @withdrawn out of the claimers' sight.
DELETE FROM hammerwork_ready
    WHERE queue = @queue AND precedence IN (0, 1, 2, 3, 4) AND `rank` = @rank AND batch_id = @withdrawn;

-- name: offer_all
-- Lets claimers see all ready chunks of the batch @offered, which is locked and may be worked on.
INSERT INTO hammerwork_ready (queue, precedence, `rank`, batch_id)
    SELECT @queue, p.precedence, @rank, @offered
    FROM JSON_TABLE('[0, 1, 2, 3, 4]', '$[*]' COLUMNS (precedence INT PATH '$')) p
    WHERE @offered IS NOT NULL AND EXISTS (
        SELECT 1 FROM hammerwork_chunks c
        WHERE c.batch_id = @offered AND c.precedence = p.precedence AND c.state = 'ready')
    ON DUPLICATE KEY UPDATE batch_id = hammerwork_ready.batch_id;

-- name: finish
-- Ends the stopped batch @stopped, which is locked, once no worker holds anything of it.
SELECT IF(@stopped IS NULL OR EXISTS (SELECT 1 FROM hammerwork_claims WHERE batch_id = @stopped), NULL, @stopped)
    INTO @stopped;
UPDATE hammerwork_batches SET finished_at = UTC_TIMESTAMP(6) WHERE id = @stopped;

-- name: finish_stopped
-- Locked by somebody else, or with a last claim that is being settled at this moment, the batch is left to the next call.
SET @stopped = NULL;
START TRANSACTION;
SELECT id INTO @stopped FROM hammerwork_batches
    WHERE id = :batch AND state IN ('Failed', 'Cancelled') AND finished_at IS NULL FOR UPDATE SKIP LOCKED;
{finish}
COMMIT

-- name: cancel
{lock_batch_into}
SET @withdrawn = IF(@state IN ('Loading', 'Pending'), @batch, NULL);
SET @stopped = IF(@withdrawn IS NOT NULL OR (@state IN ('Failed', 'Cancelled') AND NOT @finished), @batch, NULL);
UPDATE hammerwork_batches SET state = 'Cancelled' WHERE id = @withdrawn;
{withdraw_all}
{finish}
COMMIT

-- name: suspend
-- Returns the batch's queue; null: there is no such batch.
{lock_batch_into}
SET @batch = IF(@state IN ('Deleting', 'Abandoned'), NULL, @batch);
UPDATE hammerwork_batches SET suspended = :suspended WHERE id = @batch;
SET @withdrawn = IF(:suspended, @batch, NULL), @offered = IF(:suspended OR @state <> 'Pending', NULL, @batch);
{withdraw_all}
{offer_all}
COMMIT;
SELECT IF(@batch IS NULL, NULL, @queue) AS queue

-- name: pause
INSERT INTO hammerwork_queues (name, paused, paused_at) VALUES (:queue, :paused, IF(:paused, UTC_TIMESTAMP(6), NULL))
ON DUPLICATE KEY UPDATE
    paused_at = IF(hammerwork_queues.paused = :paused, hammerwork_queues.paused_at, IF(:paused, UTC_TIMESTAMP(6), NULL)),
    paused = :paused

-- name: delete
-- Begins the deletion of a batch. From here on it is shown to nobody, and what still happens to its claims changes nothing.
{lock_batch_into}
SET @withdrawn = IF(:state = 'Deleting' OR @state = 'Loading', @batch, NULL);
UPDATE hammerwork_batches SET state = :state WHERE id = @withdrawn;
{withdraw_all}
COMMIT;
SELECT @withdrawn IS NOT NULL AS there

-- name: delete_slice
-- Removes up to :limit rows of a batch that is being deleted, and in the end the batch; `more` 0: nothing was left. Claims
-- go first, then chunks: whoever settles a claim holds it, so no chunk of it can appear behind the deletion of the chunks.
SET @batch = NULL, @claims = NULL, @chunks = NULL, @deleted = 0, @more = 0;
START TRANSACTION;
SELECT id INTO @batch FROM hammerwork_batches WHERE id = :batch AND state IN ('Deleting', 'Abandoned');
SELECT CONCAT('[', GROUP_CONCAT(id ORDER BY id), ']') INTO @claims
    FROM (SELECT id FROM hammerwork_claims WHERE batch_id = @batch LIMIT :limit) c;
DELETE c FROM JSON_TABLE(@claims, '$[*]' COLUMNS (id BIGINT PATH '$')) s STRAIGHT_JOIN hammerwork_claims c ON c.id = s.id;
SELECT CONCAT('[', GROUP_CONCAT(id ORDER BY id), ']') INTO @chunks
    FROM (SELECT id FROM hammerwork_chunks WHERE batch_id = IF(@claims IS NULL, @batch, NULL) LIMIT :limit) c;
DELETE c FROM JSON_TABLE(@chunks, '$[*]' COLUMNS (id BIGINT PATH '$')) s STRAIGHT_JOIN hammerwork_chunks c ON c.id = s.id;
SET @more = @claims IS NOT NULL OR @chunks IS NOT NULL;
DELETE FROM hammerwork_failures WHERE batch_id = IF(@more, NULL, @batch) LIMIT :limit;
SET @deleted = ROW_COUNT();
SET @more = @more OR @deleted > 0;
DELETE FROM hammerwork_pages WHERE batch_id = IF(@more, NULL, @batch) LIMIT :limit;
SET @deleted = ROW_COUNT();
SET @more = @more OR @deleted > 0;
DELETE FROM hammerwork_batches WHERE id = IF(@more, NULL, @batch) AND state IN ('Deleting', 'Abandoned');
SET @deleted = ROW_COUNT();
SET @more = @more OR @deleted > 0;
COMMIT;
SELECT @more AS more

-- name: retry
-- Begins to run failed jobs of an ended batch again, from their first attempt, and those that a failed FailFast batch
-- cancelled: the jobs that :chosen names, null: all; it is what :types and :spans say as a text. Returns how many jobs that will be;
-- -1 when the batch has not ended, or was cancelled; null: there is none. An :attempt that is not above the batch's does nothing.
{lock_batch_into}
SET @retry_attempt = 0, @retry_chosen = NULL, @retry_from = 0, @matching = 0;
SELECT retry_attempt, retry_chosen, IF(@state = 'Retrying', retry_from, 0), failed
    INTO @retry_attempt, @retry_chosen, @retry_from, @failed FROM hammerwork_batches WHERE id = @batch;
SET @was = CASE WHEN @batch IS NULL OR @state IN ('Deleting', 'Abandoned') THEN 'none'
                WHEN COALESCE(:attempt <= @retry_attempt, FALSE) THEN 'done'
                WHEN @state = 'Retrying' AND :attempt IS NULL AND @retry_chosen <=> :chosen THEN 'begun'
                WHEN NOT @finished OR @state = 'Cancelled' THEN 'refused'
                ELSE 'ended' END;
UPDATE hammerwork_batches SET retry_attempt = COALESCE(:attempt, retry_attempt) WHERE id = IF(@was = 'ended', @batch, NULL);
SELECT COUNT(*) INTO @matching FROM hammerwork_failures
    WHERE :chosen IS NOT NULL AND batch_id = IF(@was IN ('begun', 'ended'), @batch, NULL) AND idx >= @retry_from AND final
      AND (:any_type OR error_type IN (:types))
      AND (:any_index OR EXISTS (
          SELECT 1 FROM JSON_TABLE(:spans, '$[*]' COLUMNS (lo INT PATH '$[0]', hi INT PATH '$[1]')) s
          WHERE hammerwork_failures.idx BETWEEN s.lo AND s.hi));
SET @retried = IF(@was = 'ended' AND @state <> 'Completed' AND (:chosen IS NULL OR @matching > 0), @batch, NULL),
    @done = 0, @undone = 0;
-- What an ended batch still has of chunks was cut short: count what they did in the batch, keep their rest. Nobody else
-- locks chunks of an ended batch without the batch.
SELECT CAST(COALESCE(SUM(completed), 0) AS SIGNED), CAST(COALESCE(SUM(failed), 0) AS SIGNED) INTO @done, @undone
    FROM hammerwork_chunks WHERE batch_id = @retried AND started_at > '1000-01-01';
DELETE FROM hammerwork_chunks WHERE batch_id = @retried AND started_at > '1000-01-01' AND next = size;
UPDATE hammerwork_chunks SET completed = 0, failed = 0, moved = next, state = 'ready', run_at = NULL, started_at = NULL
    WHERE batch_id = @retried AND started_at > '1000-01-01';
UPDATE hammerwork_batches SET state = 'Retrying', finished_at = NULL, completed = completed + @done, failed = failed + @undone,
        retried_at = UTC_TIMESTAMP(6), retry_chosen = :chosen, retry_from = 0
    WHERE id = @retried;
COMMIT;
SELECT CAST(CASE WHEN @was = 'none' THEN NULL WHEN @was = 'refused' THEN -1 WHEN @was = 'done' THEN 0
                 WHEN @was = 'ended' AND @retried IS NULL THEN 0
                 ELSE @total - @completed - @done - IF(:chosen IS NULL, 0, @failed + @undone - @matching) END AS SIGNED) AS jobs

-- name: retry_next
-- The next failures of a batch that is being retried; no row with `idx`: there are none. No row: it is not being retried.
SELECT b.priorities, b.retry_chosen, b.retry_from, f.idx, f.final, f.error_type FROM hammerwork_batches b
LEFT JOIN (
    SELECT batch_id, idx, final, error_type FROM hammerwork_failures
    WHERE batch_id = :batch AND idx >= (SELECT retry_from FROM hammerwork_batches WHERE id = :batch)
    ORDER BY idx, attempt LIMIT :limit
) f ON f.batch_id = b.id
WHERE b.id = :batch AND b.state = 'Retrying' ORDER BY f.idx

-- name: retry_slice
-- Turns the jobs :indexes (:all: all that failed) among :first..:last into the chunks that the caller has made of them:
-- [[priority, lo, hi, size, spans], ...]. Somebody else may have done it since the caller looked: then the batch goes on at another
-- index than :first, or fewer failures than :expected are there.
{lock_batch_into}
SELECT IF(@state = 'Retrying' AND retry_from = :first, @batch, NULL) INTO @batch FROM hammerwork_batches WHERE id = @batch;
DELETE FROM hammerwork_failures WHERE batch_id = @batch AND idx BETWEEN :first AND :last AND (:all OR idx IN (:indexes));
SET @deleted = ROW_COUNT();
INSERT INTO hammerwork_chunks (batch_id, precedence, state, lo, hi, spans, size)
    SELECT @batch, 4 - c.priority, 'ready', c.lo, c.hi, c.spans, c.size
    FROM JSON_TABLE(:chunks, '$[*]' COLUMNS (
        priority INT PATH '$[0]', lo INT PATH '$[1]', hi INT PATH '$[2]', size INT PATH '$[3]',
        spans TEXT CHARACTER SET utf8mb4 PATH '$[4]')) c
    WHERE @batch IS NOT NULL AND @deleted >= :expected;
UPDATE hammerwork_batches SET retry_from = :last + 1, failed = failed - IF(:all, 0, :jobs) WHERE id = @batch;
COMMIT

-- name: retry_end
-- After the last slice the batch can be claimed.
{lock_batch_into}
SELECT IF(@state = 'Retrying' AND NOT EXISTS (
        SELECT 1 FROM hammerwork_failures WHERE batch_id = @batch AND idx >= b.retry_from), @batch, NULL)
    INTO @batch FROM hammerwork_batches b WHERE id = @batch;
UPDATE hammerwork_batches SET state = 'Pending', failed = IF(retry_chosen IS NULL, 0, failed) WHERE id = @batch;
UPDATE hammerwork_batches SET retry_chosen = NULL, retry_from = 0 WHERE id = @batch;
SET @offered = IF(@suspended, NULL, @batch);
{offer_all}
COMMIT

-- name: unfinished
-- Batches that somebody has to bring to an end: those whose deletion, abandonment or retry was cut off, and stopped ones
-- that no worker works on any more.
SELECT id, state, queue FROM hammerwork_batches
WHERE state IN ('Abandoned', 'Deleting', 'Retrying') OR (
    state IN ('Failed', 'Cancelled') AND finished_at IS NULL
    AND NOT EXISTS (SELECT 1 FROM hammerwork_claims k WHERE k.batch_id = hammerwork_batches.id))
LIMIT :limit

-- name: workable_batches
SELECT id FROM hammerwork_batches
WHERE id IN (:batches) AND NOT suspended AND state NOT IN ('Failed', 'Cancelled', 'Deleting')
