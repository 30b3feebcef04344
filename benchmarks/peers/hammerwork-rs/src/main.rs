//! The Rust crate hammerwork as a peer: `program prepare|enqueue|drain URL [JOBS]`. See benchmarks/peers/__init__.py.

use std::{
    error::Error,
    io::{BufRead, Write},
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hammerwork::{
    batch::JobBatch,
    migrations::{postgres::PostgresMigrationRunner, MigrationManager},
    queue::DatabaseQueue,
    worker::{JobHandler, Worker},
    Job, JobQueue,
};
use serde_json::json;
use sqlx::{postgres::PgPoolOptions, PgPool};
use tokio::sync::mpsc;

type Outcome = Result<(), Box<dyn Error>>;

const QUEUE: &str = "jobs";
/// The size that its documentation cuts large batches into. After each job its workers count the whole batch under a
/// lock, so that larger ones drain even slower.
const JOBS_PER_BATCH: usize = 1_000;
const WORKERS: usize = 2;
/// Its documentation's example of a setting that is faster than others.
const JOBS_PER_CLAIM: usize = 50;
const CONCURRENCY: usize = 10;

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let pool = PgPoolOptions::new().max_connections(40).connect(&arguments[1]).await?;
    match arguments[0].as_str() {
        "prepare" => prepare(pool).await,
        "enqueue" => enqueue(pool, arguments[2].parse()?).await,
        "drain" => drain(pool).await,
        other => Err(format!("command {other:?}: must be prepare, enqueue or drain").into()),
    }
}

async fn prepare(pool: PgPool) -> Outcome {
    let migrations = MigrationManager::new(Box::new(PostgresMigrationRunner::new(pool)));
    Ok(migrations.run_migrations().await?)
}

async fn enqueue(pool: PgPool, jobs: usize) -> Outcome {
    let queue = JobQueue::new(pool);
    let payloads: Vec<_> = (0..jobs)
        .map(|user| json!({"user": user, "email": "user1@example.com", "s": "hello world"}))
        .collect();
    let started = Instant::now();
    for part in payloads.chunks(JOBS_PER_BATCH) {
        let jobs = part.iter().map(|payload| Job::new(QUEUE.to_string(), payload.clone())).collect();
        queue.enqueue_batch(JobBatch::new("benchmark").with_jobs(jobs)).await?;
    }
    println!("{}", json!({"jobs": jobs, "seconds": started.elapsed().as_secs_f64()}));
    Ok(())
}

async fn drain(pool: PgPool) -> Outcome {
    let queue = Arc::new(JobQueue::new(pool.clone()));
    let done = Arc::new(AtomicU64::new(0));
    let counter = done.clone();
    let handler: JobHandler = Arc::new(move |_job| {
        let counter = counter.clone();
        Box::pin(async move {
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    });
    println!("ready");
    std::io::stdout().flush()?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;

    let started = epoch_seconds();
    let mut stops = Vec::new();
    let mut running = Vec::new();
    for _ in 0..WORKERS {
        let worker = Worker::new(queue.clone(), QUEUE.to_string(), handler.clone())
            .with_poll_interval(Duration::from_millis(10))
            .with_batch_size(JOBS_PER_CLAIM)
            .with_batch_concurrency(CONCURRENCY);
        let (stop, stopped) = mpsc::channel(1);
        stops.push(stop);
        running.push(tokio::spawn(async move { worker.run(stopped).await }));
    }
    let open = "SELECT EXISTS (SELECT 1 FROM hammerwork_jobs WHERE queue_name = $1 AND status IN ('Pending', 'Running'))";
    while sqlx::query_scalar::<_, bool>(open).bind(QUEUE).fetch_one(&pool).await? {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = epoch_seconds();
    for stop in &stops {
        stop.send(()).await?;
    }
    for worker in running {
        worker.await??;
    }
    println!("{}", json!({"jobs": done.load(Ordering::Relaxed), "started": started, "ended": ended}));
    Ok(())
}

fn epoch_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set").as_secs_f64()
}
