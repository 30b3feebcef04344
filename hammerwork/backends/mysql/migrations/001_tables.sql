-- Times are UTC. Texts are compared byte by byte. Every statement may run again: DDL commits by itself, so a migration
-- that was cut short starts over.

-- A batch. `completed` and `failed` count the jobs of chunks that are finished and gone; open chunks carry their own.
CREATE TABLE IF NOT EXISTS hammerwork_batches (
    id              BINARY(16) NOT NULL PRIMARY KEY,
    name            VARCHAR(253) NOT NULL,
    queue           VARCHAR(63) NOT NULL,
    failure_mode    VARCHAR(32) NOT NULL,
    -- Loading, Pending (claimable; shown as Running once it has begun), or one of the four ends.
    state           VARCHAR(32) NOT NULL DEFAULT 'Loading',
    suspended       BOOLEAN NOT NULL DEFAULT FALSE,
    total           BIGINT NOT NULL DEFAULT 0,
    completed       BIGINT NOT NULL DEFAULT 0,
    failed          BIGINT NOT NULL DEFAULT 0,
    batch_size      INT NOT NULL,
    max_attempts    INT NOT NULL,
    timeout_seconds DOUBLE,
    retry_policy    TEXT NOT NULL,
    top_priority    TINYINT NOT NULL DEFAULT 0,
    -- [[first index, priority], ...]: jobs from there on have this priority.
    priorities      LONGTEXT NOT NULL,
    `rank`          BIGINT NOT NULL,
    metadata        JSON NOT NULL,
    fingerprint     VARCHAR(255),
    created_at      DATETIME(6) NOT NULL,
    sealed_at       DATETIME(6),
    started_at      DATETIME(6),
    finished_at     DATETIME(6),
    KEY hammerwork_batches_created (created_at, id),
    KEY hammerwork_batches_finished (queue, finished_at, state)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Written once, never updated; the primary key is its only index. The payload is JSON, as text: JSON columns cost a
-- second parse, and MariaDB's check refuses what is nested more than 31 deep.
CREATE TABLE IF NOT EXISTS hammerwork_jobs (
    batch_id BINARY(16) NOT NULL,
    idx      INT NOT NULL,
    payload  LONGTEXT NOT NULL,
    PRIMARY KEY (batch_id, idx)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A run of jobs lo..hi with one priority and one attempt. Jobs below `next` are handed out.
-- completed + failed + moved (to other chunks) = hi - lo + 1 ends the chunk: its counts go to the batch and the row goes
-- away. Handed out and in none of the three = running.
CREATE TABLE IF NOT EXISTS hammerwork_chunks (
    id          BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    batch_id    BINARY(16) NOT NULL,
    queue       VARCHAR(63) NOT NULL,
    -- 4 - priority: 0 goes first. Descending indexes are not in all the versions that we support.
    precedence  TINYINT NOT NULL,
    `rank`      BIGINT NOT NULL,
    -- held (loading, suspended), ready, scheduled (until run_at), taken (all handed out), cancelled
    state       VARCHAR(16) NOT NULL,
    attempt     SMALLINT NOT NULL DEFAULT 1,
    lo          INT NOT NULL,
    hi          INT NOT NULL,
    next        INT NOT NULL,
    completed   INT NOT NULL DEFAULT 0,
    failed      INT NOT NULL DEFAULT 0,
    moved       INT NOT NULL DEFAULT 0,
    -- After the loss of a worker: claim no more than this at a time; 1 means alone, and `losses` counts those.
    claim_limit INT,
    losses      SMALLINT NOT NULL DEFAULT 0,
    run_at      DATETIME(6),
    started_at  DATETIME(6),
    KEY hammerwork_chunks_ready (queue, state, precedence, `rank`, id),
    KEY hammerwork_chunks_scheduled (queue, state, run_at),
    KEY hammerwork_chunks_batch (batch_id, lo)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What workers hold now; the row goes away with the last outcome.
CREATE TABLE IF NOT EXISTS hammerwork_claims (
    id         BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    worker_id  BINARY(16) NOT NULL,
    chunk_id   BIGINT NOT NULL,
    batch_id   BINARY(16) NOT NULL,
    lo         INT NOT NULL,
    hi         INT NOT NULL,
    open       INT NOT NULL,
    -- [[lo, hi], ...] of the jobs without an outcome; null: all of them.
    remaining  TEXT,
    claimed_at DATETIME(6) NOT NULL,
    KEY hammerwork_claims_worker (worker_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS hammerwork_failures (
    batch_id   BINARY(16) NOT NULL,
    idx        INT NOT NULL,
    attempt    SMALLINT NOT NULL,
    -- The job's last attempt: it has failed for good.
    final      BOOLEAN NOT NULL,
    error_type TEXT NOT NULL,
    message    TEXT NOT NULL,
    traceback  TEXT,
    failed_at  DATETIME(6) NOT NULL,
    PRIMARY KEY (batch_id, idx, attempt)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS hammerwork_workers (
    id           BINARY(16) NOT NULL PRIMARY KEY,
    queue        VARCHAR(63) NOT NULL,
    pool         VARCHAR(255) NOT NULL DEFAULT '',
    -- Where it runs (the Pod's uid): one process at a time, so a new one there means that the old one is gone.
    instance     VARCHAR(255) NOT NULL DEFAULT '',
    lanes        INT NOT NULL,
    started_at   DATETIME(6) NOT NULL,
    heartbeat_at DATETIME(6) NOT NULL,
    processed    BIGINT NOT NULL DEFAULT 0,
    failed       BIGINT NOT NULL DEFAULT 0,
    busy_ms      BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Only queues that somebody has paused are here.
CREATE TABLE IF NOT EXISTS hammerwork_queues (
    name      VARCHAR(63) NOT NULL PRIMARY KEY,
    paused    BOOLEAN NOT NULL DEFAULT FALSE,
    paused_at DATETIME(6)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What the workers of a queue did in each minute, added up from their heartbeats; old minutes are removed.
CREATE TABLE IF NOT EXISTS hammerwork_statistics (
    queue     VARCHAR(63) NOT NULL,
    minute    DATETIME NOT NULL,
    processed BIGINT NOT NULL DEFAULT 0,
    failed    BIGINT NOT NULL DEFAULT 0,
    busy_ms   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, minute)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
