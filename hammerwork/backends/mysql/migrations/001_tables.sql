-- Times are UTC. Texts are compared byte by byte. Every statement may run again: DDL commits by itself, so a migration
-- that was cut short starts over.

-- A batch. `completed` and `failed` count the jobs of chunks that are finished and gone; open chunks carry their own.
CREATE TABLE IF NOT EXISTS hammerwork_batches (
    id              BINARY(16) NOT NULL PRIMARY KEY,
    name            VARCHAR(253) NOT NULL,
    queue           VARCHAR(63) NOT NULL,
    failure_mode    VARCHAR(32) NOT NULL,
    -- Loading, Pending (sealed; shown as Running once it has begun), one of the four ends; or one that is left by itself:
    -- Abandoned (its stream broke a rule), Deleting, Retrying (failed jobs become chunks again, slice by slice).
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
    -- Whether all jobs are there is this column and no other.
    sealed_at       DATETIME(6),
    started_at      DATETIME(6),
    finished_at     DATETIME(6),
    KEY hammerwork_batches_created (created_at, id),
    KEY hammerwork_batches_finished (queue, finished_at, total),
    -- What is worked on, and what somebody has to bring to its end.
    KEY hammerwork_batches_state (state, finished_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Payloads of the neighbouring jobs lo..hi of one chunk: JSON texts with commas between them. Written once, never updated.
-- As text: JSON columns cost a second parse, and MariaDB's check refuses what is nested more than 31 deep.
CREATE TABLE IF NOT EXISTS hammerwork_pages (
    batch_id BINARY(16) NOT NULL,
    lo       INT NOT NULL,
    hi       INT NOT NULL,
    payloads LONGTEXT NOT NULL,
    PRIMARY KEY (batch_id, lo)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- A row for each priority of a batch that has ready chunks and may be worked on: it is sealed, not suspended, and has not
-- ended. So claims find work without looking at chunks, and no state of the batch is copied into its chunks. Claims lock
-- it FOR SHARE and never change it. Its only index is the order of claims: with a second one, who comes by the one and who
-- comes by the other could wait for each other.
CREATE TABLE IF NOT EXISTS hammerwork_ready (
    queue      VARCHAR(63) NOT NULL,
    -- 4 - priority: 0 goes first. Descending indexes are not in all the versions that we support.
    precedence TINYINT NOT NULL,
    `rank`     BIGINT NOT NULL,
    batch_id   BINARY(16) NOT NULL,
    PRIMARY KEY (queue, precedence, `rank`, batch_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Up to 1,000 jobs of one priority and one attempt: lo..hi, or the spans in it. The first `next` of them are handed out,
-- so a claim of a part is an update of columns without an index. completed + failed + moved (to other chunks) = size ends
-- the chunk: its counts go to the batch and the row goes away. Handed out and in none of the three = running.
CREATE TABLE IF NOT EXISTS hammerwork_chunks (
    id          BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    batch_id    BINARY(16) NOT NULL,
    precedence  TINYINT NOT NULL,
    -- -1 goes before the other chunks of the priority.
    place       TINYINT NOT NULL DEFAULT 0,
    -- ready, scheduled (until run_at), taken (all handed out). Whether the batch may run is not told here.
    state       VARCHAR(16) NOT NULL,
    attempt     SMALLINT NOT NULL DEFAULT 1,
    lo          INT NOT NULL,
    hi          INT NOT NULL,
    -- [[lo, hi], ...] in ascending order; null: all from lo to hi.
    spans       TEXT,
    size        INT NOT NULL,
    next        INT NOT NULL DEFAULT 0,
    completed   INT NOT NULL DEFAULT 0,
    failed      INT NOT NULL DEFAULT 0,
    moved       INT NOT NULL DEFAULT 0,
    -- After the loss of a worker: claim no more than this at a time; 1 means alone, and `losses` counts the workers that
    -- were lost while they ran it; the last of these is `lost_by`.
    claim_limit INT,
    losses      SMALLINT NOT NULL DEFAULT 0,
    lost_by     BINARY(16),
    run_at      DATETIME(6),
    started_at  DATETIME(6),
    KEY hammerwork_chunks_ready (batch_id, precedence, state, place, id),
    KEY hammerwork_chunks_scheduled (run_at),
    KEY hammerwork_chunks_begun (batch_id, started_at),
    KEY hammerwork_chunks_batch (batch_id, lo),
    KEY hammerwork_chunks_lost (lost_by)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- What workers hold now; the row goes away with the last outcome. Whoever claims makes up the id, by chance.
CREATE TABLE IF NOT EXISTS hammerwork_claims (
    id         BIGINT NOT NULL PRIMARY KEY,
    worker_id  BINARY(16) NOT NULL,
    chunk_id   BIGINT NOT NULL,
    batch_id   BINARY(16) NOT NULL,
    lo         INT NOT NULL,
    hi         INT NOT NULL,
    open       INT NOT NULL,
    -- [[lo, hi], ...] of the jobs without an outcome; null: all from lo to hi.
    remaining  TEXT,
    -- Of a job that may kill its worker: whether the worker has begun to run it.
    started    BOOLEAN NOT NULL DEFAULT FALSE,
    claimed_at DATETIME(6) NOT NULL,
    KEY hammerwork_claims_worker (worker_id),
    KEY hammerwork_claims_batch (batch_id, lo)
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
    id            BINARY(16) NOT NULL PRIMARY KEY,
    queue         VARCHAR(63) NOT NULL,
    pool          VARCHAR(255) NOT NULL DEFAULT '',
    -- Where it runs (the Pod's uid): one process at a time, so a new one there means that the old one is gone.
    instance      VARCHAR(255) NOT NULL DEFAULT '',
    lanes         INT NOT NULL,
    -- Seconds of the upkeep's clock that may pass without a heartbeat.
    lease_seconds DOUBLE NOT NULL,
    started_at    DATETIME(6) NOT NULL,
    heartbeat_at  DATETIME(6) NOT NULL,
    -- The upkeep's clock at the last heartbeat.
    heard         DOUBLE NOT NULL,
    processed     BIGINT NOT NULL DEFAULT 0,
    failed        BIGINT NOT NULL DEFAULT 0,
    busy_ms       BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- One row. Its clock counts the seconds in which somebody was seen at work on this database, so time in which no worker
-- could have been heard (an outage, a server that restarts) ends no lease.
CREATE TABLE IF NOT EXISTS hammerwork_upkeep (
    id      TINYINT NOT NULL PRIMARY KEY,
    clock   DOUBLE NOT NULL,
    seen_at DATETIME(6) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
INSERT INTO hammerwork_upkeep (id, clock, seen_at) VALUES (1, 0, '1970-01-01')
ON DUPLICATE KEY UPDATE id = hammerwork_upkeep.id;

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

-- Single jobs, for people: workers get whole pages. Limited by the server's JSON functions (MariaDB: 31 levels). The last
-- statement: not every server that we support can leave a view alone that is there.
CREATE SQL SECURITY INVOKER VIEW /*M! IF NOT EXISTS */ /*!90100 IF NOT EXISTS */ hammerwork_jobs AS
    SELECT p.batch_id, p.lo + CAST(j.position AS SIGNED) - 1 AS idx, j.payload
    FROM hammerwork_pages p
    JOIN JSON_TABLE(CONCAT('[', p.payloads, ']'), '$[*]' COLUMNS (
        position FOR ORDINALITY, payload JSON PATH '$' NULL ON ERROR)) j;
