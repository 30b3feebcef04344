-- What keeps a queue going: heartbeats, the clock of the leases, retries that fall due.

-- Shows that a worker lives, and adds what it has done since its last heartbeat to the minute's statistics. p_known_… is what
-- the worker had done at its last heartbeat that was answered: it counts where the worker's row has gone meanwhile.
-- Returns which of the claims p_held are not this worker's (any more), whether it has others that are older than p_seconds
-- (see hammerwork_recover_1), whether something of its queue is ready, and for how long nobody has done the upkeep.
-- Commits of heartbeats wait for no disk: the server's loss of the last ones costs nothing.
-- The clock of the leases stands between two turns of the upkeep: what has passed since the last one is added to it, at most
-- what the next one can add where turns are a second apart.
CREATE OR REPLACE FUNCTION hammerwork_heartbeat_1(
    p_id uuid, p_queue text, p_pool text, p_instance text, p_lanes int, p_lease float8,
    p_processed bigint, p_failed bigint, p_busy_ms bigint,
    p_known_processed bigint, p_known_failed bigint, p_known_busy_ms bigint, p_held bigint[], p_seconds float8
) RETURNS TABLE (unknown bigint[], undelivered boolean, ready boolean, upkeep_idle float8)
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET lock_timeout = '8s' AS $$
DECLARE
    w hammerwork_workers;
    u hammerwork_upkeep;
    v_idle float8;
    v_clock float8;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT * INTO u FROM hammerwork_upkeep;
    v_idle := extract(epoch FROM clock_timestamp() - u.seen_at);
    v_clock := u.clock + least(greatest(v_idle, 0), 2);
    SELECT * INTO w FROM hammerwork_workers WHERE id = p_id FOR UPDATE;
    IF FOUND THEN
        UPDATE hammerwork_workers SET heartbeat_at = clock_timestamp(), heard = v_clock, lanes = p_lanes,
                processed = p_processed, failed = p_failed, busy_ms = p_busy_ms
            WHERE id = p_id;
        p_known_processed := w.processed;
        p_known_failed := w.failed;
        p_known_busy_ms := w.busy_ms;
    ELSE
        INSERT INTO hammerwork_workers
                (id, queue, pool, instance, lanes, lease_seconds, heard, processed, failed, busy_ms)
            VALUES (p_id, p_queue, p_pool, p_instance, p_lanes, p_lease, v_clock, p_processed, p_failed, p_busy_ms)
            ON CONFLICT (id) DO NOTHING;
    END IF;
    -- Whatever it was taken for, it lives: it has not died of any job.
    UPDATE hammerwork_chunks SET lost_by = nullif(lost_by, p_id), lost_before = nullif(lost_before, p_id)
        WHERE lost_by = p_id OR lost_before = p_id;
    IF p_processed > p_known_processed THEN
        INSERT INTO hammerwork_statistics AS s (queue, minute, processed, failed, busy_ms)
            VALUES (p_queue, date_trunc('minute', clock_timestamp()), p_processed - p_known_processed,
                    p_failed - p_known_failed, p_busy_ms - p_known_busy_ms)
            ON CONFLICT (queue, minute) DO UPDATE SET processed = s.processed + excluded.processed,
                failed = s.failed + excluded.failed, busy_ms = s.busy_ms + excluded.busy_ms;
    END IF;
    RETURN QUERY SELECT
        ARRAY(SELECT h.id FROM unnest(p_held) AS h(id) WHERE NOT EXISTS (
            SELECT 1 FROM hammerwork_claims c WHERE c.id = h.id AND c.worker_id IS NOT DISTINCT FROM p_id)),
        EXISTS (SELECT 1 FROM hammerwork_claims c WHERE c.worker_id = p_id AND c.id <> ALL(p_held)
                AND c.claimed_at < clock_timestamp() - p_seconds * interval '1 second'),
        EXISTS (SELECT 1 FROM hammerwork_ready y WHERE y.queue = p_queue)
            AND NOT EXISTS (SELECT 1 FROM hammerwork_queues q WHERE q.name = p_queue AND q.paused),
        v_idle;
END $$;

-- Whether it is the caller's turn to do the upkeep, which somebody is to do every p_seconds. Moves the clock of the leases: at
-- most by two turns, so that time in which nobody could reach the database does not count.
CREATE OR REPLACE FUNCTION hammerwork_upkeep_1(p_seconds float8) RETURNS boolean
LANGUAGE plpgsql SET jit = off SET lock_timeout = '8s' AS $$
DECLARE
    u hammerwork_upkeep;
    v_passed float8;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    SELECT * INTO u FROM hammerwork_upkeep FOR UPDATE SKIP LOCKED;
    v_passed := extract(epoch FROM clock_timestamp() - u.seen_at);
    IF u.id IS NULL OR v_passed BETWEEN 0 AND p_seconds / 2 THEN
        RETURN false;
    END IF;
    UPDATE hammerwork_upkeep
        SET clock = clock + least(greatest(v_passed, 0), 2 * p_seconds), seen_at = clock_timestamp();
    RETURN true;
END $$;

-- Makes up to p_limit chunks ready whose retry is due; returns their queues, once for each chunk. Removes old statistics.
CREATE OR REPLACE FUNCTION hammerwork_tick_1(p_limit int) RETURNS TABLE (queue text)
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET lock_timeout = '8s' AS $$
#variable_conflict use_column
DECLARE
    b hammerwork_batches;
    r record;
    v_batches uuid[];
    v_priorities smallint[];
BEGIN
    WITH due AS (
        SELECT id FROM hammerwork_chunks WHERE state = 'scheduled' AND run_at <= clock_timestamp()
        ORDER BY run_at LIMIT p_limit FOR UPDATE SKIP LOCKED
    ), made AS (
        UPDATE hammerwork_chunks c SET state = 'ready', run_at = NULL FROM due WHERE c.id = due.id
        RETURNING c.batch_id, c.priority
    )
    SELECT array_agg(batch_id), array_agg(priority) INTO v_batches, v_priorities FROM made;
    IF v_batches IS NULL THEN
        DELETE FROM hammerwork_statistics WHERE minute < clock_timestamp() - interval '7 days';
        RETURN;
    END IF;
    FOR r IN SELECT t.batch_id, array_agg(DISTINCT t.priority) AS priorities, count(*) AS chunks
             FROM unnest(v_batches, v_priorities) AS t(batch_id, priority) GROUP BY t.batch_id ORDER BY t.batch_id LOOP
        SELECT * INTO b FROM hammerwork_batches WHERE id = r.batch_id FOR KEY SHARE;
        IF FOUND THEN
            FOR i IN 1 .. array_length(r.priorities, 1) LOOP
                PERFORM hammerwork_offer(b, r.priorities[i]);
            END LOOP;
            RETURN QUERY SELECT b.queue FROM generate_series(1, r.chunks);
        END IF;
    END LOOP;
END $$;

-- name: heartbeat
SELECT h.*, l.*
FROM hammerwork_heartbeat_1(:id, :queue, :pool, :instance, :lanes, :lease_seconds, :processed, :failed, :busy_ms,
         :known_processed, :known_failed, :known_busy_ms, :held::bigint[], :seconds) h,
     (SELECT max(least) AS least, max(version) AS version FROM hammerwork_migrations) l

-- name: upkeep
SELECT hammerwork_upkeep_1(:seconds)

-- name: tick
SELECT queue FROM hammerwork_tick_1(:limit)

-- name: retire
-- As everywhere, the server gives up waiting for rows before the client does.
WITH waiting AS MATERIALIZED (SELECT set_config('lock_timeout', '8s', true))
DELETE FROM hammerwork_workers USING waiting
WHERE id = :worker AND NOT EXISTS (SELECT 1 FROM hammerwork_claims WHERE worker_id = :worker)

-- name: retire_others
WITH waiting AS MATERIALIZED (SELECT set_config('lock_timeout', '8s', true))
DELETE FROM hammerwork_workers USING waiting WHERE instance = :instance AND id <> :worker

-- name: wake
SELECT pg_notify(:channel, '')
