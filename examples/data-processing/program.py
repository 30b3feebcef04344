"""The data-processing example as one Python program, without Kubernetes.

    python examples/data-processing/program.py [DATABASE_URL]

Without an address, in the command line or in HAMMERWORK_DATABASE_URL, a PostgreSQL of its own is started.
"""

from __future__ import annotations

import asyncio
import os
import sys

from data_processing import transform

from hammerwork import Job, JobBatch, JobQueue, PartialFailureMode, Worker, WorkerPool
from hammerwork.embedded import embedded_postgres


async def main(database_url: str) -> None:
    # Setup
    queue = await JobQueue.connect(database_url)
    await queue.create_tables()

    # Create a batch of data processing jobs
    jobs = [Job("data-processing", {"file_id": f"file_{i}", "operation": "transform"}) for i in range(100)]

    # Configure and enqueue the batch
    batch = (
        JobBatch("daily_data_processing")
        .with_jobs(jobs)
        .with_batch_size(25)
        .with_partial_failure_handling(PartialFailureMode.CONTINUE_ON_ERROR)
        .with_metadata("date", "2024-01-15")
        .with_metadata("source", "automated_pipeline")
    )
    batch_id = await queue.enqueue_batch(batch)
    print(f"Enqueued batch: {batch_id}")

    # Start processing
    worker = Worker(queue, "data-processing", transform).with_batch_processing_enabled(True)
    pool = WorkerPool()
    pool.add_worker(worker)
    processing = asyncio.create_task(pool.start())

    # Monitor progress
    while True:
        await asyncio.sleep(0.5)
        status = await queue.get_batch_status(batch_id)
        print(f"Progress: {status.completed_jobs}/{status.total_jobs} jobs completed")
        if status.pending_jobs == 0:
            print(f"Batch completed with {status.success_rate():.1%} success rate")
            break

    pool.stop()
    await processing
    stats = worker.get_batch_stats()
    print(f"Jobs processed: {stats.jobs_processed}, on average in {stats.average_processing_time_ms:.1f} ms")

    # Cleanup
    await queue.delete_batch(batch_id)
    await queue.close()


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("HAMMERWORK_DATABASE_URL")
    if url:
        asyncio.run(main(url))
    else:
        with embedded_postgres() as url:
            asyncio.run(main(url))
