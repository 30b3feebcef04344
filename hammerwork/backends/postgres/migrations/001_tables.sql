-- A batch. `completed` and `failed` count the jobs of chunks that are finished and gone; open chunks carry their own.
CREATE TABLE hammerwork_batches (
    id              uuid PRIMARY KEY,
    name            text NOT NULL,
    queue           text NOT NULL,
    failure_mode    text NOT NULL,
    -- Loading, Pending (sealed; shown as Running once it has begun), one of the four ends; or one that is left by itself:
    -- Abandoned (its stream broke a rule), Deleting, Retrying (failed jobs become chunks again, slice by slice).
    state           text NOT NULL DEFAULT 'Loading',
    suspended       boolean NOT NULL DEFAULT false,
    total           bigint NOT NULL DEFAULT 0,
    completed       bigint NOT NULL DEFAULT 0,
    failed          bigint NOT NULL DEFAULT 0,
    batch_size      integer NOT NULL,
    max_attempts    integer NOT NULL,
    timeout_seconds double precision,
    retry_policy    json NOT NULL,
    top_priority    smallint NOT NULL DEFAULT 0,
    -- [[first index, priority], ...]: jobs from there on have this priority.
    priorities      jsonb NOT NULL DEFAULT '[]',
    rank            bigint NOT NULL,
    metadata        jsonb NOT NULL DEFAULT '{}',
    fingerprint     text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    -- Whether all jobs are there is this column and no other.
    sealed_at       timestamptz,
    started_at      timestamptz,
    finished_at     timestamptz
) WITH (fillfactor = 50);

CREATE INDEX hammerwork_batches_created ON hammerwork_batches (created_at, id);
CREATE INDEX hammerwork_batches_metadata ON hammerwork_batches USING gin (metadata jsonb_path_ops);
CREATE INDEX hammerwork_batches_finished ON hammerwork_batches (queue, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX hammerwork_batches_open ON hammerwork_batches (queue, id) WHERE state = 'Pending';
-- What somebody has to bring to its end, see hammerwork_unfinished.
CREATE INDEX hammerwork_batches_unfinished ON hammerwork_batches (state, id)
    WHERE state IN ('Abandoned', 'Deleting', 'Retrying') OR (state IN ('Failed', 'Cancelled') AND finished_at IS NULL);

-- Payloads of the neighbouring jobs lo..hi of one chunk: JSON texts with commas between them. Written once, never updated.
CREATE TABLE hammerwork_pages (
    batch_id uuid NOT NULL,
    lo       integer NOT NULL,
    hi       integer NOT NULL,
    payloads text NOT NULL,
    PRIMARY KEY (batch_id, lo)
);

DO $$
BEGIN
    ALTER TABLE hammerwork_pages ALTER COLUMN payloads SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;  -- a server that was built without lz4 compresses with its own method
END $$;

CREATE VIEW hammerwork_jobs AS
    SELECT p.batch_id, p.lo + (j.position - 1)::int AS idx, j.payload
    FROM hammerwork_pages p
    CROSS JOIN LATERAL json_array_elements(('[' || p.payloads || ']')::json) WITH ORDINALITY AS j(payload, position);

-- A row for each priority of a batch that has ready chunks and may be worked on: it is sealed, not suspended, and has not
-- ended. So claims find work without looking at chunks, and no state of the batch is copied into its chunks. Claims lock
-- it (KEY SHARE) and never change it.
CREATE TABLE hammerwork_ready (
    batch_id uuid NOT NULL,
    priority smallint NOT NULL,
    queue    text NOT NULL,
    rank     bigint NOT NULL,
    PRIMARY KEY (batch_id, priority)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX hammerwork_ready_order ON hammerwork_ready (queue, priority DESC, rank, batch_id);

-- Up to 1,000 jobs of one priority and one attempt: lo..hi, or the spans in it. The first `next` of them are handed out,
-- so a claim of a part is an update of columns without an index. completed + failed + moved (to other chunks) = size ends
-- the chunk: its counts go to the batch and the row goes away. Handed out and in none of the three = running.
CREATE TABLE hammerwork_chunks (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id    uuid NOT NULL,
    priority    smallint NOT NULL,
    -- -1 goes before the other chunks of the priority.
    place       smallint NOT NULL DEFAULT 0,
    -- ready, scheduled (until run_at), taken (all handed out). Whether the batch may run is not told here.
    state       text NOT NULL,
    attempt     smallint NOT NULL DEFAULT 1,
    lo          integer NOT NULL,
    hi          integer NOT NULL,
    -- [[lo, hi], ...] in ascending order; null: all from lo to hi.
    spans       json,
    size        integer NOT NULL,
    next        integer NOT NULL DEFAULT 0,
    completed   integer NOT NULL DEFAULT 0,
    failed      integer NOT NULL DEFAULT 0,
    moved       integer NOT NULL DEFAULT 0,
    -- After the loss of a worker: claim no more than this at a time; 1 means alone, and `losses` counts the workers that
    -- were lost while they ran it; the last of these is `lost_by`.
    claim_limit integer,
    losses      smallint NOT NULL DEFAULT 0,
    lost_by     uuid,
    run_at      timestamptz,
    started_at  timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX hammerwork_chunks_ready ON hammerwork_chunks (batch_id, priority, place, id) WHERE state = 'ready';
CREATE INDEX hammerwork_chunks_scheduled ON hammerwork_chunks (run_at) WHERE state = 'scheduled';
CREATE INDEX hammerwork_chunks_begun ON hammerwork_chunks (batch_id) WHERE started_at IS NOT NULL;
CREATE INDEX hammerwork_chunks_batch ON hammerwork_chunks (batch_id, lo);
CREATE INDEX hammerwork_chunks_spans ON hammerwork_chunks (batch_id, hi) WHERE spans IS NOT NULL;
CREATE INDEX hammerwork_chunks_lost ON hammerwork_chunks (lost_by) WHERE lost_by IS NOT NULL;

-- What workers hold now; the row goes away with the last outcome.
CREATE TABLE hammerwork_claims (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    worker_id  uuid NOT NULL,
    chunk_id   bigint NOT NULL,
    batch_id   uuid NOT NULL,
    lo         integer NOT NULL,
    hi         integer NOT NULL,
    open       integer NOT NULL,
    -- [[lo, hi], ...] of the jobs without an outcome; null: all from lo to hi.
    remaining  json,
    -- Of a job that may kill its worker: whether the worker has begun to run it.
    started    boolean NOT NULL DEFAULT false,
    claimed_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX hammerwork_claims_worker ON hammerwork_claims (worker_id);
CREATE INDEX hammerwork_claims_batch ON hammerwork_claims (batch_id);

CREATE TABLE hammerwork_failures (
    batch_id   uuid NOT NULL,
    idx        integer NOT NULL,
    attempt    smallint NOT NULL,
    -- The job's last attempt: it has failed for good.
    final      boolean NOT NULL,
    error_type text NOT NULL,
    message    text NOT NULL,
    traceback  text,
    failed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (batch_id, idx, attempt)
);

CREATE TABLE hammerwork_workers (
    id            uuid PRIMARY KEY,
    queue         text NOT NULL,
    pool          text NOT NULL DEFAULT '',
    -- Where it runs (the Pod's uid): one process at a time, so a new one there means that the old one is gone.
    instance      text NOT NULL DEFAULT '',
    lanes         integer NOT NULL,
    -- Seconds of the upkeep's clock that may pass without a heartbeat.
    lease_seconds double precision NOT NULL,
    started_at    timestamptz NOT NULL DEFAULT now(),
    heartbeat_at  timestamptz NOT NULL DEFAULT now(),
    -- The upkeep's clock at the last heartbeat.
    heard         double precision NOT NULL,
    processed     bigint NOT NULL DEFAULT 0,
    failed        bigint NOT NULL DEFAULT 0,
    busy_ms       bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE INDEX hammerwork_workers_queue ON hammerwork_workers (queue);

-- One row. Its clock counts the seconds in which somebody was seen at work on this database, so time in which no worker
-- could have been heard (an outage, a server that restarts) ends no lease.
CREATE TABLE hammerwork_upkeep (
    id      smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    clock   double precision NOT NULL DEFAULT 0,
    seen_at timestamptz NOT NULL DEFAULT 'epoch'
) WITH (fillfactor = 10);
INSERT INTO hammerwork_upkeep DEFAULT VALUES;

-- Only queues that somebody has paused are here.
CREATE TABLE hammerwork_queues (
    name      text PRIMARY KEY,
    paused    boolean NOT NULL DEFAULT false,
    paused_at timestamptz
);

-- What the workers of a queue did in each minute, added up from their heartbeats; old minutes are removed.
CREATE TABLE hammerwork_statistics (
    queue     text NOT NULL,
    minute    timestamptz NOT NULL,
    processed bigint NOT NULL DEFAULT 0,
    failed    bigint NOT NULL DEFAULT 0,
    busy_ms   bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, minute)
) WITH (fillfactor = 70);
