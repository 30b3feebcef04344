-- Taking jobs. A claim never waits: what others have locked it skips.

-- name: taken
JSON_TABLE(@taken, '$[*]' COLUMNS (
        number INT PATH '$[0]', chunk BIGINT PATH '$[1]', batch CHAR(32) PATH '$[2]', first INT PATH '$[3]',
        jobs INT PATH '$[4]', lo INT PATH '$[5]', attempt INT PATH '$[6]', precedence INT PATH '$[7]',
        alone INT PATH '$[8]', in_spans INT PATH '$[9]', reaches INT PATH '$[10]')) t

-- name: cut
JSON_TABLE(@cut, '$[*]' COLUMNS (
        number INT PATH '$[0]', lo INT PATH '$[1]', hi INT PATH '$[2]', spans TEXT CHARACTER SET utf8mb4 PATH '$[3]')) s

-- name: rows_seen
JSON_TABLE(@rows, '$[*]' COLUMNS (
        place FOR ORDINALITY, precedence INT PATH '$[0]', `rank` BIGINT PATH '$[1]', batch CHAR(32) PATH '$[2]')) y

-- name: claim
-- Hands out ready jobs of a queue, up to :limit, in up to :claims claims of at most the batch's size each: by priority, then
-- by the batches' rank. :most_rows and :most_chunks bound what is locked; the caller guesses them from what was found before. A job
-- that may kill its worker comes alone. Claims get the ids :base, :base + 1, ... The conditions only spare MariaDB work, see
-- settle.sql.
SET @rows = NULL, @locked = NULL, @taken = NULL, @in_spans = NULL, @spans = NULL, @cut = NULL,
    @empty = NULL, @gone = NULL;
SELECT CONCAT('[', GROUP_CONCAT(JSON_ARRAY(q.precedence, q.`rank`, HEX(q.batch_id))
                                ORDER BY q.precedence, q.`rank`, q.batch_id), ']')
    INTO @rows
    FROM (
        SELECT precedence, `rank`, batch_id FROM hammerwork_ready FORCE INDEX (PRIMARY)
        WHERE queue = :queue AND COALESCE(@bad, 0) = 0
          AND NOT EXISTS (SELECT 1 FROM hammerwork_queues p WHERE p.name = :queue AND p.paused)
        ORDER BY precedence, `rank`, batch_id LIMIT :most_rows
        /*M! LOCK IN SHARE MODE SKIP LOCKED */ /*!80000 FOR SHARE SKIP LOCKED */
    ) q;
/*M! IF @rows IS NOT NULL THEN */
SELECT CONCAT('[', GROUP_CONCAT(JSON_ARRAY(
           q.id, q.batch, q.precedence, q.size - q.next, q.next, q.lo, q.claim_limit, q.attempt, q.in_spans, q.size)
           ORDER BY q.number, q.place, q.id), ']'), MAX(q.in_spans)
    INTO @locked, @in_spans
    FROM (
        SELECT y.place AS number, y.batch, c.id, c.precedence, c.place, c.size, c.next, c.lo, c.claim_limit, c.attempt,
               c.spans IS NOT NULL AS in_spans
        FROM {rows_seen}
        STRAIGHT_JOIN hammerwork_chunks c FORCE INDEX (hammerwork_chunks_ready)
            ON c.batch_id = UNHEX(y.batch) AND c.precedence = y.precedence AND c.state = 'ready'
        LIMIT :most_chunks /*M! FOR UPDATE SKIP LOCKED */ /*!80000 FOR UPDATE OF c SKIP LOCKED */
    ) q;
/*M! IF @locked IS NOT NULL THEN */
SELECT CONCAT('[', GROUP_CONCAT(JSON_ARRAY(
           q.number, q.id, q.batch, q.first, q.jobs, q.lo, q.attempt, q.precedence, IF(q.claim_limit <=> 1, 1, 0), q.in_spans,
           IF(q.first + q.jobs = q.size, 1, 0)) ORDER BY q.number), ']')
    INTO @taken
    FROM (
        SELECT CAST(ROW_NUMBER() OVER (ORDER BY l.place, n.n) AS SIGNED) - 1 AS number, l.id, l.batch, l.lo, l.attempt,
               l.precedence, l.claim_limit, l.in_spans, l.size, l.next + n.n * l.most AS first,
               CAST(LEAST(l.most, l.free - n.n * l.most, :limit - l.sooner - n.n * l.most) AS SIGNED) AS jobs
        FROM (
            SELECT k.*, LEAST(b.batch_size, COALESCE(k.claim_limit, b.batch_size)) AS most,
                   CAST(SUM(k.free) OVER (ORDER BY k.place) AS SIGNED) - k.free AS sooner,
                   MIN(IF(k.claim_limit = 1, k.place, NULL)) OVER () AS suspect
            FROM JSON_TABLE(@locked, '$[*]' COLUMNS (
                place FOR ORDINALITY, id BIGINT PATH '$[0]', batch CHAR(32) PATH '$[1]', precedence INT PATH '$[2]',
                free INT PATH '$[3]', next INT PATH '$[4]', lo INT PATH '$[5]', claim_limit INT PATH '$[6]',
                attempt INT PATH '$[7]', in_spans INT PATH '$[8]', size INT PATH '$[9]')) k
            STRAIGHT_JOIN hammerwork_batches b FORCE INDEX (PRIMARY) ON b.id = UNHEX(k.batch)
        ) l
        JOIN (
            WITH RECURSIVE counted AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM counted WHERE n < 99) SELECT n FROM counted
        ) n ON n.n * l.most < LEAST(l.free, :limit - l.sooner)
        WHERE l.suspect IS NULL OR l.place < l.suspect OR (l.suspect = 1 AND l.place = 1 AND n.n = 0)
    ) q WHERE q.number < :claims;
-- Jobs first..first + jobs - 1 of a list of spans, as spans again.
/*M! IF @in_spans THEN */
SELECT CONCAT('[', GROUP_CONCAT(JSON_ARRAY(q.id, q.lo, q.hi, q.sooner)), ']')
    INTO @spans
    FROM (
        SELECT c.id, j.lo, j.hi,
               CAST(SUM(j.hi - j.lo + 1) OVER (PARTITION BY c.id ORDER BY j.lo) AS SIGNED) - (j.hi - j.lo + 1) AS sooner
        FROM (SELECT DISTINCT t.chunk FROM {taken} WHERE t.in_spans = 1) d
        STRAIGHT_JOIN hammerwork_chunks c FORCE INDEX (PRIMARY) ON c.id = d.chunk
        STRAIGHT_JOIN JSON_TABLE(c.spans, '$[*]' COLUMNS (lo INT PATH '$[0]', hi INT PATH '$[1]')) j
    ) q;
SELECT CONCAT('[', GROUP_CONCAT(JSON_ARRAY(q.number, q.lo, q.hi, q.spans)), ']')
    INTO @cut
    FROM (
        SELECT p.number, MIN(p.lo) AS lo, MAX(p.hi) AS hi,
               CONCAT('[', GROUP_CONCAT(JSON_ARRAY(p.lo, p.hi) ORDER BY p.lo), ']') AS spans
        FROM (
            SELECT t.number, s.lo + CAST(GREATEST(0, t.first - s.sooner) AS SIGNED) AS lo,
                   CAST(LEAST(s.hi, s.lo + t.first + t.jobs - 1 - s.sooner) AS SIGNED) AS hi
            FROM JSON_TABLE(@spans, '$[*]' COLUMNS (
                chunk BIGINT PATH '$[0]', lo INT PATH '$[1]', hi INT PATH '$[2]', sooner INT PATH '$[3]')) s
            STRAIGHT_JOIN {taken}
            WHERE s.chunk = t.chunk AND s.sooner < t.first + t.jobs AND s.sooner + s.hi - s.lo + 1 > t.first
        ) p GROUP BY p.number
    ) q;
/*M! END IF; */
UPDATE (
        SELECT t.chunk, MAX(t.first + t.jobs) AS next, MAX(t.reaches) AS reaches FROM {taken} GROUP BY t.chunk
    ) q
    STRAIGHT_JOIN hammerwork_chunks c FORCE INDEX (PRIMARY) ON c.id = q.chunk
    SET c.next = q.next, c.state = IF(q.reaches, 'taken', 'ready'), c.started_at = COALESCE(c.started_at, UTC_TIMESTAMP(6));
INSERT INTO hammerwork_claims (id, worker_id, chunk_id, batch_id, lo, hi, `open`, remaining, claimed_at)
    SELECT :base + t.number, :worker, t.chunk, UNHEX(t.batch), COALESCE(s.lo, t.lo + t.first),
           COALESCE(s.hi, t.lo + t.first + t.jobs - 1), t.jobs, s.spans, UTC_TIMESTAMP(6)
    FROM {taken} LEFT JOIN {cut} ON s.number = t.number;
/*M! END IF; */
-- Priorities of batches of which nothing is ready any more go out of the claimers' sight, unless others are at them: whoever
-- adds a ready chunk holds the row, or waits for it and then makes it anew (see offer). With NOT EXISTS, the optimizer may read
-- the ready chunks of all batches.
SELECT CONCAT('[', GROUP_CONCAT(JSON_ARRAY(y.precedence, y.`rank`, y.batch)), ']')
    INTO @empty
    FROM {rows_seen}
    WHERE (SELECT 1 FROM hammerwork_chunks c FORCE INDEX (hammerwork_chunks_ready)
           WHERE c.batch_id = UNHEX(y.batch) AND c.precedence = y.precedence AND c.state = 'ready' LIMIT 1) IS NULL;
/*M! END IF; */

-- name: withdraw
/*M! IF @empty IS NOT NULL THEN */
SELECT CONCAT('[', GROUP_CONCAT(JSON_ARRAY(q.precedence, q.`rank`, HEX(q.batch_id))), ']')
    INTO @gone
    FROM (
        SELECT c.precedence, c.`rank`, c.batch_id
        FROM JSON_TABLE(@empty, '$[*]' COLUMNS (
            precedence INT PATH '$[0]', `rank` BIGINT PATH '$[1]', batch CHAR(32) PATH '$[2]')) e
        STRAIGHT_JOIN hammerwork_ready c FORCE INDEX (PRIMARY)
            ON c.queue = :queue AND c.precedence = e.precedence AND c.`rank` = e.`rank` AND c.batch_id = UNHEX(e.batch)
        LIMIT 1000 /*M! FOR UPDATE SKIP LOCKED */ /*!80000 FOR UPDATE OF c SKIP LOCKED */
    ) q
    WHERE (SELECT 1 FROM hammerwork_chunks c FORCE INDEX (hammerwork_chunks_ready)
           WHERE c.batch_id = q.batch_id AND c.precedence = q.precedence AND c.state = 'ready' LIMIT 1) IS NULL;
DELETE y FROM JSON_TABLE(@gone, '$[*]' COLUMNS (
        precedence INT PATH '$[0]', `rank` BIGINT PATH '$[1]', batch CHAR(32) PATH '$[2]')) e
    STRAIGHT_JOIN hammerwork_ready y FORCE INDEX (PRIMARY)
        ON y.queue = :queue AND y.precedence = e.precedence AND y.`rank` = e.`rank` AND y.batch_id = UNHEX(e.batch);
/*M! END IF; */

-- name: claimed
/*M! IF @taken IS NOT NULL THEN */
SELECT :base + t.number AS claim_id, b.id AS batch_id, COALESCE(s.lo, t.lo + t.first) AS lo,
       COALESCE(s.hi, t.lo + t.first + t.jobs - 1) AS hi, s.spans, t.attempt, 4 - t.precedence AS priority, t.alone,
       b.max_attempts, b.timeout_seconds, b.failure_mode, b.retry_policy, b.batch_size
FROM {taken} LEFT JOIN {cut} ON s.number = t.number
JOIN hammerwork_batches b ON b.id = UNHEX(t.batch) ORDER BY t.number;
-- Pages: of small batches, and those of neighbouring jobs of one large batch. The caller asks for the others by their numbers:
-- a search for several ranges at once would read all pages of the batches.
SET @page_batch = NULL, @page_lo = NULL, @page_hi = NULL, @page_at = NULL;
SELECT b.id, t.lo + t.first, t.lo + t.first + {page_reach} INTO @page_batch, @page_lo, @page_hi
    FROM {taken} STRAIGHT_JOIN hammerwork_batches b FORCE INDEX (PRIMARY) ON b.id = UNHEX(t.batch)
    WHERE t.in_spans = 0 AND b.total > {page_reach} ORDER BY t.number LIMIT 1;
SELECT LEAST(@page_hi, MAX(t.lo + t.first + t.jobs - 1)) INTO @page_hi
    FROM {taken} WHERE t.in_spans = 0 AND UNHEX(t.batch) = @page_batch AND t.lo + t.first <= @page_hi;
SELECT lo INTO @page_at FROM hammerwork_pages WHERE batch_id = @page_batch AND lo <= @page_lo ORDER BY lo DESC LIMIT 1;
SELECT batch_id, lo, hi, payloads FROM hammerwork_pages
    WHERE batch_id = @page_batch AND lo >= @page_at AND lo <= @page_hi;
SELECT p.batch_id, p.lo, p.hi, p.payloads
    FROM (
        SELECT b.id, MIN(t.lo + t.first) AS lo, MAX(t.lo + t.first + t.jobs - 1) AS hi
        FROM {taken} STRAIGHT_JOIN hammerwork_batches b FORCE INDEX (PRIMARY) ON b.id = UNHEX(t.batch)
        WHERE t.in_spans = 0 AND b.total <= {page_reach} GROUP BY b.id
    ) t
    STRAIGHT_JOIN hammerwork_pages p FORCE INDEX (PRIMARY) ON p.batch_id = t.id AND p.lo <= t.hi AND p.hi >= t.lo;
/*M! END IF; */
SELECT @taken IS NOT NULL AS taken, COALESCE(JSON_LENGTH(@locked), 0) AS chunk_count,
       IF(@taken IS NULL, EXISTS (
           SELECT 1 FROM hammerwork_ready y
           STRAIGHT_JOIN hammerwork_chunks c FORCE INDEX (hammerwork_chunks_ready)
               ON c.batch_id = y.batch_id AND c.precedence = y.precedence AND c.state = 'ready'
           WHERE y.queue = :queue
             AND NOT EXISTS (SELECT 1 FROM hammerwork_queues q WHERE q.name = :queue AND q.paused)), 0) AS busy

-- name: page_reach
4000

-- name: page_with
-- The page that has the job :lo. All values stand in the text: the optimizer finds a range only if it knows its ends.
(SELECT lo FROM hammerwork_pages WHERE batch_id = :batch AND lo <= :lo ORDER BY lo DESC LIMIT 1)

-- name: pages_between
-- The pages that begin after the job :lo, up to :hi.
(SELECT lo FROM hammerwork_pages WHERE batch_id = :batch AND lo > :lo AND lo <= :hi)

-- name: pages
SELECT lo, hi, payloads FROM hammerwork_pages WHERE batch_id = :batch AND lo IN (:pages)

-- name: begin_claim
-- Notes that a worker begins to run a job that may kill it; no row: the claim is not this worker's any more.
UPDATE hammerwork_claims SET started = TRUE WHERE id = :claim AND worker_id = :worker;
SELECT id FROM hammerwork_claims WHERE id = :claim AND worker_id = :worker
