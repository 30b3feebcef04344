-- Claims that nobody works on: of workers that are gone, and such as never reached their worker.

-- Gives the jobs of a claim, whose row is locked, back to the queue; returns how many. With p_lost their worker is gone: a
-- job that three of them had begun to run, alone, when they were lost is taken to have killed them, and fails.
CREATE OR REPLACE FUNCTION hammerwork_put_back(k hammerwork_claims, p_lost boolean) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    c hammerwork_chunks;
    b hammerwork_batches;
    v_blamed boolean;
BEGIN
    DELETE FROM hammerwork_claims WHERE id = k.id;
    SELECT * INTO c FROM hammerwork_chunks WHERE id = k.chunk_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN  -- the batch is being deleted
        RETURN 0;
    END IF;
    v_blamed := p_lost AND k.started;
    SELECT * INTO b FROM hammerwork_batches WHERE id = k.batch_id FOR UPDATE;
    IF v_blamed AND c.lost_by IS NOT NULL AND c.lost_before IS NOT NULL AND b.state = 'Pending' THEN
        INSERT INTO hammerwork_failures (batch_id, idx, attempt, final, error_type, message)
            VALUES (k.batch_id, k.lo, c.attempt, true, 'WorkerLost',
                    'the worker vanished three times while it ran this job and nothing else')
            ON CONFLICT DO NOTHING;
        PERFORM hammerwork_settle_chunk(c, 0, 1, 0, b.failure_mode = 'FailFast');
        RETURN 1;
    END IF;
    PERFORM hammerwork_add_chunk(
        c.batch_id, c.priority, c.place, c.attempt,
        coalesce(k.remaining, json_build_array(json_build_array(k.lo, k.hi))), 0,
        CASE WHEN p_lost THEN greatest(1, k.open / 4) ELSE c.claim_limit END,
        CASE WHEN v_blamed THEN k.worker_id ELSE c.lost_by END,
        CASE WHEN v_blamed THEN coalesce(c.lost_by, c.lost_before) ELSE c.lost_before END);
    PERFORM hammerwork_offer(b, c.priority);
    PERFORM hammerwork_settle_chunk(c, 0, 0, k.open, false);
    RETURN k.open;
END $$;

-- Adds outcomes to a chunk that is locked; ends it with its last one, and the batch with its last chunk.
CREATE OR REPLACE FUNCTION hammerwork_settle_chunk(
    c hammerwork_chunks, p_completed int, p_failed int, p_moved int, p_fail_fast boolean
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_fail_fast THEN
        PERFORM hammerwork_stop(c.batch_id, 'Failed');
    END IF;
    IF c.completed + c.failed + c.moved + p_completed + p_failed + p_moved < c.size THEN
        UPDATE hammerwork_chunks
            SET completed = completed + p_completed, failed = failed + p_failed, moved = moved + p_moved WHERE id = c.id;
    ELSE
        DELETE FROM hammerwork_chunks WHERE id = c.id;
        PERFORM hammerwork_count(c.batch_id, c.completed + p_completed, c.failed + p_failed, c.started_at);
    END IF;
    PERFORM hammerwork_finish_stopped_1(c.batch_id);
END $$;

-- Gives the jobs of one claim back whose worker is gone: its lease is over by the upkeep's clock, or another process has
-- taken its place. Returns how many, null when there is no such claim; then workers that are gone are forgotten.
CREATE OR REPLACE FUNCTION hammerwork_reap_1() RETURNS TABLE (jobs int, queue text)
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET lock_timeout = '8s' AS $$
#variable_conflict use_column
DECLARE
    k hammerwork_claims;
    v_clock float8 := (SELECT clock FROM hammerwork_upkeep);
BEGIN
    FOR k IN SELECT cl.* FROM hammerwork_workers w JOIN hammerwork_claims cl ON cl.worker_id = w.id
             WHERE w.heard < v_clock - w.lease_seconds LIMIT 1 FOR UPDATE OF cl SKIP LOCKED LOOP
        jobs := hammerwork_put_back(k, true);
        queue := (SELECT b.queue FROM hammerwork_batches b WHERE b.id = k.batch_id);
        RETURN NEXT;
        RETURN;
    END LOOP;
    FOR k IN SELECT cl.* FROM hammerwork_claims cl
             WHERE NOT EXISTS (SELECT 1 FROM hammerwork_workers w WHERE w.id = cl.worker_id)
             LIMIT 1 FOR UPDATE SKIP LOCKED LOOP
        jobs := hammerwork_put_back(k, true);
        queue := (SELECT b.queue FROM hammerwork_batches b WHERE b.id = k.batch_id);
        RETURN NEXT;
        RETURN;
    END LOOP;
    DELETE FROM hammerwork_workers WHERE heard < v_clock - lease_seconds;
END $$;

-- Gives the jobs of one claim back that its living worker does not know of: p_held are those it knows, and claims of the
-- last p_seconds may still be on their way. Returns how many jobs, null when there is no such claim.
CREATE OR REPLACE FUNCTION hammerwork_recover_1(p_worker uuid, p_held bigint[], p_seconds float8)
RETURNS TABLE (jobs int, queue text) LANGUAGE plpgsql SET enable_seqscan = off SET jit = off SET lock_timeout = '8s' AS $$
#variable_conflict use_column
DECLARE
    k hammerwork_claims;
BEGIN
    FOR k IN SELECT * FROM hammerwork_claims
             WHERE worker_id = p_worker AND id <> ALL(p_held)
               AND claimed_at < clock_timestamp() - p_seconds * interval '1 second'
             LIMIT 1 FOR UPDATE SKIP LOCKED LOOP
        jobs := hammerwork_put_back(k, false);
        queue := (SELECT b.queue FROM hammerwork_batches b WHERE b.id = k.batch_id);
        RETURN NEXT;
    END LOOP;
END $$;

-- name: reap
SELECT jobs, queue FROM hammerwork_reap_1()

-- name: forget_workers
WITH waiting AS MATERIALIZED (SELECT set_config('lock_timeout', '8s', true))
DELETE FROM hammerwork_workers w USING waiting, hammerwork_upkeep u
WHERE w.heard < u.clock - w.lease_seconds AND NOT EXISTS (SELECT 1 FROM hammerwork_claims k WHERE k.worker_id = w.id)

-- name: workers_at
-- Of these instances, those of their processes (INSTANCE/NUMBER) included; silent: not heard for this share of the lease, or
-- taken for ended whatever was heard (a share of 0).
SELECT w.id, split_part(w.instance, '/', 1) AS instance,
       :share::float8 = 0 OR w.heard <= u.clock - :share::float8 * w.lease_seconds AS silent
FROM hammerwork_workers w, hammerwork_upkeep u WHERE split_part(w.instance, '/', 1) = ANY(:instances::text[])

-- name: forget_silent
-- By their ids, with another look: one of them may have been heard of.
WITH waiting AS MATERIALIZED (SELECT set_config('lock_timeout', '8s', true))
DELETE FROM hammerwork_workers w USING waiting, hammerwork_upkeep u
WHERE w.id = ANY(:ids::uuid[]) AND (:share::float8 = 0 OR w.heard <= u.clock - :share::float8 * w.lease_seconds)

-- name: recover
SELECT jobs, queue FROM hammerwork_recover_1(:worker, :held::bigint[], :older_than)
