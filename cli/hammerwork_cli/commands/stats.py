"""`hammerwork stats`: what a queue and its workers have done lately."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from hammerwork.queue import JobQueue  # noqa: TC001
from hammerwork.reports import QueueStatistics, WorkerInfo, percentage
from hammerwork_cli.commands.pause import QueueName  # noqa: TC001
from hammerwork_cli.output.console import DatabaseURL, Output, OutputOption, standard_output, with_queue
from hammerwork_cli.output.json import encode
from hammerwork_cli.output.tables import make_table


def stats(
    queue_name: QueueName,
    database_url: DatabaseURL,
    minutes: Annotated[int, typer.Option(min=1, max=7 * 24 * 60, help="How many minutes to look back.")] = 60,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the recent work of a queue, and its workers."""

    async def look(queue: JobQueue) -> tuple[QueueStatistics, list[WorkerInfo]]:
        return (
            await queue.get_queue_statistics(queue_name, timedelta(minutes=minutes)),
            await queue.get_workers(queue_name),
        )

    statistics, workers = with_queue(database_url, look)
    if output is Output.JSON:
        typer.echo(encode({"statistics": statistics, "workers": workers}))
        return
    failed = percentage(statistics.failed, statistics.total_processed, digits=1)
    typer.echo(
        f"queue {queue_name}, last {minutes} min: {statistics.total_processed:,} attempts "
        f"({statistics.throughput:,.1f}/s, {failed} failed, "
        f"{statistics.average_processing_time_ms:,.1f} ms each), {statistics.batches:,} batches finished "
        f"({statistics.average_batch_size:,.1f} jobs each); now {statistics.depth.ready:,} ready, "
        f"{statistics.depth.scheduled:,} scheduled, {statistics.depth.running:,} running"
        f"{', the queue is paused' if statistics.depth.paused else ''}"
    )
    table = make_table(("Worker", "Pool"), ("Lanes", "Attempts", "Failed", "ms each"))
    for worker in workers:
        table.add(
            str(worker.id),
            worker.pool,
            str(worker.lanes),
            f"{worker.jobs_processed:,}",
            f"{worker.jobs_failed:,}",
            f"{worker.average_processing_time_ms:,.1f}",
        )
    standard_output().print(table)
