// graphile-worker as a peer: node program.js prepare|enqueue|drain URL [JOBS]. See benchmarks/peers/__init__.py.
"use strict";

const readline = require("node:readline");
const { Logger, makeWorkerUtils, runMigrations, runOnce } = require("graphile-worker");

const JOBS_PER_CALL = 10_000;
const CONCURRENT_JOBS = 50;
const LOCAL_QUEUE_SIZE = 2_000;

const [command, connectionString, count] = process.argv.slice(2);
const logger = new Logger(() => () => {});

async function prepare() {
  await runMigrations({ connectionString, logger });
}

async function enqueue() {
  const specs = Array.from({ length: Number(count) }, (_, user) => ({
    identifier: "noop",
    payload: { user, email: "user1@example.com", s: "hello world" },
  }));
  const utils = await makeWorkerUtils({ connectionString, logger });
  const started = performance.now();
  for (let at = 0; at < specs.length; at += JOBS_PER_CALL) {
    // The documented function for many jobs; sent as JSON because that is faster than an array of composites.
    await utils.withPgClient((client) =>
      client.query(
        "SELECT 1 FROM graphile_worker.add_jobs(ARRAY(SELECT json_populate_recordset(NULL::graphile_worker.job_spec, $1::json)))",
        [JSON.stringify(specs.slice(at, at + JOBS_PER_CALL))],
      ),
    );
  }
  console.log(JSON.stringify({ jobs: specs.length, seconds: (performance.now() - started) / 1000 }));
  await utils.release();
}

async function drain() {
  const preset = {
    worker: {
      connectionString,
      concurrentJobs: CONCURRENT_JOBS,
      maxPoolSize: 12,
      // What its documentation recommends for throughput: jobs fetched ahead, completions sent in batches.
      localQueue: { size: LOCAL_QUEUE_SIZE, refetchDelay: { durationMs: 10 } },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  };
  let jobs = 0;
  const lines = readline.createInterface({ input: process.stdin });
  console.log("ready");
  await new Promise((resolve) => lines.once("line", resolve));
  lines.close();
  const started = Date.now() / 1000;
  await runOnce({ preset, logger, noHandleSignals: true, taskList: { noop: () => { jobs += 1; } } });
  console.log(JSON.stringify({ jobs, started, ended: Date.now() / 1000 }));
}

({ prepare, enqueue, drain })[command]().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
