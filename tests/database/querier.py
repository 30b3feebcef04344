"""A process that stores a job for each row of queries, and tells what became of them. Its order: URL, statements."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from pathlib import Path

from hammerwork import HammerworkError, Job, JobBatch, JobQueue
from tests.harness.processes import told


async def main(url: str, *statements: str) -> None:
    """Print a line for each statement: jobs or message, and the peak of memory so far, in MiB above the beginning."""
    async with await JobQueue.connect(url) as queue:
        await _store(queue, "SELECT 1 AS n")  # what is loaded once, such as modules, is left out
        before = _mib("VmRSS")
        for sql in statements:
            said: int | str
            try:
                said = await _store(queue, sql)
            except HammerworkError as error:
                said = str(error)
            print(json.dumps([said, _mib("VmHWM") - before]), flush=True)


async def _store(queue: JobQueue, sql: str) -> int:
    batch_id = uuid.uuid4()
    async with queue.query(sql, timeout=120, alone=batch_id) as rows:
        jobs = (Job("q", row) async for row in rows)
        await queue.enqueue_stream(JobBatch("rows", queue="q"), jobs, batch_id=batch_id)
    return (await queue.get_batch_status(batch_id)).total_jobs


def _mib(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) // 1024


if __name__ == "__main__":
    asyncio.run(main(*told(list[str])))
