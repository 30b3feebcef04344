-- Outcomes of jobs.

-- Number of jobs in [[lo, hi, ...], ...].
CREATE OR REPLACE FUNCTION hammerwork_jobs_in(p_spans json) RETURNS int LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(sum((value->>1)::int - (value->>0)::int + 1), 0)::int FROM json_array_elements(p_spans)
$$;

-- Adds a chunk of the jobs in p_spans, which are in ascending order.
CREATE OR REPLACE FUNCTION hammerwork_add_chunk(
    p_batch uuid, p_priority smallint, p_place smallint, p_attempt smallint, p_spans json, p_delay float8,
    p_claim_limit int, p_lost_by uuid, p_lost_before uuid
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO hammerwork_chunks (batch_id, priority, place, attempt, state, lo, hi, spans, size, run_at,
                                   claim_limit, lost_by, lost_before)
        VALUES (p_batch, p_priority, p_place, p_attempt, CASE WHEN p_delay > 0 THEN 'scheduled' ELSE 'ready' END,
                (p_spans->0->>0)::int, (p_spans->-1->>1)::int,
                CASE WHEN json_array_length(p_spans) > 1 THEN p_spans END, hammerwork_jobs_in(p_spans),
                CASE WHEN p_delay > 0 THEN clock_timestamp() + p_delay * interval '1 second' END,
                p_claim_limit, p_lost_by, p_lost_before);
END $$;

-- Records outcomes of claims of one worker: of each, all of them (`remaining` null) or those since the last report. Returns
-- [[claim, answer], ...]: 'ok', 'lost' (the claim is not this worker's any more, or has more open jobs than it knows of, as a
-- crash made the server forget a report: nothing was changed), or 'stopped' (as ok, and no further job of the batch may
-- start). p_reports is a list of:
--   claim, open  jobs of the claim without an outcome before this report; a report that comes twice counts once
--   completed, failed
--   failures     [{idx, attempt, final, error_type, message, traceback}]: what is to be recorded; once the batch has
--                10,000 failures, no tracebacks, and no attempts that are retried
--   retries      [[lo, hi], ...]: failed, to be tried again after `delay` seconds
--   released     [[lo, hi], ...]: not started, given back
--   remaining    [[lo, hi], ...]: without an outcome
-- Rows are locked in this order: claims, chunks, batches, each by their ids, then rows of hammerwork_ready.
-- A plan that was made while the table of claims was empty reads the whole table, which fills with dead rows until the next
-- vacuum: neither that (enable_seqscan) nor the index on worker_id (hence IS NOT DISTINCT FROM) must be used for one claim.
CREATE OR REPLACE FUNCTION hammerwork_settle(p_worker uuid, p_reports json) RETURNS json
LANGUAGE plpgsql SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    c_failures CONSTANT int := 10000;
    r record;
    k hammerwork_claims;
    c hammerwork_chunks;
    b hammerwork_batches;
    x record;
    v_full boolean;
    v_outcomes int;
    v_moved int;
    v_completed bigint;
    v_failed bigint;
    v_chunks bigint[] := '{}';   -- one entry a report that counts
    v_reports json[] := '{}';
    v_ended_batches uuid[] := '{}';  -- one entry an ended chunk
    v_ended_completed int[] := '{}';
    v_ended_failed int[] := '{}';
    v_ended_started timestamptz[] := '{}';
    v_ready_batches uuid[] := '{}';  -- one entry a chunk that was made ready
    v_ready_priorities smallint[] := '{}';
    v_failing uuid[] := '{}';    -- FailFast batches of which a job has failed for good
    v_batches uuid[] := '{}';
    v_told bigint[] := '{}';
    v_told_batches uuid[] := '{}';
    v_answers json[] := '{}';
BEGIN
    FOR r IN SELECT t.*, value AS report FROM json_array_elements(p_reports),
             json_to_record(value) AS t(claim bigint, open int, completed int, failed int, retries json, released json,
                                        remaining json) ORDER BY claim LOOP
        IF r.remaining IS NULL THEN
            DELETE FROM hammerwork_claims
                WHERE id = r.claim AND worker_id IS NOT DISTINCT FROM p_worker AND open <= r.open RETURNING * INTO k;
        ELSE
            SELECT * INTO k FROM hammerwork_claims
                WHERE id = r.claim AND worker_id IS NOT DISTINCT FROM p_worker AND open <= r.open FOR UPDATE;
        END IF;
        IF k.id IS NULL THEN
            v_answers := v_answers || json_build_array(r.claim, 'lost');
            CONTINUE;
        END IF;
        v_outcomes := r.completed + r.failed
            + CASE WHEN r.retries IS NULL THEN 0 ELSE hammerwork_jobs_in(r.retries) END
            + CASE WHEN r.released IS NULL THEN 0 ELSE hammerwork_jobs_in(r.released) END;
        v_told := v_told || k.id;
        v_told_batches := v_told_batches || k.batch_id;
        IF r.remaining IS NOT NULL AND k.open = r.open - v_outcomes THEN
            CONTINUE;
        END IF;
        -- The claim's books must close exactly; a mistake of the worker must not reach the counters.
        IF k.open <> r.open OR v_outcomes > k.open OR (r.remaining IS NULL AND v_outcomes < k.open) THEN
            RAISE EXCEPTION 'claim % of batch %: % outcomes reported for % of % open jobs',
                k.id, k.batch_id, v_outcomes, r.open, k.open;
        END IF;
        IF r.remaining IS NOT NULL THEN
            UPDATE hammerwork_claims SET open = open - v_outcomes, remaining = r.remaining WHERE id = r.claim;
        END IF;
        v_chunks := v_chunks || k.chunk_id;
        v_reports := v_reports || r.report;
    END LOOP;

    FOR c IN SELECT ch.* FROM hammerwork_chunks ch
             WHERE ch.id = ANY(v_chunks) ORDER BY ch.id FOR NO KEY UPDATE LOOP
        FOR r IN SELECT t.* FROM unnest(v_chunks, v_reports) AS u(chunk, report), json_to_record(u.report) AS t(
                    completed int, failed int, delay float8, failures json, retries json, released json)
                 WHERE u.chunk = c.id LOOP
            v_moved := 0;
            IF r.failures IS NOT NULL THEN
                v_full := EXISTS (SELECT 1 FROM hammerwork_batches
                                  WHERE id = c.batch_id AND failure_mode = 'CollectErrors')
                    AND c_failures = (SELECT count(*) FROM (SELECT 1 FROM hammerwork_failures
                                                            WHERE batch_id = c.batch_id LIMIT c_failures) f);
                INSERT INTO hammerwork_failures (batch_id, idx, attempt, final, error_type, message, traceback)
                    SELECT c.batch_id, f.idx, f.attempt, f.final, f.error_type, f.message,
                           CASE WHEN NOT v_full THEN f.traceback END
                    FROM json_to_recordset(r.failures) AS f(
                        idx int, attempt smallint, final boolean, error_type text, message text, traceback text)
                    WHERE f.final OR NOT v_full
                    ON CONFLICT DO NOTHING;
            END IF;
            IF r.retries IS NOT NULL THEN
                v_moved := hammerwork_jobs_in(r.retries);
                -- A FailFast batch that allows retries wants to know soon whether the job fails for good.
                SELECT failure_mode = 'FailFast' AS first, top_priority INTO x
                    FROM hammerwork_batches WHERE id = c.batch_id;
                PERFORM hammerwork_add_chunk(
                    c.batch_id, CASE WHEN x.first THEN x.top_priority ELSE c.priority END, -(x.first::int)::smallint,
                    (c.attempt + 1)::smallint, r.retries, r.delay, NULL, NULL, NULL);
                IF NOT coalesce(r.delay > 0, false) THEN
                    v_ready_batches := v_ready_batches || c.batch_id;
                    v_ready_priorities := v_ready_priorities || CASE WHEN x.first THEN x.top_priority ELSE c.priority END;
                END IF;
            END IF;
            IF r.released IS NOT NULL THEN
                -- What was handed out last goes back by moving the cursor, the rest to a chunk of its own.
                IF c.spans IS NULL AND (r.released->-1->>1)::int = c.lo + c.next - 1 THEN
                    c.next := (r.released->-1->>0)::int - c.lo;
                    c.state := 'ready';
                    r.released := (SELECT json_agg(value ORDER BY place) FROM json_array_elements(r.released)
                                   WITH ORDINALITY AS s(value, place) WHERE place < json_array_length(r.released));
                END IF;
                IF r.released IS NOT NULL THEN
                    v_moved := v_moved + hammerwork_jobs_in(r.released);
                    PERFORM hammerwork_add_chunk(c.batch_id, c.priority, c.place, c.attempt, r.released, 0,
                                                 c.claim_limit, c.lost_by, c.lost_before);
                END IF;
                v_ready_batches := v_ready_batches || c.batch_id;
                v_ready_priorities := v_ready_priorities || c.priority;
            END IF;
            IF r.failed > 0 THEN
                v_failing := v_failing || c.batch_id;
            END IF;
            c.completed := c.completed + r.completed;
            c.failed := c.failed + r.failed;
            c.moved := c.moved + v_moved;
        END LOOP;
        IF c.completed + c.failed + c.moved < c.size THEN
            UPDATE hammerwork_chunks SET completed = c.completed, failed = c.failed, moved = c.moved, next = c.next,
                    state = c.state
                WHERE id = c.id;
        ELSE
            DELETE FROM hammerwork_chunks WHERE id = c.id;
            v_ended_batches := v_ended_batches || c.batch_id;
            v_ended_completed := v_ended_completed || c.completed;
            v_ended_failed := v_ended_failed || c.failed;
            v_ended_started := v_ended_started || c.started_at;
        END IF;
    END LOOP;

    v_batches := v_ended_batches || v_ready_batches || v_failing;
    FOR r IN SELECT DISTINCT id FROM unnest(v_batches) AS t(id) ORDER BY id LOOP
        -- FOR UPDATE where the state may change: that waits for whoever offers chunks of the batch (KEY SHARE).
        IF r.id = ANY(v_failing) AND EXISTS (
                SELECT 1 FROM hammerwork_batches WHERE id = r.id AND failure_mode = 'FailFast') THEN
            -- Before the counts: a failure of the last job must find the batch still open.
            PERFORM hammerwork_stop(r.id, 'Failed');
        END IF;
        IF r.id = ANY(v_ended_batches) THEN
            SELECT sum(t.completed) AS completed, sum(t.failed) AS failed, min(t.started_at) AS started_at INTO x
                FROM unnest(v_ended_batches, v_ended_completed, v_ended_failed, v_ended_started)
                    AS t(batch_id, completed, failed, started_at) WHERE t.batch_id = r.id;
            PERFORM hammerwork_count(r.id, x.completed, x.failed, x.started_at);
        END IF;
        IF r.id = ANY(v_ready_batches) THEN
            SELECT * INTO b FROM hammerwork_batches WHERE id = r.id FOR KEY SHARE;
            FOR x IN SELECT DISTINCT t.priority FROM unnest(v_ready_batches, v_ready_priorities) AS t(batch_id, priority)
                     WHERE t.batch_id = r.id LOOP
                PERFORM hammerwork_offer(b, x.priority);
            END LOOP;
        END IF;
        PERFORM hammerwork_finish_stopped_1(r.id);
    END LOOP;

    FOR r IN SELECT t.claim, t.batch_id, h.state, h.suspended, h.finished_at
             FROM unnest(v_told, v_told_batches) AS t(claim, batch_id)
             LEFT JOIN hammerwork_batches h ON h.id = t.batch_id LOOP
        IF r.state IN ('Failed', 'Cancelled') AND r.finished_at IS NULL AND NOT r.batch_id = ANY(v_batches) THEN
            PERFORM hammerwork_finish_stopped_1(r.batch_id);
        END IF;
        v_answers := v_answers || json_build_array(
            r.claim, CASE WHEN r.state IN ('Pending', 'Completed', 'CompletedWithErrors') AND NOT r.suspended
                          THEN 'ok' ELSE 'stopped' END);
    END LOOP;
    RETURN array_to_json(v_answers);
END $$;

-- Adds the counts of ended chunks to their batch, and ends it with its last job.
CREATE OR REPLACE FUNCTION hammerwork_count(p_batch uuid, p_completed bigint, p_failed bigint, p_started_at timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE hammerwork_batches SET
            state = CASE WHEN state <> 'Pending' OR completed + failed + p_completed + p_failed < total THEN state
                         WHEN failed + p_failed > 0 THEN 'CompletedWithErrors' ELSE 'Completed' END,
            finished_at = CASE WHEN state = 'Pending' AND completed + failed + p_completed + p_failed = total
                               THEN clock_timestamp() ELSE finished_at END,
            completed = completed + p_completed, failed = failed + p_failed,
            started_at = least(started_at, p_started_at)
        WHERE id = p_batch;
END $$;
