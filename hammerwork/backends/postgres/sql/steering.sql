-- Suspend, resume, cancel, retry, delete, pause. A batch is locked FOR UPDATE to change its state: that waits for whoever
-- offers chunks of it. Then its rows of hammerwork_ready go, which waits for the claims that are being taken (they hold
-- these rows): after the commit, no claim of the batch is possible.

-- Fails or cancels a batch; false if it has ended, or there is none.
CREATE OR REPLACE FUNCTION hammerwork_stop(p_batch uuid, p_state text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM hammerwork_batches WHERE id = p_batch AND state IN ('Loading', 'Pending') FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE hammerwork_batches SET state = p_state WHERE id = p_batch;
    DELETE FROM hammerwork_ready WHERE batch_id = p_batch;
    RETURN true;
END $$;

-- Ends a stopped batch once no worker holds anything of it. Locked by somebody else, or with a last claim that is being
-- settled at this moment, it is left to the next call (see hammerwork_unfinished).
CREATE OR REPLACE FUNCTION hammerwork_finish_stopped_1(p_batch uuid) RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET lock_timeout = '8s' AS $$
BEGIN
    PERFORM 1 FROM hammerwork_batches
        WHERE id = p_batch AND state IN ('Failed', 'Cancelled') AND finished_at IS NULL FOR UPDATE SKIP LOCKED;
    IF FOUND AND NOT EXISTS (SELECT 1 FROM hammerwork_claims WHERE batch_id = p_batch) THEN
        UPDATE hammerwork_batches SET finished_at = clock_timestamp() WHERE id = p_batch;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION hammerwork_cancel_1(p_batch uuid) RETURNS void LANGUAGE plpgsql SET jit = off SET lock_timeout = '50s' AS $$
BEGIN
    PERFORM hammerwork_stop(p_batch, 'Cancelled');
    PERFORM hammerwork_finish_stopped_1(p_batch);
END $$;

-- Stops a batch or lets it go on; returns its queue, null: there is none.
CREATE OR REPLACE FUNCTION hammerwork_suspend_1(p_batch uuid, p_suspended boolean) RETURNS text
LANGUAGE plpgsql SET jit = off SET lock_timeout = '50s' AS $$
DECLARE
    b hammerwork_batches;
BEGIN
    SELECT * INTO b FROM hammerwork_batches WHERE id = p_batch AND state NOT IN ('Deleting', 'Abandoned') FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF b.suspended <> p_suspended THEN
        UPDATE hammerwork_batches SET suspended = p_suspended WHERE id = p_batch RETURNING * INTO b;
        IF p_suspended THEN
            DELETE FROM hammerwork_ready WHERE batch_id = p_batch;
        ELSE
            PERFORM hammerwork_offer_all(b);
        END IF;
    END IF;
    RETURN b.queue;
END $$;

CREATE OR REPLACE FUNCTION hammerwork_pause_1(p_queue text, p_paused boolean) RETURNS void
LANGUAGE sql SET jit = off SET lock_timeout = '50s' AS $$
    INSERT INTO hammerwork_queues (name, paused, paused_at)
        VALUES (p_queue, p_paused, CASE WHEN p_paused THEN clock_timestamp() END)
        ON CONFLICT (name) DO UPDATE SET paused = excluded.paused, paused_at = excluded.paused_at
            WHERE hammerwork_queues.paused <> excluded.paused
$$;

-- Begins the deletion of a batch; false: there is none. From here on it is shown to nobody, and what still happens to its
-- claims changes nothing.
CREATE OR REPLACE FUNCTION hammerwork_delete_1(p_batch uuid, p_state text) RETURNS boolean
LANGUAGE plpgsql SET jit = off SET lock_timeout = '50s' AS $$
BEGIN
    PERFORM 1 FROM hammerwork_batches WHERE id = p_batch AND (p_state = 'Deleting' OR state = 'Loading') FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE hammerwork_batches SET state = p_state WHERE id = p_batch;
    DELETE FROM hammerwork_ready WHERE batch_id = p_batch;
    RETURN true;
END $$;

-- Removes up to p_limit rows of a batch that is being deleted, and in the end the batch; false: nothing is left. Claims go
-- first, then chunks: whoever settles a claim holds it, so no chunk of it can appear behind the deletion of the chunks.
CREATE OR REPLACE FUNCTION hammerwork_delete_slice_1(p_batch uuid, p_limit int) RETURNS boolean
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET lock_timeout = '50s' AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM hammerwork_batches WHERE id = p_batch AND state IN ('Deleting', 'Abandoned')) THEN
        RETURN false;
    END IF;
    DELETE FROM hammerwork_claims WHERE id = ANY(ARRAY(
        SELECT id FROM hammerwork_claims WHERE batch_id = p_batch ORDER BY id LIMIT p_limit FOR UPDATE));
    IF FOUND THEN
        RETURN true;
    END IF;
    DELETE FROM hammerwork_chunks WHERE id = ANY(ARRAY(
        SELECT id FROM hammerwork_chunks WHERE batch_id = p_batch ORDER BY id LIMIT p_limit FOR UPDATE));
    IF FOUND THEN
        RETURN true;
    END IF;
    DELETE FROM hammerwork_failures WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM hammerwork_failures WHERE batch_id = p_batch LIMIT p_limit));
    IF FOUND THEN
        RETURN true;
    END IF;
    DELETE FROM hammerwork_pages WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM hammerwork_pages WHERE batch_id = p_batch LIMIT p_limit));
    IF FOUND THEN
        RETURN true;
    END IF;
    DELETE FROM hammerwork_batches WHERE id = p_batch AND state IN ('Deleting', 'Abandoned');
    RETURN FOUND;
END $$;

-- Jobs p_first..p_last of a batch that have failed for good and that p_chosen names: {"types": [...], "spans": [[lo, hi], ...]}.
CREATE OR REPLACE FUNCTION hammerwork_chosen(p_batch uuid, p_chosen json, p_first int, p_last int) RETURNS SETOF int
LANGUAGE sql STABLE AS $$
    SELECT idx FROM hammerwork_failures
    WHERE batch_id = p_batch AND idx BETWEEN p_first AND p_last AND final
      AND (p_chosen->'types' IS NULL OR error_type IN (SELECT json_array_elements_text(p_chosen->'types')))
      AND (p_chosen->'spans' IS NULL OR idx <@ (
          SELECT range_agg(int4range((value->>0)::int, (value->>1)::int, '[]')) FROM json_array_elements(p_chosen->'spans')))
$$;

-- Begins to run failed jobs of an ended batch again, from their first attempt, and those that a failed FailFast batch
-- cancelled: the jobs that p_chosen names, null: all. Returns how many jobs that will be; -1 when the batch has not ended, or
-- was cancelled; null: there is none. A p_attempt that is not above the batch's does nothing.
CREATE OR REPLACE FUNCTION hammerwork_retry_2(p_batch uuid, p_chosen text, p_attempt int) RETURNS bigint
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET lock_timeout = '50s' AS $$
DECLARE
    c_last CONSTANT int := 2147483647;
    b hammerwork_batches;
    c hammerwork_chunks;
    v_chosen bigint;
    v_completed bigint := 0;
    v_failed bigint := 0;
BEGIN
    SELECT * INTO b FROM hammerwork_batches WHERE id = p_batch FOR UPDATE;
    IF NOT FOUND OR b.state IN ('Deleting', 'Abandoned') THEN
        RETURN NULL;
    ELSIF p_attempt <= b.retry_attempt THEN
        RETURN 0;
    ELSIF b.state = 'Retrying' AND p_attempt IS NULL AND b.retry_chosen IS NOT DISTINCT FROM p_chosen THEN
        RETURN CASE WHEN p_chosen IS NULL THEN b.total - b.completed ELSE b.total - b.completed - b.failed
            + (SELECT count(*) FROM hammerwork_chosen(p_batch, p_chosen::json, b.retry_from, c_last)) END;
    ELSIF b.finished_at IS NULL OR b.state = 'Cancelled' THEN
        RETURN -1;
    END IF;
    UPDATE hammerwork_batches SET retry_attempt = coalesce(p_attempt, retry_attempt) WHERE id = p_batch;
    IF p_chosen IS NOT NULL THEN
        SELECT count(*) INTO v_chosen FROM hammerwork_chosen(p_batch, p_chosen::json, 0, c_last);
    END IF;
    IF b.state = 'Completed' OR v_chosen = 0 THEN
        RETURN 0;
    END IF;
    -- What an ended batch still has of chunks was cut short: count what they did in the batch, keep their rest.
    FOR c IN SELECT * FROM hammerwork_chunks WHERE batch_id = p_batch AND started_at IS NOT NULL ORDER BY id FOR UPDATE LOOP
        v_completed := v_completed + c.completed;
        v_failed := v_failed + c.failed;
        IF c.next < c.size THEN
            PERFORM hammerwork_add_chunk(
                p_batch, c.priority, c.place, c.attempt,
                coalesce(hammerwork_cut(c.spans, c.next, c.size - c.next),
                         json_build_array(json_build_array(c.lo + c.next, c.hi))),
                0, c.claim_limit, c.lost_by, c.lost_before);
        END IF;
        DELETE FROM hammerwork_chunks WHERE id = c.id;
    END LOOP;
    UPDATE hammerwork_batches SET state = 'Retrying', finished_at = NULL, completed = completed + v_completed,
            failed = failed + v_failed, retried_at = clock_timestamp(), retry_chosen = p_chosen, retry_from = 0
        WHERE id = p_batch RETURNING * INTO b;
    RETURN b.total - b.completed - CASE WHEN p_chosen IS NULL THEN 0 ELSE b.failed - v_chosen END;
END $$;

-- What version 4 and older call.
CREATE OR REPLACE FUNCTION hammerwork_retry_1(p_batch uuid) RETURNS bigint LANGUAGE sql SET lock_timeout = '50s' AS $$
    SELECT hammerwork_retry_2(p_batch, NULL, NULL)
$$;

-- Makes chunks of the chosen ones of up to p_limit recorded failures, which it removes; after the last, the batch can be
-- claimed. False: nothing is left to do.
CREATE OR REPLACE FUNCTION hammerwork_retry_slice_1(p_batch uuid, p_limit int) RETURNS boolean
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET lock_timeout = '50s' AS $$
DECLARE
    b hammerwork_batches;
    v_last int;
    v_chosen int[] := '{}';
    r record;
BEGIN
    SELECT * INTO b FROM hammerwork_batches WHERE id = p_batch AND state = 'Retrying' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    SELECT max(idx) INTO v_last FROM (
        SELECT idx FROM hammerwork_failures WHERE batch_id = p_batch AND idx >= b.retry_from ORDER BY idx, attempt LIMIT p_limit) f;
    IF v_last IS NULL THEN
        UPDATE hammerwork_batches SET state = 'Pending', failed = CASE WHEN b.retry_chosen IS NULL THEN 0 ELSE failed END,
                retry_chosen = NULL, retry_from = 0
            WHERE id = p_batch RETURNING * INTO b;
        PERFORM hammerwork_offer_all(b);
        RETURN false;
    END IF;
    IF b.retry_chosen IS NOT NULL THEN
        v_chosen := ARRAY(SELECT hammerwork_chosen(p_batch, b.retry_chosen::json, b.retry_from, v_last));
    END IF;
    FOR r IN
        WITH gone AS (
            DELETE FROM hammerwork_failures WHERE batch_id = p_batch AND idx BETWEEN b.retry_from AND v_last
                AND (b.retry_chosen IS NULL OR idx IN (SELECT unnest(v_chosen))) RETURNING idx, final
        ), events AS (  -- failed jobs among the indexes where another priority begins
            SELECT idx, 1 AS job, NULL::smallint AS priority FROM gone WHERE final
            UNION ALL
            SELECT (value->>0)::int, 0, (value->>1)::smallint FROM jsonb_array_elements(b.priorities)
        ), numbered AS (
            SELECT idx, job, priority, count(priority) OVER (ORDER BY idx, job) AS run FROM events
        ), failed AS (
            SELECT e.idx, s.priority, row_number() OVER (PARTITION BY s.priority ORDER BY e.idx) - 1 AS place
            FROM numbered e JOIN numbered s ON s.run = e.run AND s.job = 0 WHERE e.job = 1
        ), span AS (
            SELECT priority, place / 1000 AS chunk, min(idx) AS lo, max(idx) AS hi
            FROM failed GROUP BY priority, place / 1000, idx - place
        )
        SELECT priority, json_agg(json_build_array(lo, hi) ORDER BY lo) AS spans FROM span GROUP BY priority, chunk
    LOOP
        PERFORM hammerwork_add_chunk(p_batch, r.priority, 0::smallint, 1::smallint, r.spans, 0, NULL, NULL, NULL);
    END LOOP;
    UPDATE hammerwork_batches SET retry_from = v_last + 1, failed = failed - cardinality(v_chosen) WHERE id = p_batch;
    RETURN true;
END $$;

-- Batches that somebody has to bring to an end: those whose deletion, abandonment or retry was cut off, and stopped ones
-- that no worker works on any more.
CREATE OR REPLACE FUNCTION hammerwork_unfinished_2(p_limit int) RETURNS TABLE (id uuid, state text, queue text)
LANGUAGE plpgsql SET enable_seqscan = off SET lock_timeout = '8s' AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT b.id, b.state, b.queue FROM hammerwork_batches b
        WHERE b.state IN ('Abandoned', 'Deleting', 'Retrying')
           OR (b.state IN ('Failed', 'Cancelled') AND b.finished_at IS NULL
               AND NOT EXISTS (SELECT 1 FROM hammerwork_claims k WHERE k.batch_id = b.id))
        LIMIT p_limit;
END $$;

-- name: cancel
SELECT hammerwork_cancel_1(:batch)

-- name: finish_stopped
SELECT hammerwork_finish_stopped_1(:batch)

-- name: suspend
SELECT hammerwork_suspend_1(:batch, :suspended)

-- name: pause
SELECT hammerwork_pause_1(:queue, :paused)

-- name: delete
SELECT hammerwork_delete_1(:batch, :state)

-- name: delete_slice
SELECT hammerwork_delete_slice_1(:batch, :limit)

-- name: retry
SELECT hammerwork_retry_2(:batch, :chosen, :attempt)

-- name: retry_slice
SELECT hammerwork_retry_slice_1(:batch, :limit)

-- name: unfinished
SELECT id, state, queue FROM hammerwork_unfinished_2(:limit)

-- name: stopped_batches
SELECT id FROM unnest(:batches::uuid[]) AS held(id)
WHERE NOT EXISTS (SELECT 1 FROM hammerwork_batches b WHERE b.id = held.id AND NOT b.suspended
                  AND b.state NOT IN ('Failed', 'Cancelled', 'Deleting'))
