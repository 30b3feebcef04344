"""Large reports, large claims: they are cut until they get through."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from hammerwork import Job, JobBatch, JobQueue, PartialFailureMode, Worker
from tests.harness.observing import all_jobs, finished, running
from tests.harness.proxy import proxy
from tests.harness.servers.mariadb import mariadb_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LONG = "\N{SEE-NO-EVIL MONKEY}" * 8_000
"""Four bytes each, and eight more where non-ASCII text is escaped."""


@pytest.fixture
async def short_packets(request: pytest.FixtureRequest) -> AsyncIterator[JobQueue]:
    """A queue on a server that takes statements of up to the given size."""
    with mariadb_server({"max_allowed_packet": request.param}) as server:
        async with await JobQueue.connect(server.url()) as queue:
            await queue.create_tables()
            yield queue


async def fails(job: Job) -> None:
    raise ValueError(f"{job.index} {LONG}")


async def check_failures(queue: JobQueue, *, batch_size: int) -> list[str]:
    """Let a thousand jobs fail, each with as much text as there can be; return the types of the recorded errors."""
    batch_id = await queue.enqueue_batch(
        JobBatch("mail")
        .with_jobs(Job("q", n) for n in range(1_000))
        .with_batch_size(batch_size)
        .with_max_attempts(1)
        .with_partial_failure_handling(PartialFailureMode.COLLECT_ERRORS)
    )
    async with running(Worker(queue, "q", fails).with_concurrency(50)):
        status = await finished(queue, batch_id)
    assert (status.failed_jobs, status.running_jobs) == (1_000, 0)
    errors = [job.error for job in await all_jobs(queue, batch_id)]
    return [error.type for error in errors if error is not None]


@pytest.mark.every_server
@pytest.mark.parametrize("batch_size", [10, 1_000])
async def test_reports_with_long_errors(queue: JobQueue, batch_size: int) -> None:
    assert await check_failures(queue, batch_size=batch_size) == ["ValueError"] * 1_000


@pytest.mark.own_server
@pytest.mark.parametrize("short_packets", ["8M"], indirect=True)
async def test_many_reports_are_cut_by_their_bytes(short_packets: JobQueue, caplog: pytest.LogCaptureFixture) -> None:
    assert await check_failures(short_packets, batch_size=10) == ["ValueError"] * 1_000
    assert "max_allowed_packet" not in caplog.text


@pytest.mark.own_server
@pytest.mark.parametrize("short_packets", ["1M"], indirect=True)
async def test_a_report_that_the_server_finds_too_long(short_packets: JobQueue) -> None:
    types = await check_failures(short_packets, batch_size=1_000)
    assert len(types) == 1_000
    assert set(types) <= {"ValueError", "Unstorable"}


async def test_a_claim_that_takes_too_long_to_arrive(
    queue: JobQueue, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As 8 MiB at 0.6 MB/s do within 10 s; all of it a tenth of that here."""
    for module in ("working.pump", "backends.postgres.backend", "backends.mysql.backend"):
        monkeypatch.setattr(f"hammerwork.{module}.EXCHANGE_SECONDS", 1.0)
    for module in ("working.pulse", "backends.postgres.lifeline", "backends.mysql.lifeline"):
        monkeypatch.setattr(f"hammerwork.{module}.RECOVER_SECONDS", 2.0)
    batch_id = await queue.enqueue_batch(JobBatch("big").with_jobs(Job("q", f"{n} {LONG * 3}") for n in range(8)))
    runs: Counter[int] = Counter()

    async def handler(job: Job) -> None:
        runs[job.index] += 1

    async with proxy(database_url) as (relay, url), await JobQueue.connect(url) as slow:
        relay.bytes_per_second = 600_000
        async with running(Worker(slow, "q", handler, lease_seconds=3.0)):
            status = await finished(queue, batch_id)
    assert status.completed_jobs == 8
    assert set(runs.values()) == {1}
