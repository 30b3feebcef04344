-- Storing batches. Each text is one round trip or a part of one.

-- name: insert_batch
INSERT INTO hammerwork_batches (
    id, name, queue, failure_mode, state, suspended, total, batch_size, max_attempts, timeout_seconds, retry_policy,
    top_priority, priorities, `rank`, metadata, fingerprint, created_at, sealed_at, retry_attempt
) VALUES (
    :id, :name, :queue, :failure_mode, :state, :suspended, :total, :batch_size, :max_attempts, :timeout_seconds,
    :retry_policy, :top_priority, :priorities, FLOOR(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000), :metadata, :fingerprint,
    UTC_TIMESTAMP(6), IF(:state = 'Pending', UTC_TIMESTAMP(6), NULL), :retry_attempt
)

-- name: unless_there
ON DUPLICATE KEY UPDATE id = hammerwork_batches.id

-- name: stored_batch
SELECT state, sealed_at IS NOT NULL AS sealed, total, fingerprint FROM hammerwork_batches WHERE id = :batch

-- name: insert_chunks
-- :chunks is [[lo, hi, priority], ...].
INSERT INTO hammerwork_chunks (batch_id, precedence, state, lo, hi, size)
SELECT :batch, 4 - c.priority, 'ready', c.lo, c.hi, c.hi - c.lo + 1
FROM JSON_TABLE(:chunks, '$[*]' COLUMNS (lo INT PATH '$[0]', hi INT PATH '$[1]', priority INT PATH '$[2]')) c
ORDER BY c.lo

-- name: insert_ready
INSERT INTO hammerwork_ready (queue, precedence, `rank`, batch_id)
SELECT DISTINCT b.queue, 4 - c.priority, b.`rank`, b.id
FROM hammerwork_batches b
CROSS JOIN JSON_TABLE(:chunks, '$[*]' COLUMNS (priority INT PATH '$[2]')) c
WHERE b.id = :batch

-- name: lock_batch
START TRANSACTION;
SELECT state, sealed_at IS NOT NULL AS sealed, total, priorities FROM hammerwork_batches WHERE id = :batch FOR UPDATE

-- name: end_append
UPDATE hammerwork_batches SET total = :total, priorities = :priorities WHERE id = :batch;
COMMIT

-- name: seal
-- Makes a loaded batch claimable, all at once, if it has :total jobs: a server that crashed may have forgotten the last ones.
-- Returns its state.
{lock_batch_into}
SET @sealing = @state = 'Loading' AND @total = :total;
SELECT 4 - MIN(precedence) INTO @top FROM hammerwork_chunks WHERE batch_id = IF(@sealing, @batch, NULL);
UPDATE hammerwork_batches SET state = 'Pending', sealed_at = UTC_TIMESTAMP(6), top_priority = @top
    WHERE id = IF(@sealing, @batch, NULL);
SET @sealed = IF(@sealing, 1, @sealed), @state = IF(@sealing, 'Pending', @state),
    @offered = IF(@sealing AND NOT @suspended, @batch, NULL);
{offer_all}
COMMIT;
SELECT @state AS state, COALESCE(@sealed, 0) AS sealed
