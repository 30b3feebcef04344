"""No worker's clock reaches the database: leases, retries and times of day are the server's own."""

from __future__ import annotations

import ast
import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hammerwork
from hammerwork import JobBatch, JobQueue, JobStatus, RetryPolicy
from tests.chaos.clock import derange
from tests.chaos.places import Place
from tests.chaos.plan import QUEUE, Deed, WorkerPlan
from tests.harness.observing import all_jobs, eventually, finished

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

_WALL_CLOCK = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
_ALLOWED = {("ids.py", "time.time"), ("handlers/http.py", "time.time")}
"""The time within a fresh batch id, which orders nothing but the pages of an index; and what a service's Retry-After is
compared with, if that is a date."""


def _calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func)


def test_the_library_reads_no_wall_clock() -> None:
    folder = Path(hammerwork.__file__).parent
    files = [path for path in folder.rglob("*.py") if "cli" not in path.relative_to(folder).parts]
    read = {(str(path.relative_to(folder)), call) for path in files for call in _calls(path) if call in _WALL_CLOCK}
    assert read == _ALLOWED


def test_a_deranged_clock_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    true_time = time.time
    monkeypatch.setattr(time, "time", true_time)  # so that both are put back
    monkeypatch.setattr(time, "time_ns", time.time_ns)
    derange(5)
    assert abs(time.time() - true_time()) > 4 * 3600
    assert abs(time.time_ns() / 1e9 - true_time()) > 4 * 3600


async def test_retries_and_leases_keep_the_servers_time(database_url: str, tmp_path: Path) -> None:
    async with await JobQueue.connect(database_url) as queue:
        await queue.create_tables()
        plan = WorkerPlan(number=0, lanes=4, batch_processing=True, named=False, clock_hours=5.0)
        place = Place(plan, database_url=database_url, folder=tmp_path, lease_seconds=30.0)
        work = asyncio.create_task(place.run())
        try:
            jobs = [hammerwork.Job(QUEUE, {"deed": Deed.FLAKY.value}) for _ in range(20)]
            # Hours of difference would make a retry come at once, or never within the deadline.
            policy = RetryPolicy(initial_seconds=1.0, jitter=0.0)
            batch = JobBatch("retried").with_jobs(jobs).with_retry_policy(policy)
            batch_id = await queue.enqueue_batch(batch)
            status = await finished(queue, batch_id)
            assert status.completed_jobs == 20
            assert status.started_at is not None
            assert status.finished_at is not None
            assert 1.0 <= (status.finished_at - status.started_at).total_seconds() < 60
            for moment in (status.started_at, status.finished_at):
                assert abs(moment.timestamp() - time.time()) < 600
            (worker,) = await eventually(lambda: queue.get_workers(QUEUE), lambda workers: len(workers) == 1)
            assert abs(worker.heartbeat_at.timestamp() - time.time()) < 600
            assert await queue.release_lost_claims() == 0
            assert len(await all_jobs(queue, batch_id, JobStatus.COMPLETED)) == 20
        finally:
            place.close()
            await asyncio.wait_for(work, 60)
