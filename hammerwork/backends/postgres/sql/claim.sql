-- Taking jobs. A claim never waits: what others have locked it skips.

-- Jobs from..from + count - 1 of the jobs in [[lo, hi], ...], as spans again.
CREATE OR REPLACE FUNCTION hammerwork_cut(p_spans json, p_from int, p_count int) RETURNS json LANGUAGE sql IMMUTABLE SET enable_sort = on AS $$
    SELECT json_agg(json_build_array(lo + greatest(0, p_from - before),
                                     least(hi, lo + p_from + p_count - 1 - before)) ORDER BY lo)
    FROM (
        SELECT lo, hi, (sum(hi - lo + 1) OVER (ORDER BY lo) - (hi - lo + 1))::int AS before
        FROM (SELECT (value->>0)::int AS lo, (value->>1)::int AS hi FROM json_array_elements(p_spans)) s
    ) s
    WHERE before < p_from + p_count AND before + hi - lo + 1 > p_from
$$;

-- Members first..last of JSON texts with commas between them, or those in p_places, counted from 0, in the same form. Null if the
-- texts are damaged: nobody must be kept from other jobs by that.
CREATE OR REPLACE FUNCTION hammerwork_members(p_payloads text, p_first int, p_last int, p_places int[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET enable_sort = on AS $$
BEGIN
    RETURN (
        SELECT string_agg(value::text, ',' ORDER BY place)
        FROM json_array_elements(('[' || p_payloads || ']')::json) WITH ORDINALITY AS m(value, place)
        WHERE place - 1 BETWEEN p_first AND p_last AND (p_places IS NULL OR place - 1 = ANY(p_places)));
EXCEPTION WHEN invalid_text_representation THEN
    RETURN NULL;
END $$;

-- The payloads of the jobs lo..hi, or of those in p_spans, as one JSON array. A page goes as it is unless it sticks out.
CREATE OR REPLACE FUNCTION hammerwork_payloads(p_batch uuid, p_lo int, p_hi int, p_spans json) RETURNS text
LANGUAGE plpgsql STABLE SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_sort = on AS $$
BEGIN
    IF p_spans IS NULL THEN
        RETURN (
            SELECT '[' || string_agg(
                CASE WHEN p.lo >= p_lo AND p.hi <= p_hi THEN p.payloads
                     ELSE hammerwork_members(p.payloads, p_lo - p.lo, p_hi - p.lo, NULL) END, ',' ORDER BY p.lo) || ']'
            FROM hammerwork_pages p
            WHERE p.batch_id = p_batch AND p.lo <= p_hi AND p.lo >= (
                SELECT lo FROM hammerwork_pages WHERE batch_id = p_batch AND lo <= p_lo ORDER BY lo DESC LIMIT 1));
    END IF;
    RETURN (
        WITH wanted AS (
            SELECT generate_series((value->>0)::int, (value->>1)::int) AS idx FROM json_array_elements(p_spans)
        ), page AS (
            SELECT l.lo, array_agg(w.idx - l.lo) AS places
            FROM wanted w
            CROSS JOIN LATERAL (
                SELECT lo FROM hammerwork_pages WHERE batch_id = p_batch AND lo <= w.idx ORDER BY lo DESC LIMIT 1) l
            GROUP BY l.lo
        )
        SELECT '[' || string_agg(hammerwork_members(p.payloads, 0, p.hi - p.lo, page.places), ',' ORDER BY page.lo) || ']'
        FROM page
        JOIN hammerwork_pages p ON p.batch_id = p_batch AND p.lo = page.lo);
END $$;

-- Hands out ready jobs of a queue, up to p_limit, in up to p_claims claims of at most the batch's size each: by priority, then by the
-- batches' rank. No claim and `busy`: something is ready, but other workers are at it this very moment; ask again at once.
-- A job that may kill its worker comes alone. The plans are the same whatever the arguments and the statistics.
CREATE OR REPLACE FUNCTION hammerwork_claim(p_worker uuid, p_queue text, p_limit int, p_claims int) RETURNS TABLE (
    busy boolean, claim_id bigint, batch_id uuid, lo int, hi int, spans text, attempt smallint, priority smallint,
    alone boolean, max_attempts int, timeout_seconds float8, failure_mode text, retry_policy text, batch_size int,
    payloads text
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_sort = off AS $$
#variable_conflict use_column
DECLARE
    c_rows CONSTANT int := 200;  -- of hammerwork_ready that are looked at, at most
    v_ready CURSOR FOR
        SELECT y.batch_id, y.priority FROM hammerwork_ready y WHERE y.queue = p_queue
        ORDER BY y.priority DESC, y.rank, y.batch_id FOR KEY SHARE SKIP LOCKED;
    y record;
    b record;
    c record;
    v_left int := p_limit;
    v_claims int := 0;
    v_jobs int;
    v_busy boolean := false;
BEGIN
    IF EXISTS (SELECT 1 FROM hammerwork_queues q WHERE q.name = p_queue AND q.paused) THEN
        RETURN;
    END IF;
    OPEN v_ready;
    <<batches>>
    FOR i IN 1 .. c_rows LOOP
        FETCH v_ready INTO y;
        EXIT WHEN NOT FOUND;
        b := NULL;
        v_busy := v_busy OR i = c_rows;
        LOOP
            SELECT ch.id, ch.lo, ch.spans, ch.size, ch.next, ch.attempt, ch.claim_limit INTO c
                FROM hammerwork_chunks ch
                WHERE ch.batch_id = y.batch_id AND ch.priority = y.priority AND ch.state = 'ready'
                ORDER BY ch.place, ch.id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
            IF NOT FOUND THEN
                IF EXISTS (SELECT 1 FROM hammerwork_chunks ch WHERE ch.batch_id = y.batch_id
                           AND ch.priority = y.priority AND ch.state = 'ready') THEN
                    v_busy := true;
                ELSE
                    PERFORM hammerwork_withdraw(y.batch_id, y.priority);
                END IF;
                EXIT;
            END IF;
            EXIT batches WHEN c.claim_limit = 1 AND v_claims > 0;
            IF b IS NULL THEN
                SELECT x.max_attempts, x.timeout_seconds, x.failure_mode, x.retry_policy::text AS retry_policy, x.batch_size
                    INTO b FROM hammerwork_batches x WHERE x.id = y.batch_id;
            END IF;
            v_jobs := least(c.size - c.next, v_left, b.batch_size, c.claim_limit);
            lo := c.lo + c.next;
            hi := lo + v_jobs - 1;
            spans := NULL;
            IF c.spans IS NOT NULL THEN
                spans := hammerwork_cut(c.spans, c.next, v_jobs)::text;
                lo := spans::json->0->>0;
                hi := spans::json->-1->>1;
            END IF;
            UPDATE hammerwork_chunks SET
                    next = next + v_jobs,
                    state = CASE WHEN next + v_jobs = size THEN 'taken' ELSE state END,
                    started_at = coalesce(started_at, clock_timestamp())
                WHERE id = c.id;
            INSERT INTO hammerwork_claims (worker_id, chunk_id, batch_id, lo, hi, open, remaining)
                VALUES (p_worker, c.id, y.batch_id, lo, hi, v_jobs, spans::json) RETURNING id INTO claim_id;
            busy := false;
            batch_id := y.batch_id;
            attempt := c.attempt;
            priority := y.priority;
            alone := c.claim_limit IS NOT DISTINCT FROM 1;
            max_attempts := b.max_attempts;
            timeout_seconds := b.timeout_seconds;
            failure_mode := b.failure_mode;
            retry_policy := b.retry_policy;
            batch_size := b.batch_size;
            payloads := hammerwork_payloads(batch_id, lo, hi, spans::json);
            RETURN NEXT;
            v_claims := v_claims + 1;
            v_left := v_left - v_jobs;
            EXIT batches WHEN v_left <= 0 OR v_claims = p_claims OR alone;
        END LOOP;
    END LOOP;
    CLOSE v_ready;
    IF v_claims = 0 AND v_busy THEN
        busy := true;
        RETURN NEXT;
    END IF;
END $$;

-- Takes a priority of a batch out of the claimers' sight, unless something of it has become ready or others are at it.
CREATE OR REPLACE FUNCTION hammerwork_withdraw(p_batch uuid, p_priority smallint) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    -- Whoever adds a ready chunk holds this row, or waits for it and then makes it anew (hammerwork_offer).
    PERFORM 1 FROM hammerwork_ready WHERE batch_id = p_batch AND priority = p_priority FOR UPDATE SKIP LOCKED;
    IF FOUND AND NOT EXISTS (SELECT 1 FROM hammerwork_chunks
                             WHERE batch_id = p_batch AND priority = p_priority AND state = 'ready') THEN
        DELETE FROM hammerwork_ready WHERE batch_id = p_batch AND priority = p_priority;
    END IF;
END $$;

-- Lets claimers see ready chunks of a priority of a batch, if the batch may be worked on. The caller has locked the batch,
-- at least FOR KEY SHARE, and has added the chunks.
CREATE OR REPLACE FUNCTION hammerwork_offer(b hammerwork_batches, p_priority smallint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF b.state <> 'Pending' OR b.suspended THEN
        RETURN;
    END IF;
    PERFORM 1 FROM hammerwork_ready WHERE batch_id = b.id AND priority = p_priority FOR KEY SHARE;
    IF NOT FOUND THEN
        INSERT INTO hammerwork_ready (batch_id, priority, queue, rank) VALUES (b.id, p_priority, b.queue, b.rank)
            ON CONFLICT (batch_id, priority) DO UPDATE SET queue = excluded.queue;
    END IF;
END $$;

-- The same for all priorities of a batch.
CREATE OR REPLACE FUNCTION hammerwork_offer_all(b hammerwork_batches) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off AS $$
BEGIN
    FOR v_priority IN 0 .. 4 LOOP
        IF EXISTS (SELECT 1 FROM hammerwork_chunks
                   WHERE batch_id = b.id AND priority = v_priority AND state = 'ready') THEN
            PERFORM hammerwork_offer(b, v_priority::smallint);
        END IF;
    END LOOP;
END $$;

-- Settles claims, then takes new ones. The first row has the answers to the reports: [[claim, answer], ...].
CREATE OR REPLACE FUNCTION hammerwork_exchange_1(
    p_worker uuid, p_queue text, p_limit int, p_claims int, p_reports json
) RETURNS TABLE (
    settled text, busy boolean, claim_id bigint, batch_id uuid, lo int, hi int, spans text, attempt smallint,
    priority smallint, alone boolean, max_attempts int, timeout_seconds float8, failure_mode text, retry_policy text,
    batch_size int, payloads text
) LANGUAGE plpgsql SET jit = off SET lock_timeout = '8s' AS $$
DECLARE
    v_settled text;
BEGIN
    IF p_reports IS NOT NULL THEN
        v_settled := hammerwork_settle(p_worker, p_reports)::text;
    END IF;
    IF p_limit > 0 THEN
        RETURN QUERY SELECT v_settled, c.* FROM hammerwork_claim(p_worker, p_queue, p_limit, p_claims) c;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    settled := v_settled;
    busy := false;
    RETURN NEXT;
END $$;

-- Notes that a worker begins to run a job that may kill it; false: the claim is not this worker's any more.
CREATE OR REPLACE FUNCTION hammerwork_begin_1(p_worker uuid, p_claim bigint) RETURNS boolean
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET lock_timeout = '8s' AS $$
BEGIN
    UPDATE hammerwork_claims SET started = true WHERE id = p_claim AND worker_id IS NOT DISTINCT FROM p_worker;
    RETURN FOUND;
END $$;

-- name: exchange
SELECT * FROM hammerwork_exchange_1(:worker, :queue, :limit, :claims, :reports)

-- name: begin
SELECT hammerwork_begin_1(:worker, :claim)
