-- A batch. `completed` and `failed` count the jobs of chunks that are finished and gone; open chunks carry their own.
CREATE TABLE hammerwork_batches (
    id              uuid PRIMARY KEY,
    name            text NOT NULL,
    queue           text NOT NULL,
    failure_mode    text NOT NULL,
    -- Loading, Pending (claimable; shown as Running once it has begun), or one of the four ends.
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
    sealed_at       timestamptz,
    started_at      timestamptz,
    finished_at     timestamptz
) WITH (fillfactor = 50);

CREATE INDEX hammerwork_batches_created ON hammerwork_batches (created_at, id);
CREATE INDEX hammerwork_batches_metadata ON hammerwork_batches USING gin (metadata jsonb_path_ops);
CREATE INDEX hammerwork_batches_stopping ON hammerwork_batches (id)
    WHERE state IN ('Failed', 'Cancelled') AND finished_at IS NULL;

-- Written once, never updated; the primary key is its only index.
CREATE TABLE hammerwork_jobs (
    batch_id uuid NOT NULL,
    idx      integer NOT NULL,
    payload  json NOT NULL,
    PRIMARY KEY (batch_id, idx)
);

-- A run of jobs lo..hi with one priority and one attempt. Jobs below `next` are handed out, so a claim is an update of
-- columns without an index. completed + failed + moved (to other chunks) = hi - lo + 1 ends the chunk: its counts go to
-- the batch and the row goes away. Handed out and in none of the three = running.
CREATE TABLE hammerwork_chunks (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id    uuid NOT NULL,
    queue       text NOT NULL,
    priority    smallint NOT NULL,
    rank        bigint NOT NULL,
    -- held (loading, suspended), ready, scheduled (until run_at), taken (all handed out), cancelled
    state       text NOT NULL,
    attempt     smallint NOT NULL DEFAULT 1,
    lo          integer NOT NULL,
    hi          integer NOT NULL,
    next        integer NOT NULL,
    completed   integer NOT NULL DEFAULT 0,
    failed      integer NOT NULL DEFAULT 0,
    moved       integer NOT NULL DEFAULT 0,
    -- After the loss of a worker: claim no more than this at a time; 1 means alone, and `losses` counts those.
    claim_limit integer,
    losses      smallint NOT NULL DEFAULT 0,
    run_at      timestamptz,
    started_at  timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX hammerwork_chunks_ready ON hammerwork_chunks (queue, priority DESC, rank, id) WHERE state = 'ready';
CREATE INDEX hammerwork_chunks_scheduled ON hammerwork_chunks (queue, run_at) WHERE state = 'scheduled';
CREATE INDEX hammerwork_chunks_batch ON hammerwork_chunks (batch_id, lo);

-- What workers hold now; the row goes away with the last outcome.
CREATE TABLE hammerwork_claims (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    worker_id  uuid NOT NULL,
    chunk_id   bigint NOT NULL,
    batch_id   uuid NOT NULL,
    lo         integer NOT NULL,
    hi         integer NOT NULL,
    open       integer NOT NULL,
    -- [[lo, hi], ...] of the jobs without an outcome; null: all of them.
    remaining  json,
    claimed_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX hammerwork_claims_worker ON hammerwork_claims (worker_id);

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
    id           uuid PRIMARY KEY,
    queue        text NOT NULL,
    pool         text NOT NULL DEFAULT '',
    -- Where it runs (the Pod's uid): one process at a time, so a new one there means that the old one is gone.
    instance     text NOT NULL DEFAULT '',
    lanes        integer NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    processed    bigint NOT NULL DEFAULT 0,
    failed       bigint NOT NULL DEFAULT 0,
    busy_ms      bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

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
