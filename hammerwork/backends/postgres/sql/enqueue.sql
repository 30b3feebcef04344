-- Storing batches.

-- Adds rows for chunks of new jobs; p_chunks is [[lo, hi, priority], ...].
CREATE OR REPLACE FUNCTION hammerwork_add_chunks(p_batch uuid, p_chunks json) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO hammerwork_chunks (batch_id, priority, state, lo, hi, size)
        SELECT p_batch, (value->>2)::smallint, 'ready', (value->>0)::int, (value->>1)::int,
               (value->>1)::int - (value->>0)::int + 1
        FROM json_array_elements(p_chunks);
END $$;

-- Creates the batch unless it is there; tells what is there. p_batch has the columns of hammerwork_batches.
CREATE OR REPLACE FUNCTION hammerwork_open_1(p_batch json)
RETURNS TABLE (created boolean, state text, sealed boolean, total bigint, fingerprint text)
LANGUAGE plpgsql SET jit = off SET lock_timeout = '50s' AS $$
#variable_conflict use_column
DECLARE
    b hammerwork_batches := json_populate_record(NULL::hammerwork_batches, p_batch);
    v_created boolean;
BEGIN
    INSERT INTO hammerwork_batches (id, name, queue, failure_mode, state, suspended, total, batch_size, max_attempts,
                                    timeout_seconds, retry_policy, top_priority, priorities, rank, metadata, fingerprint,
                                    sealed_at, retry_attempt)
        VALUES (b.id, b.name, b.queue, b.failure_mode, b.state, b.suspended, b.total, b.batch_size, b.max_attempts,
                b.timeout_seconds, b.retry_policy, b.top_priority, b.priorities,
                (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, b.metadata, b.fingerprint,
                CASE b.state WHEN 'Pending' THEN clock_timestamp() END, coalesce(b.retry_attempt, 0))
        ON CONFLICT DO NOTHING;
    v_created := FOUND;
    RETURN QUERY SELECT v_created, x.state, x.sealed_at IS NOT NULL, x.total, x.fingerprint
        FROM hammerwork_batches x WHERE x.id = b.id;
END $$;

-- Stores a small batch, whole and claimable, in one round trip, unless the id is taken. p_pages is [[lo, hi], ...].
-- With a `channel` in p_batch, idle workers are notified within the commit, if the batch is new and no other commit of ours is
-- at that: commits that notify wait for each other. `waiting`: the queue has workers, and they have not been notified.
CREATE OR REPLACE FUNCTION hammerwork_enqueue_1(p_batch json, p_pages json, p_payloads text[], p_chunks json)
RETURNS TABLE (created boolean, state text, sealed boolean, total bigint, fingerprint text, waiting boolean)
LANGUAGE plpgsql SET jit = off SET lock_timeout = '50s' AS $$
#variable_conflict use_column
DECLARE
    c_lock CONSTANT bigint := 7521413169306271746;  -- "hammer", 2
    v_there record;
    v_waiting boolean;
    b hammerwork_batches := json_populate_record(NULL::hammerwork_batches, p_batch);
BEGIN
    SELECT * INTO v_there FROM hammerwork_open_1(p_batch);
    IF v_there.created THEN
        INSERT INTO hammerwork_pages (batch_id, lo, hi, payloads)
            SELECT b.id, (p.page->>0)::int, (p.page->>1)::int, p.payloads
            FROM ROWS FROM (json_array_elements(p_pages), unnest(p_payloads)) AS p(page, payloads);
        PERFORM hammerwork_add_chunks(b.id, p_chunks);
        IF NOT b.suspended THEN
            INSERT INTO hammerwork_ready (batch_id, priority, queue, rank)
                SELECT DISTINCT x.id, (value->>2)::smallint, x.queue, x.rank
                FROM hammerwork_batches x, json_array_elements(p_chunks) WHERE x.id = b.id;
        END IF;
    END IF;
    v_waiting := EXISTS (SELECT 1 FROM hammerwork_workers w WHERE w.queue = b.queue);
    IF v_waiting AND v_there.created AND NOT b.suspended AND p_batch->>'channel' IS NOT NULL
            AND pg_notification_queue_usage() < 0.5 AND pg_try_advisory_xact_lock(c_lock) THEN
        BEGIN
            PERFORM pg_notify(p_batch->>'channel', '');
            v_waiting := false;
        EXCEPTION WHEN OTHERS THEN
            NULL;  -- the caller notifies them, or they find the jobs by themselves
        END;
    END IF;
    RETURN QUERY SELECT v_there.created, v_there.state, v_there.sealed, v_there.total, v_there.fingerprint, v_waiting;
END $$;

-- Adds chunks to a loading batch whose pages are there, in order of lo.
CREATE OR REPLACE FUNCTION hammerwork_append_1(p_batch uuid, p_chunks json) RETURNS void
LANGUAGE plpgsql SET jit = off SET lock_timeout = '50s' AS $$
BEGIN
    PERFORM hammerwork_add_chunks(p_batch, p_chunks);
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

-- Makes a loaded batch claimable, all at once, if it has p_total jobs: a server that crashed may have forgotten the last
-- ones. Tells its state, and whether its queue has workers.
CREATE OR REPLACE FUNCTION hammerwork_seal_1(p_batch uuid, p_total bigint) RETURNS TABLE (state text, sealed boolean, waiting boolean)
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET lock_timeout = '50s' AS $$
#variable_conflict use_column
DECLARE
    b hammerwork_batches;
BEGIN
    SELECT * INTO b FROM hammerwork_batches WHERE id = p_batch FOR UPDATE;
    IF b.state = 'Loading' AND b.total = p_total THEN
        UPDATE hammerwork_batches SET state = 'Pending', sealed_at = clock_timestamp(),
                top_priority = (SELECT max((value->>1)::smallint) FROM jsonb_array_elements(b.priorities))
            WHERE id = p_batch RETURNING * INTO b;
        PERFORM hammerwork_offer_all(b);
    END IF;
    RETURN QUERY SELECT b.state, b.sealed_at IS NOT NULL,
        EXISTS (SELECT 1 FROM hammerwork_workers w WHERE w.queue = b.queue);
END $$;

-- name: open
SELECT created, state, sealed, total, fingerprint FROM hammerwork_open_1(:settings)

-- name: enqueue
SELECT created, state, sealed, total, fingerprint, waiting FROM hammerwork_enqueue_1(:settings, :pages, :payloads::text[], :chunks)

-- name: lock_batch
SELECT state, sealed_at IS NOT NULL AS sealed, total FROM hammerwork_batches WHERE id = :batch FOR UPDATE

-- name: append
SELECT hammerwork_append_1(:batch, :chunks)

-- name: seal
SELECT state, sealed, waiting FROM hammerwork_seal_1(:batch, :total)
