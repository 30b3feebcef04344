"""Jobs that are posted to a service, on a real queue."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from aiohttp import web

from hammerwork import Job, JobBatch, JobQueue, JobStatus, PartialFailureMode, Worker
from hammerwork.handlers import HTTPHandler
from tests.harness.batches import AT_ONCE
from tests.harness.observing import all_jobs, comes_to, finished, running
from tests.harness.services import serving

if TYPE_CHECKING:
    import pytest

FATES = {
    "fine": (JobStatus.COMPLETED, 1, None),
    "wrong": (JobStatus.FAILED, 1, "422 Unprocessable Entity: wrong"),
    "broken": (JobStatus.FAILED, 2, "500 Internal Server Error: broken"),
    "later": (JobStatus.COMPLETED, 1, "503 Service Unavailable: later"),
    "never": (JobStatus.FAILED, 2, "the job ran longer than 0.5 s"),
}
"""Status, recorded attempts and last message of jobs by what the service does with them."""


class Service:
    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = defaultdict(list)

    async def answer(self, request: web.Request) -> web.Response:
        do = (await request.json())["do"]
        self.seen[do].append(time.monotonic())
        match do:
            case "wrong":
                return web.Response(status=422, text=do)
            case "broken":
                return web.Response(status=500, text=do)
            case "later" if len(self.seen[do]) == 1:
                return web.Response(status=503, text=do, headers={"Retry-After": "1"})
            case "never":
                await asyncio.sleep(1000)
        return web.Response()


async def test_the_service_decides_on_each_job_and_is_waited_for(
    queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service()
    jobs: list[Any] = []
    async with serving(service.answer) as url, running(Worker(queue, "q", HTTPHandler(url))):
        for some, timeout in (({"never"}, 0.5), (FATES.keys() - {"never"}, 60.0)):
            batch = JobBatch("posted").with_jobs(Job("q", {"do": do}) for do in some).with_retry_policy(AT_ONCE)
            batch.with_partial_failure_handling(PartialFailureMode.COLLECT_ERRORS)
            batch_id = await queue.enqueue_batch(batch.with_max_attempts(2).with_timeout(timeout))
            await finished(queue, batch_id)
            jobs += await all_jobs(queue, batch_id)
    assert {job.payload["do"]: (job.status, job.attempts, job.error and job.error.message) for job in jobs} == FATES
    first, second = service.seen["later"]
    assert second - first >= 1

    # Nobody serves there any more: no attempt is spent.
    second_batch = await queue.enqueue_batch(JobBatch("waiting").with_jobs([Job("q", {"do": "fine"})]))
    async with running(Worker(queue, "q", HTTPHandler(url)).with_shutdown_grace_period(0.1)):
        await comes_to(queue, second_batch, lambda _: "cannot be reached, its jobs wait" in caplog.text)
    (job,) = await all_jobs(queue, second_batch)
    assert (job.status, job.error) == (JobStatus.PENDING, None)
