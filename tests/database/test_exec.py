"""Jobs that are commands, on a real queue: whatever a command does, it is its job that fails, and no other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hammerwork import Job, JobBatch, JobQueue, JobStatus, PartialFailureMode, Worker
from hammerwork.handlers import ExecHandler
from tests.harness.batches import AT_ONCE
from tests.harness.observing import all_jobs, comes_to, finished, happens, running

if TYPE_CHECKING:
    from pathlib import Path

HANGS = "the job ran longer than 1 s"
FATES = {
    "exit 0": (JobStatus.COMPLETED, 1, None),
    "head -c 3000000 /dev/zero": (JobStatus.COMPLETED, 1, None),
    "sleep 1000 &": (JobStatus.COMPLETED, 1, None),
    'test "$HAMMERWORK_ATTEMPT" = 2 || { echo first >&2; exit 5; }': (JobStatus.COMPLETED, 1, "exit code 5: first"),
    "echo no >&2; exit 100": (JobStatus.FAILED, 1, "exit code 100: no"),
    "kill -9 $$": (JobStatus.FAILED, 2, "ended by signal 9 (SIGKILL): nothing on standard error"),
    "sleep 1000": (JobStatus.FAILED, 2, HANGS),
    "sleep 1000 & sleep 1000; true": (JobStatus.FAILED, 2, HANGS),
    None: (JobStatus.FAILED, 1, "argument 2 '{{ payload.script }}': the payload has no 'script'"),
}
"""What becomes of jobs by their scripts: status, attempts that are recorded, and last message."""


async def test_each_command_decides_on_its_own_job(queue: JobQueue) -> None:
    found = {}
    handler = ExecHandler(["sh", "-c", "{{ payload.script }}"])
    async with running(Worker(queue, "q", handler).with_concurrency(len(FATES))):
        for hangs in (True, False):
            scripts = [script for script, (_, _, message) in FATES.items() if hangs == (message == HANGS)]
            payloads = [{} if script is None else {"script": script} for script in scripts]
            batch = JobBatch("commands").with_jobs(Job("q", payload) for payload in payloads)
            batch.with_max_attempts(2).with_retry_policy(AT_ONCE).with_timeout(1 if hangs else 60)
            batch_id = await queue.enqueue_batch(batch.with_partial_failure_handling(PartialFailureMode.COLLECT_ERRORS))
            await finished(queue, batch_id)
            for job in await all_jobs(queue, batch_id):
                found[job.payload.get("script")] = (job.status, job.attempts, job.error and job.error.message)
    assert found == FATES


async def test_a_worker_that_stops_ends_its_commands_and_returns_the_jobs(queue: JobQueue, tmp_path: Path) -> None:
    batch_id = await queue.enqueue_batch(JobBatch("slow").with_jobs(Job("q", n) for n in range(3)))
    script = 'trap "echo ended >> log; exit 1" TERM; echo $HAMMERWORK_JOB_ID >> log; sleep 1000 & wait'
    handler = ExecHandler(["sh", "-c", script], folder=tmp_path)
    log = tmp_path / "log"
    worker = Worker(queue, "q", handler).with_concurrency(2).with_shutdown_grace_period(0.1)
    async with running(worker):
        await happens(lambda: log.exists() and log.read_text().count("\n") == 2)
    assert sorted(log.read_text().split()) == sorted([f"{batch_id}/0", f"{batch_id}/1", "ended", "ended"])
    status = await comes_to(queue, batch_id, lambda status: status.running_jobs == 0)
    assert (status.pending_jobs, status.failed_jobs) == (3, 0)
