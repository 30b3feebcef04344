-- Each text is one round trip. A text of several statements is one short transaction that the server runs to its end by
-- itself, so a client that vanishes leaves no lock behind. User variables carry values from one statement to the next, lists
-- of rows as JSON; every text sets the ones it reads. A condition on a variable that is not met makes a statement find no
-- row. What is assigned in one SET must not depend on what else is assigned there.
--
-- Order of row locks, which keeps the texts free of deadlocks: claims, chunks, batches, each by their ids, then rows of
-- hammerwork_ready. Taking new claims never waits (SKIP LOCKED) and is always the last thing. Rows of one table are locked
-- and removed by their primary keys: a search by another index locks that index first, and meets an update that goes the
-- other way. FORCE INDEX stands wherever a list of ids meets a table: of a small one the optimizer reads all rows, and waits
-- for those that others have locked. Variables are read from tables by SELECT … INTO, never by SET or in a DELETE: there a
-- subquery locks what it reads. Tables of JSON cannot be locked, which MySQL wants to be told (OF).
--
-- /*M! IF … THEN */ and /*M! END IF; */ are read by MariaDB only: there each statement with a table of JSON costs 0.1 ms or
-- more, also if the table is empty. MySQL runs these statements, which find no row then.

-- name: begin
SET @bad = NULL;
START TRANSACTION;

-- name: commit
COMMIT;

-- name: update_c
/*M! FOR UPDATE */ /*!80000 FOR UPDATE OF c */

-- name: held
JSON_TABLE(@held, '$[*]' COLUMNS (
        claim BIGINT PATH '$[0]', chunk BIGINT PATH '$[1]', batch CHAR(32) PATH '$[2]', `open` INT PATH '$[3]',
        reported INT PATH '$[4]', counts INT PATH '$[5]', ends INT PATH '$[6]', completed INT PATH '$[7]',
        failed INT PATH '$[8]', moved INT PATH '$[9]', last_lo BIGINT PATH '$[10]', last_hi BIGINT PATH '$[11]')) h

-- name: told
JSON_TABLE(@chunks, '$[*]' COLUMNS (
        id BIGINT PATH '$[0]', batch CHAR(32) PATH '$[1]', completed INT PATH '$[2]', failed INT PATH '$[3]',
        moved INT PATH '$[4]', ends INT PATH '$[5]', back INT PATH '$[6]', fails INT PATH '$[7]',
        started_at CHAR(26) PATH '$[8]')) t

-- name: settle_claims
-- Reports are [[claim, open, outcomes, ends, completed, failed, moved, last_lo, last_hi], ...] by ascending ids: `moved` are
-- the jobs that are tried again or were not started, last_lo..last_hi the last of the spans that were not started, or -1.
-- Fenced: a claim that is not this worker's is not touched, nor one with more open jobs than it knows of, as a crash made the
-- server forget a report. One whose books differ from the report spoils all (@bad), unless the report came twice.
SET @bad = NULL, @held = NULL, @chunks = NULL, @touched = NULL, @batches = NULL, @offers = NULL;
START TRANSACTION;
SELECT CONCAT('[', GROUP_CONCAT(JSON_ARRAY(
           q.id, q.chunk_id, HEX(q.batch_id), q.`open`, q.reported, IF(q.`open` = q.reported, 1, 0), q.ends, q.completed,
           q.failed, q.moved, q.last_lo, q.last_hi)), ']'),
       SUM(q.`open` <> q.reported AND NOT (q.ends = 0 AND q.`open` = q.reported - q.outcomes))
    INTO @held, @bad
    FROM (
        SELECT c.id, c.chunk_id, c.batch_id, c.`open`, r.reported, r.outcomes, r.ends, r.completed, r.failed, r.moved,
               r.last_lo, r.last_hi
        FROM JSON_TABLE(:reports, '$[*]' COLUMNS (
            claim BIGINT PATH '$[0]', reported INT PATH '$[1]', outcomes INT PATH '$[2]', ends INT PATH '$[3]',
            completed INT PATH '$[4]', failed INT PATH '$[5]', moved INT PATH '$[6]', last_lo INT PATH '$[7]',
            last_hi INT PATH '$[8]')) r
        STRAIGHT_JOIN hammerwork_claims c FORCE INDEX (PRIMARY) ON c.id = r.claim
        WHERE c.worker_id = :worker AND c.`open` <= r.reported LIMIT 1000 {update_c}
    ) q;
SET @bad = COALESCE(@bad, 0);
DELETE c FROM {held} STRAIGHT_JOIN hammerwork_claims c FORCE INDEX (PRIMARY) ON c.id = h.claim WHERE h.ends = 1 AND @bad = 0;

-- name: settle_keep
UPDATE hammerwork_claims SET `open` = `open` - :outcomes, remaining = :remaining
    WHERE id = :claim AND worker_id = :worker AND `open` = :open AND @bad = 0;

-- name: settle_chunks
-- Locks the chunks and adds up what they will have: `ends` when nothing is left of them, `back` where the cursor goes if what
-- was handed out last goes back, `fails` if that ends the batch.
SELECT CONCAT('[', GROUP_CONCAT(JSON_ARRAY(
           q.id, HEX(q.batch_id), q.completed, q.failed, q.moved - IF(q.back IS NULL, 0, q.last_hi - q.last_lo + 1),
           IF(q.completed + q.failed + q.moved - IF(q.back IS NULL, 0, q.last_hi - q.last_lo + 1) < q.size, 0, 1), q.back,
           IF(q.failing AND (SELECT b.failure_mode = 'FailFast' FROM hammerwork_batches b WHERE b.id = q.batch_id), 1, 0),
           q.started_at)), ']'),
       MAX(q.failing OR q.completed + q.failed + q.moved >= q.size)
    INTO @chunks, @touched
    FROM (
        SELECT c.id, c.batch_id, c.size, c.started_at, c.completed + g.completed AS completed, c.failed + g.failed AS failed,
               c.moved + g.moved AS moved, g.failed > 0 AS failing, g.last DIV 4294967296 AS last_hi,
               g.last MOD 4294967296 AS last_lo,
               IF(c.spans IS NULL AND g.last >= 0 AND g.last DIV 4294967296 = c.lo + c.next - 1,
                  g.last MOD 4294967296 - c.lo, NULL) AS back
        FROM (
            SELECT h.chunk, CAST(SUM(h.completed) AS SIGNED) AS completed, CAST(SUM(h.failed) AS SIGNED) AS failed,
                   CAST(SUM(h.moved) AS SIGNED) AS moved,
                   MAX(IF(h.last_hi < 0, -1, h.last_hi * 4294967296 + h.last_lo)) AS last
            FROM {held} WHERE h.counts = 1 AND @bad = 0 GROUP BY h.chunk ORDER BY h.chunk LIMIT 1000
        ) g
        STRAIGHT_JOIN hammerwork_chunks c FORCE INDEX (PRIMARY) ON c.id = g.chunk LIMIT 1000 {update_c}
    ) q;

-- name: settle_details
-- Of one report, before its chunk changes. @offers are the priorities of batches that get ready chunks.
SET @chunk = NULL;
SELECT h.chunk INTO @chunk FROM {held} WHERE h.claim = :claim AND h.counts = 1 AND @bad = 0;
SELECT batch_id, precedence, place, attempt, claim_limit, lost_by, lost_before, COALESCE(spans IS NULL AND lo + next - 1 = :last_hi, 0)
    INTO @batch, @precedence, @place, @attempt, @claim_limit, @lost_by, @lost_before, @back
    FROM hammerwork_chunks WHERE id = @chunk;

-- name: settle_failures
-- Once a CollectErrors batch has 10,000 failures, no tracebacks are kept, and no attempts that are retried.
SET @full = NULL;
SELECT COUNT(*) = 10000 INTO @full FROM (
    SELECT 1 FROM hammerwork_failures
    WHERE batch_id = (SELECT id FROM hammerwork_batches WHERE id = @batch AND failure_mode = 'CollectErrors') LIMIT 10000) f;
INSERT INTO hammerwork_failures (batch_id, idx, attempt, final, error_type, message, traceback, failed_at)
SELECT @batch, f.idx, f.attempt, f.final, f.error_type, f.message, IF(@full, NULL, f.traceback), UTC_TIMESTAMP(6)
FROM JSON_TABLE(:failures, '$[*]' COLUMNS (
    idx INT PATH '$.idx', attempt INT PATH '$.attempt', final INT PATH '$.final',
    error_type TEXT CHARACTER SET utf8mb4 PATH '$.error_type', message TEXT CHARACTER SET utf8mb4 PATH '$.message',
    traceback TEXT CHARACTER SET utf8mb4 PATH '$.traceback')) f
WHERE @chunk IS NOT NULL AND (f.final OR NOT @full)
ON DUPLICATE KEY UPDATE attempt = hammerwork_failures.attempt;

-- name: settle_retries
-- A FailFast batch that allows retries wants to know soon whether the job fails for good.
SELECT failure_mode = 'FailFast', 4 - top_priority INTO @first, @top FROM hammerwork_batches WHERE id = @batch;
SET @goal = IF(@first, @top, @precedence);
INSERT INTO hammerwork_chunks (batch_id, precedence, place, attempt, state, lo, hi, spans, size, run_at)
SELECT @batch, @goal, IF(@first, -1, 0), @attempt + 1, IF(:delay > 0, 'scheduled', 'ready'), :lo, :hi, :spans, :size,
       IF(:delay > 0, UTC_TIMESTAMP(6) + INTERVAL FLOOR(:delay * 1000000) MICROSECOND, NULL)
FROM DUAL WHERE @chunk IS NOT NULL;
SET @offers = NULLIF(CONCAT_WS(',', @offers, IF(@chunk IS NULL OR :delay > 0, NULL, JSON_ARRAY(HEX(@batch), @goal))), '');

-- name: settle_released
-- What was handed out last goes back by moving the cursor (see settle_chunks), the rest to a chunk of its own.
INSERT INTO hammerwork_chunks (batch_id, precedence, place, attempt, state, lo, hi, spans, size, claim_limit, lost_by, lost_before)
SELECT @batch, @precedence, @place, @attempt, 'ready', :lo, IF(@back, :rest_hi, :hi), IF(@back, :rest_spans, :spans),
       IF(@back, :rest_size, :size), @claim_limit, @lost_by, @lost_before
FROM DUAL WHERE @chunk IS NOT NULL AND NOT (@back AND :rest_size = 0);
SET @offers = NULLIF(CONCAT_WS(',', @offers, IF(@chunk IS NULL, NULL, JSON_ARRAY(HEX(@batch), @precedence))), '');

-- name: settle_counts
-- Writes to the chunks, then to the batches of those that have ended, of those that get ready chunks, and of failures that
-- end them. A failure of the last job must find the batch still open, so it is looked at first.
/*M! IF @touched THEN */
DELETE c FROM {told} STRAIGHT_JOIN hammerwork_chunks c FORCE INDEX (PRIMARY) ON c.id = t.id WHERE t.ends = 1;
/*M! END IF; */
UPDATE {told} STRAIGHT_JOIN hammerwork_chunks c FORCE INDEX (PRIMARY) ON c.id = t.id
    SET c.completed = t.completed, c.failed = t.failed, c.moved = t.moved, c.state = IF(t.back IS NULL, c.state, 'ready'),
        c.next = COALESCE(t.back, c.next)
    WHERE t.ends = 0;
/*M! IF @touched OR @offers IS NOT NULL THEN */
SELECT CONCAT('[', GROUP_CONCAT(JSON_ARRAY(
           HEX(q.id), q.completed, q.failed, q.started_at, IF(q.stops, 1, 0), IF(q.finishes, 1, 0),
           CASE WHEN q.stops THEN 'Failed' WHEN NOT q.finishes THEN q.state
                WHEN q.failed > 0 THEN 'CompletedWithErrors' ELSE 'Completed' END)), ']')
    INTO @batches
    FROM (
        SELECT c.id, c.state, c.completed + g.completed AS completed, c.failed + g.failed AS failed,
               COALESCE(LEAST(c.started_at, g.started_at), c.started_at, g.started_at) AS started_at,
               g.fails AND c.state IN ('Loading', 'Pending') AS stops,
               c.state = 'Pending' AND NOT g.fails AND c.completed + c.failed + g.completed + g.failed = c.total AS finishes
        FROM (
            SELECT u.batch, CAST(SUM(u.completed) AS SIGNED) AS completed, CAST(SUM(u.failed) AS SIGNED) AS failed,
                   MAX(u.fails) AS fails, MIN(u.started_at) AS started_at
            FROM (
                SELECT t.batch, t.ends * t.completed AS completed, t.ends * t.failed AS failed, t.fails,
                       IF(t.ends, t.started_at, NULL) AS started_at
                FROM {told} WHERE t.ends = 1 OR t.fails = 1
                UNION ALL
                SELECT o.batch, 0, 0, 0, NULL
                FROM JSON_TABLE(CONVERT(CONCAT('[', @offers, ']') USING utf8mb4), '$[*]' COLUMNS (batch CHAR(32) PATH '$[0]')) o
            ) u GROUP BY u.batch ORDER BY u.batch LIMIT 1000
        ) g
        STRAIGHT_JOIN hammerwork_batches c FORCE INDEX (PRIMARY) ON c.id = UNHEX(g.batch) LIMIT 1000 {update_c}
    ) q;
UPDATE JSON_TABLE(@batches, '$[*]' COLUMNS (
        batch CHAR(32) PATH '$[0]', completed BIGINT PATH '$[1]', failed BIGINT PATH '$[2]', started_at CHAR(26) PATH '$[3]',
        finishes INT PATH '$[5]', state CHAR(32) PATH '$[6]')) t
    STRAIGHT_JOIN hammerwork_batches b FORCE INDEX (PRIMARY) ON b.id = UNHEX(t.batch)
    SET b.state = t.state, b.completed = t.completed, b.failed = t.failed, b.started_at = t.started_at,
        b.finished_at = IF(t.finishes, UTC_TIMESTAMP(6), b.finished_at);
/*M! END IF; */

-- name: settle_withdraw
-- Batches that have just failed go out of the claimers' sight.
DELETE y FROM JSON_TABLE(@batches, '$[*]' COLUMNS (batch CHAR(32) PATH '$[0]', stops INT PATH '$[4]')) t
    STRAIGHT_JOIN hammerwork_batches b FORCE INDEX (PRIMARY) ON b.id = UNHEX(t.batch)
    STRAIGHT_JOIN JSON_TABLE('[0, 1, 2, 3, 4]', '$[*]' COLUMNS (precedence INT PATH '$')) p
    STRAIGHT_JOIN hammerwork_ready y FORCE INDEX (PRIMARY)
        ON y.queue = b.queue AND y.precedence = p.precedence AND y.`rank` = b.`rank` AND y.batch_id = b.id
    WHERE t.stops = 1;

-- name: offer
-- Lets claimers see ready chunks of the priorities @offers, [batch, precedence], ..., if their batches may be worked on. Locks
-- the batches, and the rows that are there already: a claimer that finds no chunk takes a row out unless it is locked.
SET @missing = NULL;
SELECT CONCAT('[', GROUP_CONCAT(IF(q.there IS NULL, JSON_ARRAY(q.queue, q.precedence, q.`rank`, q.batch), NULL)), ']')
    INTO @missing
    FROM (
        SELECT o.batch, o.precedence, b.queue, b.`rank`, y.batch_id AS there
        FROM (
            SELECT DISTINCT batch, precedence
            FROM JSON_TABLE(CONVERT(CONCAT('[', @offers, ']') USING utf8mb4), '$[*]' COLUMNS (
                batch CHAR(32) PATH '$[0]', precedence INT PATH '$[1]')) o
            ORDER BY batch, precedence LIMIT 10000
        ) o
        STRAIGHT_JOIN hammerwork_batches b FORCE INDEX (PRIMARY) ON b.id = UNHEX(o.batch)
        LEFT JOIN hammerwork_ready y FORCE INDEX (PRIMARY)
            ON y.queue = b.queue AND y.precedence = o.precedence AND y.`rank` = b.`rank` AND y.batch_id = b.id
        WHERE b.state = 'Pending' AND NOT b.suspended LIMIT 10000
        /*M! LOCK IN SHARE MODE */ /*!80000 FOR SHARE OF b, y */
    ) q;
INSERT INTO hammerwork_ready (queue, precedence, `rank`, batch_id)
    SELECT m.queue, m.precedence, m.place, UNHEX(m.batch)
    FROM JSON_TABLE(@missing, '$[*]' COLUMNS (
        queue VARCHAR(63) CHARACTER SET utf8mb4 PATH '$[0]', precedence INT PATH '$[1]', place BIGINT PATH '$[2]',
        batch CHAR(32) PATH '$[3]')) m
    ON DUPLICATE KEY UPDATE batch_id = hammerwork_ready.batch_id;

-- name: settled
SELECT h.claim, UNHEX(h.batch) AS batch_id, h.`open`, h.reported, h.counts, @bad AS bad, b.state, b.suspended,
       b.finished_at IS NOT NULL AS finished
FROM {held} LEFT JOIN hammerwork_batches b ON b.id = UNHEX(h.batch);
