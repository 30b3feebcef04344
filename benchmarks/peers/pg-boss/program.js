// pg-boss as a peer: node program.js prepare|enqueue|drain URL [JOBS]. See benchmarks/peers/__init__.py.
"use strict";

const readline = require("node:readline");
const PgBoss = require("pg-boss");

const QUEUE = "jobs";
const JOBS_PER_INSERT = 1_000;
const JOBS_PER_FETCH = 10_000;
const FETCHERS = 2;

const [command, connectionString, count] = process.argv.slice(2);

async function connect() {
  // No maintenance and no schedules while measuring.
  const boss = new PgBoss({ connectionString, max: 10, schedule: false, supervise: false });
  boss.on("error", (error) => console.error(error));
  await boss.start();
  return boss;
}

async function prepare() {
  const boss = await connect();
  await boss.createQueue(QUEUE);
}

async function enqueue() {
  const boss = await connect();
  const jobs = Array.from({ length: Number(count) }, (_, user) => ({
    name: QUEUE,
    data: { user, email: "user1@example.com", s: "hello world" },
  }));
  const started = performance.now();
  for (let at = 0; at < jobs.length; at += JOBS_PER_INSERT) {
    await boss.insert(jobs.slice(at, at + JOBS_PER_INSERT));
  }
  console.log(JSON.stringify({ jobs: jobs.length, seconds: (performance.now() - started) / 1000 }));
}

async function handle() {}

async function drain() {
  const boss = await connect();
  const lines = readline.createInterface({ input: process.stdin });
  console.log("ready");
  await new Promise((resolve) => lines.once("line", resolve));
  lines.close();
  let jobs = 0;
  const started = Date.now() / 1000;
  await Promise.all(
    Array.from({ length: FETCHERS }, async () => {
      // fetch and complete in batches are faster than work(), which pauses between polls.
      for (;;) {
        const batch = await boss.fetch(QUEUE, { batchSize: JOBS_PER_FETCH });
        if (!batch || batch.length === 0) return;
        for (const job of batch) await handle(job);
        await boss.complete(QUEUE, batch.map((job) => job.id));
        jobs += batch.length;
      }
    }),
  );
  console.log(JSON.stringify({ jobs, started, ended: Date.now() / 1000 }));
}

({ prepare, enqueue, drain })[command]().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
