-- The functions of the hot path: each is one round trip and one short transaction.
--
-- Order of row locks, which keeps them free of deadlocks: claim, chunk, batch. One call settles at most one claim. Taking
-- a new claim never waits (SKIP LOCKED). Whatever locks a batch first takes chunk rows with SKIP LOCKED only.

-- Fails a FailFast batch, or cancels any: no claim of it is possible after this commits. FOR UPDATE waits for claims
-- that are being taken (they hold KEY SHARE), so that none can appear after `finished_at` is set.
CREATE OR REPLACE FUNCTION hammerwork_stop_batch(p_batch uuid, p_state text) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_state text;
BEGIN
    SELECT state INTO v_state FROM hammerwork_batches WHERE id = p_batch FOR UPDATE;
    IF v_state IS NULL OR v_state NOT IN ('Loading', 'Pending') THEN
        RETURN false;
    END IF;
    UPDATE hammerwork_batches SET state = p_state WHERE id = p_batch;
    RETURN true;
END $$;

-- Ends a stopped batch once no worker holds anything of it, and takes its chunks out of the index of ready ones.
CREATE OR REPLACE FUNCTION hammerwork_finish_stopped(p_batch uuid) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM hammerwork_batches
        WHERE id = p_batch AND state IN ('Failed', 'Cancelled') AND finished_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE hammerwork_chunks SET state = 'cancelled' WHERE id IN (
        SELECT id FROM hammerwork_chunks
        WHERE batch_id = p_batch AND state IN ('held', 'ready', 'scheduled') FOR UPDATE SKIP LOCKED);
    -- What is handed out and has no outcome is running; a chunk whose row is locked is seen as it was, which can only
    -- delay the end until the next call.
    IF NOT EXISTS (SELECT 1 FROM hammerwork_chunks
                   WHERE batch_id = p_batch AND next - lo > completed + failed + moved) THEN
        UPDATE hammerwork_batches SET finished_at = clock_timestamp() WHERE id = p_batch;
    END IF;
END $$;

-- Adds outcomes to a chunk. Ends the chunk with its last outcome, and the batch with its last chunk.
-- The caller has locked nothing, or the claim of this chunk.
CREATE OR REPLACE FUNCTION hammerwork_count(p_chunk bigint, p_completed int, p_failed int, p_moved int) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    c hammerwork_chunks;
BEGIN
    UPDATE hammerwork_chunks
        SET completed = completed + p_completed, failed = failed + p_failed, moved = moved + p_moved
        WHERE id = p_chunk RETURNING * INTO c;
    IF NOT FOUND OR c.completed + c.failed + c.moved < c.hi - c.lo + 1 THEN
        RETURN;
    END IF;
    DELETE FROM hammerwork_chunks WHERE id = p_chunk;
    UPDATE hammerwork_batches
        SET completed = completed + c.completed, failed = failed + c.failed,
            started_at = least(started_at, c.started_at)
        WHERE id = c.batch_id;
    -- Whoever ends the last two chunks at the same time waits for the other at the batch's row, then sees its deletion.
    IF NOT EXISTS (SELECT 1 FROM hammerwork_chunks WHERE batch_id = c.batch_id) THEN
        UPDATE hammerwork_batches
            SET state = CASE WHEN failed > 0 THEN 'CompletedWithErrors' ELSE 'Completed' END,
                finished_at = clock_timestamp()
            WHERE id = c.batch_id AND state = 'Pending';
    END IF;
END $$;

-- Number of jobs in [[lo, hi, ...], ...].
CREATE OR REPLACE FUNCTION hammerwork_jobs_in(p_spans json) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(sum((value->>1)::int - (value->>0)::int + 1), 0)::int FROM json_array_elements(p_spans)
$$;

-- Reports outcomes of a claim, all of them (p_remaining null) or those since the last report. Returns
-- 'ok', 'lost' (the claim is not this worker's any more: nothing was changed), or
-- 'stopped' (as ok, and no further job of the batch may start).
--   p_open      jobs of the claim without an outcome before this report; a report that comes twice counts once
--   p_failures  [{idx, attempt, final, error_type, message, traceback}]: what is to be recorded
--   p_retries   [[lo, hi, delay in seconds]]: failed, to be tried again
--   p_released  [[lo, hi]]: not started, given back
-- A plan that was made while the table of claims was empty reads the whole table, which fills with dead rows until the next
-- vacuum: neither that (enable_seqscan) nor the index on worker_id (hence IS NOT DISTINCT FROM) must be used for one claim.
CREATE OR REPLACE FUNCTION hammerwork_settle(
    p_worker uuid, p_claim bigint, p_open int, p_completed int, p_failed int,
    p_failures json, p_retries json, p_released json, p_remaining json
) RETURNS text LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    k hammerwork_claims;
    c hammerwork_chunks;
    b hammerwork_batches;
    r record;
    v_moved int := 0;
    v_outcomes int;
    v_stopped boolean;
BEGIN
    IF p_remaining IS NULL THEN
        DELETE FROM hammerwork_claims WHERE id = p_claim AND worker_id IS NOT DISTINCT FROM p_worker RETURNING * INTO k;
    ELSE
        SELECT * INTO k FROM hammerwork_claims WHERE id = p_claim AND worker_id IS NOT DISTINCT FROM p_worker FOR UPDATE;
    END IF;
    IF k.id IS NULL THEN
        RETURN 'lost';
    END IF;
    v_outcomes := p_completed + p_failed
        + CASE WHEN p_retries IS NULL THEN 0 ELSE hammerwork_jobs_in(p_retries) END
        + CASE WHEN p_released IS NULL THEN 0 ELSE hammerwork_jobs_in(p_released) END;
    IF p_remaining IS NOT NULL AND k.open = p_open - v_outcomes THEN
        RETURN 'ok';
    END IF;
    -- The claim's books must close exactly; a mistake of the worker must not reach the counters.
    IF k.open <> p_open OR v_outcomes > k.open OR (p_remaining IS NULL AND v_outcomes < k.open) THEN
        RAISE EXCEPTION 'claim % of batch %: % outcomes reported for % of % open jobs',
            k.id, k.batch_id, v_outcomes, p_open, k.open;
    END IF;
    IF p_remaining IS NOT NULL THEN
        UPDATE hammerwork_claims SET open = open - v_outcomes, remaining = p_remaining WHERE id = p_claim;
    END IF;
    IF p_failures IS NOT NULL OR p_retries IS NOT NULL OR p_released IS NOT NULL THEN
        SELECT * INTO c FROM hammerwork_chunks WHERE id = k.chunk_id FOR NO KEY UPDATE;
        SELECT * INTO b FROM hammerwork_batches WHERE id = k.batch_id;
        v_stopped := b.state <> 'Pending';
        IF p_failures IS NOT NULL THEN
            INSERT INTO hammerwork_failures (batch_id, idx, attempt, final, error_type, message, traceback)
                SELECT k.batch_id, f.idx, f.attempt, f.final, f.error_type, f.message, f.traceback
                FROM json_to_recordset(p_failures) AS f(
                    idx int, attempt smallint, final boolean, error_type text, message text, traceback text)
                ON CONFLICT DO NOTHING;
        END IF;
        FOR r IN SELECT (value->>0)::int AS lo, (value->>1)::int AS hi, (value->>2)::float8 AS delay
                 FROM json_array_elements(p_retries) LOOP
            v_moved := v_moved + r.hi - r.lo + 1;
            -- A FailFast batch that allows retries wants to know soon whether the job fails for good.
            INSERT INTO hammerwork_chunks (batch_id, queue, priority, rank, state, attempt, lo, hi, next, run_at)
                VALUES (c.batch_id, c.queue,
                        CASE b.failure_mode WHEN 'FailFast' THEN b.top_priority ELSE c.priority END,
                        CASE b.failure_mode WHEN 'FailFast' THEN b.rank - 1 ELSE c.rank END,
                        CASE WHEN v_stopped THEN 'cancelled' WHEN r.delay > 0 THEN 'scheduled' ELSE 'ready' END,
                        c.attempt + 1, r.lo, r.hi, r.lo, clock_timestamp() + r.delay * interval '1 second');
        END LOOP;
        FOR r IN SELECT (value->>0)::int AS lo, (value->>1)::int AS hi
                 FROM json_array_elements(p_released) ORDER BY 1 DESC LOOP
            IF r.hi + 1 = c.next AND NOT v_stopped THEN
                c.next := r.lo;
                UPDATE hammerwork_chunks SET next = r.lo, state = 'ready' WHERE id = c.id;
            ELSE
                v_moved := v_moved + r.hi - r.lo + 1;
                INSERT INTO hammerwork_chunks
                        (batch_id, queue, priority, rank, state, attempt, lo, hi, next, claim_limit, losses)
                    VALUES (c.batch_id, c.queue, c.priority, c.rank,
                            CASE WHEN v_stopped THEN 'cancelled' ELSE 'ready' END,
                            c.attempt, r.lo, r.hi, r.lo, c.claim_limit, c.losses);
            END IF;
        END LOOP;
    END IF;
    IF p_released IS NOT NULL AND NOT v_stopped THEN
        PERFORM pg_notify('hammerwork_ready', c.queue);
    END IF;
    -- Before the count: a failure of the last job must find the batch still open.
    IF p_failed > 0 AND b.failure_mode = 'FailFast' THEN
        PERFORM hammerwork_stop_batch(k.batch_id, 'Failed');
    END IF;
    PERFORM hammerwork_count(k.chunk_id, p_completed, p_failed, v_moved);
    SELECT state, suspended, finished_at INTO b.state, b.suspended, b.finished_at
        FROM hammerwork_batches WHERE id = k.batch_id;
    IF b.state IN ('Failed', 'Cancelled') AND b.finished_at IS NULL THEN
        PERFORM hammerwork_finish_stopped(k.batch_id);
    END IF;
    RETURN CASE WHEN b.state IN ('Failed', 'Cancelled') OR b.suspended OR b.state IS NULL THEN 'stopped' ELSE 'ok' END;
END $$;

-- Hands out the front of the best ready chunk. No row: nothing is ready. A row whose claim_id is null: something is, but
-- other workers are at it this very moment; ask again at once.
-- The plans are the same whatever the arguments; without the setting, the one of the payloads is made anew at each call.
CREATE OR REPLACE FUNCTION hammerwork_claim(p_worker uuid, p_queue text, p_limit int) RETURNS TABLE (
    claim_id bigint, batch_id uuid, lo int, hi int, attempt smallint, priority smallint, alone boolean,
    max_attempts int, timeout_seconds float8, failure_mode text, retry_policy text, batch_size int, payloads text
) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    c record;
    v_hi int;
    v_claim bigint;
BEGIN
    SELECT ch.id, ch.batch_id, ch.next, ch.hi, ch.attempt, ch.priority, ch.claim_limit,
           b.max_attempts, b.timeout_seconds, b.failure_mode, b.retry_policy, b.batch_size
        INTO c
        FROM hammerwork_chunks ch JOIN hammerwork_batches b ON b.id = ch.batch_id
        WHERE ch.queue = p_queue AND ch.state = 'ready' AND b.state = 'Pending' AND NOT b.suspended
          AND NOT EXISTS (SELECT 1 FROM hammerwork_queues q WHERE q.name = p_queue AND q.paused)
        ORDER BY ch.priority DESC, ch.rank, ch.id
        LIMIT 1
        FOR NO KEY UPDATE OF ch SKIP LOCKED
        FOR KEY SHARE OF b SKIP LOCKED;
    IF NOT FOUND THEN
        IF EXISTS (SELECT 1 FROM hammerwork_chunks ch JOIN hammerwork_batches b ON b.id = ch.batch_id
                   WHERE ch.queue = p_queue AND ch.state = 'ready' AND b.state = 'Pending' AND NOT b.suspended
                     AND NOT EXISTS (SELECT 1 FROM hammerwork_queues q WHERE q.name = p_queue AND q.paused)) THEN
            RETURN QUERY SELECT NULL::bigint, NULL::uuid, 0, 0, 0::smallint, 0::smallint, false, 0, NULL::float8,
                                NULL::text, NULL::text, 0, NULL::text;
        END IF;
        RETURN;
    END IF;
    v_hi := least(c.hi, c.next + least(p_limit, c.batch_size, c.claim_limit) - 1);
    UPDATE hammerwork_chunks SET
            next = v_hi + 1,
            state = CASE WHEN v_hi = hi THEN 'taken' ELSE state END,
            started_at = coalesce(started_at, clock_timestamp())
        WHERE id = c.id;
    INSERT INTO hammerwork_claims (worker_id, chunk_id, batch_id, lo, hi, open)
        VALUES (p_worker, c.id, c.batch_id, c.next, v_hi, v_hi - c.next + 1)
        RETURNING id INTO v_claim;
    RETURN QUERY SELECT v_claim, c.batch_id, c.next, v_hi, c.attempt, c.priority, c.claim_limit IS NOT DISTINCT FROM 1,
        c.max_attempts, c.timeout_seconds, c.failure_mode, c.retry_policy::text, c.batch_size,
        (SELECT '[' || string_agg(j.payload, ',') || ']' FROM (
            SELECT payload::text AS payload FROM hammerwork_jobs
            WHERE batch_id = c.batch_id AND idx BETWEEN c.next AND v_hi ORDER BY idx) j);
END $$;

-- The end of one claim and the beginning of the next in one round trip. The first column is hammerwork_settle's answer.
CREATE OR REPLACE FUNCTION hammerwork_exchange(
    p_worker uuid, p_claim bigint, p_open int, p_completed int, p_failed int,
    p_failures json, p_retries json, p_released json, p_remaining json, p_queue text, p_limit int
) RETURNS TABLE (
    settled text, claim_id bigint, batch_id uuid, lo int, hi int, attempt smallint, priority smallint, alone boolean,
    max_attempts int, timeout_seconds float8, failure_mode text, retry_policy text, batch_size int, payloads text
) LANGUAGE plpgsql AS $$
DECLARE
    v_settled text;
BEGIN
    v_settled := hammerwork_settle(
        p_worker, p_claim, p_open, p_completed, p_failed, p_failures, p_retries, p_released, p_remaining);
    RETURN QUERY SELECT v_settled, c.* FROM hammerwork_claim(p_worker, p_queue, p_limit) c;
    IF NOT FOUND THEN
        RETURN QUERY SELECT v_settled, NULL::bigint, NULL::uuid, -1, -1, 0::smallint, 0::smallint, false, 0,
                            NULL::float8, NULL::text, NULL::text, 0, NULL::text;
    END IF;
END $$;

-- Gives the jobs of one claim whose worker is dead back to the queue; returns how many, null when there is none left.
CREATE OR REPLACE FUNCTION hammerwork_reap(p_lease_seconds float8) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    k hammerwork_claims;
BEGIN
    -- The second branch reads all claims; there are about two a worker.
    SELECT * INTO k FROM hammerwork_claims cl
        WHERE NOT EXISTS (SELECT 1 FROM hammerwork_workers w WHERE w.id = cl.worker_id
                          AND w.heartbeat_at >= clock_timestamp() - p_lease_seconds * interval '1 second')
        ORDER BY id DESC LIMIT 1 FOR UPDATE SKIP LOCKED;  -- a suspect while what it waited for is still there
    IF NOT FOUND THEN
        DELETE FROM hammerwork_workers
            WHERE heartbeat_at < clock_timestamp() - p_lease_seconds * interval '1 second';
        RETURN NULL;
    END IF;
    RETURN hammerwork_put_back(k, true);
END $$;

-- Gives the jobs of one claim back that a living worker was given in an answer which never reached it: one that is newer
-- than the last claim it has got. Returns how many jobs, null when there is no such claim.
CREATE OR REPLACE FUNCTION hammerwork_free_undelivered(p_worker uuid, p_last bigint) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    k hammerwork_claims;
BEGIN
    SELECT * INTO k FROM hammerwork_claims WHERE worker_id = p_worker AND id > p_last LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN hammerwork_put_back(k, false);
END $$;

-- Gives the jobs of a claim, whose row is locked, back to the queue; returns how many. With p_lost their worker is dead:
-- a job that has been alone with three dead workers is taken to have killed them, and fails. With another claim in their
-- hands they had not started it: it would have waited for that one to end.
CREATE OR REPLACE FUNCTION hammerwork_put_back(k hammerwork_claims, p_lost boolean) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    c hammerwork_chunks;
    b hammerwork_batches;
    r record;
    v_alone boolean;
BEGIN
    DELETE FROM hammerwork_claims WHERE id = k.id;
    SELECT * INTO c FROM hammerwork_chunks WHERE id = k.chunk_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN  -- the batch was deleted
        RETURN 0;
    END IF;
    SELECT * INTO b FROM hammerwork_batches WHERE id = k.batch_id;
    v_alone := k.lo = k.hi AND NOT EXISTS (SELECT 1 FROM hammerwork_claims WHERE worker_id = k.worker_id);
    IF p_lost AND v_alone AND c.losses >= 2 AND b.state = 'Pending' THEN
        INSERT INTO hammerwork_failures (batch_id, idx, attempt, final, error_type, message)
            VALUES (k.batch_id, k.lo, c.attempt, true, 'WorkerLost',
                    'the worker vanished three times while it ran this job and nothing else')
            ON CONFLICT DO NOTHING;
        IF b.failure_mode = 'FailFast' THEN
            PERFORM hammerwork_stop_batch(k.batch_id, 'Failed');
        END IF;
        PERFORM hammerwork_count(c.id, 0, 1, 0);
        PERFORM hammerwork_finish_stopped(k.batch_id);
        RETURN 1;
    END IF;
    FOR r IN SELECT (value->>0)::int AS lo, (value->>1)::int AS hi
             FROM json_array_elements(coalesce(k.remaining, json_build_array(json_build_array(k.lo, k.hi)))) LOOP
        INSERT INTO hammerwork_chunks
                (batch_id, queue, priority, rank, state, attempt, lo, hi, next, claim_limit, losses)
            VALUES (c.batch_id, c.queue, c.priority, c.rank,
                    CASE b.state WHEN 'Pending' THEN 'ready' ELSE 'cancelled' END,
                    c.attempt, r.lo, r.hi, r.lo,
                    CASE WHEN p_lost THEN greatest(1, (k.hi - k.lo + 1) / 4) ELSE c.claim_limit END,
                    CASE WHEN NOT p_lost THEN c.losses WHEN c.claim_limit = 1 THEN c.losses + v_alone::int ELSE 0 END);
    END LOOP;
    PERFORM hammerwork_count(c.id, 0, 0, k.open);
    PERFORM hammerwork_finish_stopped(k.batch_id);
    PERFORM pg_notify('hammerwork_ready', c.queue);
    RETURN k.open;
END $$;

-- Makes the retries that are due claimable, and removes leftovers of stopped batches and old statistics. Returns the number made ready.
CREATE OR REPLACE FUNCTION hammerwork_tick(p_queue text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    v_due int;
    v_batch uuid;
BEGIN
    UPDATE hammerwork_chunks SET state = 'ready', run_at = NULL WHERE id IN (
        SELECT id FROM hammerwork_chunks
        WHERE queue = p_queue AND state = 'scheduled' AND run_at <= clock_timestamp() FOR UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_due = ROW_COUNT;
    IF v_due > 0 THEN
        PERFORM pg_notify('hammerwork_ready', p_queue);
    END IF;
    DELETE FROM hammerwork_statistics WHERE queue = p_queue AND minute < clock_timestamp() - interval '7 days';
    FOR v_batch IN SELECT id FROM hammerwork_batches
                   WHERE state IN ('Failed', 'Cancelled') AND finished_at IS NULL AND queue = p_queue ORDER BY id LOOP
        PERFORM hammerwork_finish_stopped(v_batch);
    END LOOP;
    RETURN v_due;
END $$;

-- Creates the batch unless it is there; tells what is there. p_batch has the columns of hammerwork_batches.
CREATE OR REPLACE FUNCTION hammerwork_open(p_batch json) RETURNS TABLE (created boolean, state text, total bigint, fingerprint text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    b hammerwork_batches := json_populate_record(NULL::hammerwork_batches, p_batch);
    v_created boolean;
BEGIN
    INSERT INTO hammerwork_batches (id, name, queue, failure_mode, suspended, batch_size, max_attempts, timeout_seconds,
                                    retry_policy, rank, metadata, fingerprint)
        VALUES (b.id, b.name, b.queue, b.failure_mode, b.suspended, b.batch_size, b.max_attempts, b.timeout_seconds,
                b.retry_policy, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, b.metadata, b.fingerprint)
        ON CONFLICT DO NOTHING;
    v_created := FOUND;
    RETURN QUERY SELECT v_created, x.state, x.total, x.fingerprint FROM hammerwork_batches x WHERE x.id = b.id;
END $$;

-- Adds chunks to a loading batch whose job rows are there: p_chunks is [[lo, hi, priority], ...] in order of lo.
CREATE OR REPLACE FUNCTION hammerwork_append(p_batch uuid, p_chunks json) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO hammerwork_chunks (batch_id, queue, priority, rank, state, lo, hi, next)
        SELECT b.id, b.queue, (c.value->>2)::smallint, b.rank, 'held', (c.value->>0)::int, (c.value->>1)::int,
               (c.value->>0)::int
        FROM hammerwork_batches b, json_array_elements(p_chunks) c WHERE b.id = p_batch;
    UPDATE hammerwork_batches SET
            total = (p_chunks->-1->>1)::int + 1,
            priorities = priorities || (
                SELECT coalesce(jsonb_agg(jsonb_build_array(lo, priority) ORDER BY lo), '[]') FROM (
                    SELECT (value->>0)::int AS lo, (value->>2)::int AS priority,
                           lag((value->>2)::int) OVER (ORDER BY (value->>0)::int) AS previous
                    FROM json_array_elements(p_chunks)) c
                WHERE priority IS DISTINCT FROM coalesce(previous, (priorities->-1->>1)::int))
        WHERE id = p_batch;
END $$;

-- Creates, loads and seals a small batch in one round trip, unless the id is taken.
CREATE OR REPLACE FUNCTION hammerwork_enqueue(p_batch json, p_payloads text[], p_chunks json)
RETURNS TABLE (created boolean, state text, total bigint, fingerprint text) LANGUAGE plpgsql AS $$
DECLARE
    v_id uuid := p_batch->>'id';
    v_there record;
BEGIN
    SELECT * INTO v_there FROM hammerwork_open(p_batch);
    IF v_there.created THEN
        INSERT INTO hammerwork_jobs (batch_id, idx, payload)
            SELECT v_id, ordinality - 1, payload::json FROM unnest(p_payloads) WITH ORDINALITY AS p(payload, ordinality);
        PERFORM hammerwork_append(v_id, p_chunks);
        PERFORM hammerwork_seal(v_id);
    END IF;
    RETURN QUERY SELECT v_there.created, v_there.state, v_there.total, v_there.fingerprint;
END $$;

-- Makes a loaded batch claimable, all at once.
CREATE OR REPLACE FUNCTION hammerwork_seal(p_batch uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    b hammerwork_batches;
BEGIN
    SELECT * INTO b FROM hammerwork_batches WHERE id = p_batch AND state = 'Loading' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE hammerwork_batches SET state = 'Pending', sealed_at = clock_timestamp(),
            top_priority = (SELECT max(priority) FROM hammerwork_chunks WHERE batch_id = p_batch)
        WHERE id = p_batch;
    IF NOT b.suspended THEN
        UPDATE hammerwork_chunks SET state = 'ready' WHERE batch_id = p_batch;
        PERFORM pg_notify('hammerwork_ready', b.queue);
    END IF;
END $$;

-- Stops or lets go on. False: there is no such batch. Null: nothing was changed, try again.
-- A chunk that is missed when it stops, because its row is locked, is kept back by the check in the claim. None may be
-- missed when it goes on, and none may be waited for (lock order): so that is tried again until none is locked.
CREATE OR REPLACE FUNCTION hammerwork_set_suspended(p_batch uuid, p_suspended boolean) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    b hammerwork_batches;
    v_held int;
    v_free bigint[];
BEGIN
    SELECT * INTO b FROM hammerwork_batches WHERE id = p_batch FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF b.state = 'Pending' THEN
        v_free := ARRAY(
            SELECT id FROM hammerwork_chunks
            WHERE batch_id = p_batch AND state = CASE WHEN p_suspended THEN 'ready' ELSE 'held' END
            FOR UPDATE SKIP LOCKED);
        IF NOT p_suspended THEN
            SELECT count(*) INTO v_held FROM hammerwork_chunks WHERE batch_id = p_batch AND state = 'held';
            IF v_held > coalesce(array_length(v_free, 1), 0) THEN
                RETURN NULL;
            END IF;
            PERFORM pg_notify('hammerwork_ready', b.queue);
        END IF;
        UPDATE hammerwork_chunks SET state = CASE WHEN p_suspended THEN 'held' ELSE 'ready' END WHERE id = ANY(v_free);
    END IF;
    IF b.suspended <> p_suspended THEN
        UPDATE hammerwork_batches SET suspended = p_suspended WHERE id = p_batch;
    END IF;
    RETURN true;
END $$;

-- Shows that a worker lives, and adds what it has done since its last heartbeat to the minute's statistics.
CREATE OR REPLACE FUNCTION hammerwork_heartbeat(
    p_id uuid, p_queue text, p_pool text, p_instance text, p_lanes int, p_processed bigint, p_failed bigint, p_busy_ms bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    w hammerwork_workers;
BEGIN
    SELECT * INTO w FROM hammerwork_workers WHERE id = p_id FOR UPDATE;
    INSERT INTO hammerwork_workers (id, queue, pool, instance, lanes, processed, failed, busy_ms)
        VALUES (p_id, p_queue, p_pool, p_instance, p_lanes, p_processed, p_failed, p_busy_ms)
        ON CONFLICT (id) DO UPDATE SET heartbeat_at = clock_timestamp(),
            processed = p_processed, failed = p_failed, busy_ms = p_busy_ms;
    IF p_processed > coalesce(w.processed, 0) THEN
        INSERT INTO hammerwork_statistics AS s (queue, minute, processed, failed, busy_ms)
            VALUES (p_queue, date_trunc('minute', clock_timestamp()), p_processed - coalesce(w.processed, 0),
                    p_failed - coalesce(w.failed, 0), p_busy_ms - coalesce(w.busy_ms, 0))
            ON CONFLICT (queue, minute) DO UPDATE SET processed = s.processed + excluded.processed,
                failed = s.failed + excluded.failed, busy_ms = s.busy_ms + excluded.busy_ms;
    END IF;
END $$;

-- Runs the failed jobs of an ended batch again, from the first attempt, and those that a failed FailFast batch cancelled.
-- Their recorded failures are removed. Returns how many jobs; -1 when the batch has not ended, or was cancelled.
CREATE OR REPLACE FUNCTION hammerwork_retry_failed(p_batch uuid) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    b hammerwork_batches;
    v_jobs bigint;
BEGIN
    SELECT * INTO b FROM hammerwork_batches WHERE id = p_batch FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    ELSIF b.state = 'Completed' THEN
        RETURN 0;
    ELSIF b.finished_at IS NULL OR b.state = 'Cancelled' THEN
        RETURN -1;
    END IF;
    -- What an ended batch still has of chunks was cut short: count what they did in the batch, keep their rest.
    SELECT coalesce(sum(completed), 0) INTO b.completed FROM hammerwork_chunks WHERE batch_id = p_batch;
    DELETE FROM hammerwork_chunks WHERE batch_id = p_batch AND next > hi;
    UPDATE hammerwork_chunks SET lo = next, completed = 0, failed = 0, moved = 0,
            state = CASE WHEN b.suspended THEN 'held' ELSE 'ready' END
        WHERE batch_id = p_batch;
    -- Runs of neighbours of one priority, none longer than a loaded chunk.
    WITH gone AS (
        DELETE FROM hammerwork_failures WHERE batch_id = p_batch RETURNING idx, final
    ), failed AS (
        SELECT idx, hammerwork_priority_at(b.priorities, idx) AS priority FROM gone WHERE final
    ), numbered AS (
        SELECT idx, priority, idx - row_number() OVER (PARTITION BY priority ORDER BY idx) AS run FROM failed
    )
    INSERT INTO hammerwork_chunks (batch_id, queue, priority, rank, state, lo, hi, next)
        SELECT p_batch, b.queue, priority, b.rank, CASE WHEN b.suspended THEN 'held' ELSE 'ready' END,
               min(idx), max(idx), min(idx)
        FROM numbered GROUP BY priority, run, idx / 1000;
    UPDATE hammerwork_batches SET state = 'Pending', finished_at = NULL,
            completed = hammerwork_batches.completed + b.completed, failed = 0
        WHERE id = p_batch RETURNING total - hammerwork_batches.completed INTO v_jobs;
    PERFORM pg_notify('hammerwork_ready', b.queue);
    RETURN v_jobs;
END $$;

-- Priority of a job, from [[first index, priority], ...].
CREATE OR REPLACE FUNCTION hammerwork_priority_at(p_priorities jsonb, p_idx int) RETURNS smallint LANGUAGE sql IMMUTABLE AS $$
    SELECT (value->>1)::smallint FROM jsonb_array_elements(p_priorities)
    WHERE (value->>0)::int <= p_idx ORDER BY (value->>0)::int DESC LIMIT 1
$$;

CREATE OR REPLACE FUNCTION hammerwork_pause_queue(p_queue text, p_paused boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO hammerwork_queues (name, paused, paused_at)
        VALUES (p_queue, p_paused, CASE WHEN p_paused THEN clock_timestamp() END)
        ON CONFLICT (name) DO UPDATE SET paused = excluded.paused, paused_at = excluded.paused_at
            WHERE hammerwork_queues.paused <> excluded.paused;
    IF NOT p_paused THEN
        PERFORM pg_notify('hammerwork_ready', p_queue);
    END IF;
END $$;

-- Jobs with an index above p_after and, unless it is null, this status; only those in the spans p_los..p_his, which are
-- in order, are looked at. A job belongs to the newest chunk that covers it (a retry moves it to a new one). Not covered,
-- or handed out and in no claim: it has an outcome, and failures tells which.
-- Compiling the plan would take a hundred times as long as running it.
CREATE OR REPLACE FUNCTION hammerwork_page(
    p_batch uuid, p_after int, p_limit int, p_status text, p_los int[], p_his int[]
) RETURNS TABLE (
    idx int, payload text, attempt smallint, status text,
    error_attempt smallint, error_type text, message text, traceback text, failed_at timestamptz
) LANGUAGE plpgsql STABLE SET jit = off AS $$
#variable_conflict use_column
DECLARE
    c_longest CONSTANT int := 1000;  -- jobs in a chunk, at most
    b hammerwork_batches;
    r record;
    v_left int := p_limit;
    v_found int;
BEGIN
    SELECT * INTO b FROM hammerwork_batches WHERE id = p_batch;
    FOR r IN SELECT greatest(lo, p_after + 1) AS lo, hi FROM unnest(p_los, p_his) AS span(lo, hi) LOOP
        RETURN QUERY SELECT * FROM (
            SELECT j.idx, j.payload::text, coalesce(c.attempt, f.attempt, 1::smallint),
                   CASE WHEN c.id IS NULL OR (j.idx < c.next AND k.id IS NULL)
                            THEN CASE WHEN f.final THEN 'Failed' ELSE 'Completed' END
                        WHEN j.idx < c.next THEN 'Running'
                        WHEN c.state = 'cancelled' OR b.state IN ('Failed', 'Cancelled') THEN 'Cancelled'
                        WHEN c.state = 'scheduled' THEN 'Scheduled'
                        ELSE 'Pending' END AS status,
                   f.attempt, f.error_type, f.message, f.traceback, f.failed_at
            FROM hammerwork_jobs j
            LEFT JOIN LATERAL (
                SELECT id, attempt, next, state FROM hammerwork_chunks
                WHERE batch_id = p_batch AND lo > j.idx - c_longest AND lo <= j.idx AND hi >= j.idx
                ORDER BY id DESC LIMIT 1
            ) c ON true
            LEFT JOIN LATERAL (
                SELECT id FROM hammerwork_claims
                WHERE chunk_id = c.id AND j.idx BETWEEN lo AND hi
                  AND (remaining IS NULL OR EXISTS (
                      SELECT 1 FROM json_array_elements(remaining) s
                      WHERE j.idx BETWEEN (s.value->>0)::int AND (s.value->>1)::int))
                LIMIT 1
            ) k ON true
            LEFT JOIN LATERAL (
                SELECT * FROM hammerwork_failures
                WHERE batch_id = p_batch AND idx = j.idx ORDER BY attempt DESC LIMIT 1
            ) f ON true
            WHERE j.batch_id = p_batch AND j.idx BETWEEN r.lo AND r.hi
            ORDER BY j.idx
        ) jobs WHERE p_status IS NULL OR jobs.status = p_status LIMIT v_left;
        GET DIAGNOSTICS v_found = ROW_COUNT;
        v_left := v_left - v_found;
        EXIT WHEN v_left <= 0;
    END LOOP;
END $$;
