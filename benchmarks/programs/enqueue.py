"""Enqueues one batch as a stream: ``enqueue URL JOBS made|streamed``.

``made``: the jobs exist before the clock starts, as with the peers. ``streamed``: they are made on the way.
"""

from __future__ import annotations

import gc
import json
import sys
import time

import uvloop

from benchmarks.memory import forget_peak, peak_resident_bytes, resident_bytes
from benchmarks.payload import load_jobs, make_batch, make_jobs
from hammerwork import JobQueue


async def main(url: str, count: int, *, made: bool) -> None:
    """Print what it took."""
    async with await JobQueue.connect(url) as queue:
        await load_jobs(queue, 1_000)  # the program's own memory, not the batch's
        jobs = list(make_jobs(count)) if made else make_jobs(count)
        gc.collect()
        before = resident_bytes()
        forget_peak()
        started = time.perf_counter()
        batch_id = await queue.enqueue_stream(make_batch("measured"), jobs)
        seconds = time.perf_counter() - started
        added = peak_resident_bytes() - before
        status = await queue.get_batch_status(batch_id)
    print(json.dumps({"jobs": status.total_jobs, "seconds": seconds, "added_bytes": added}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), made=sys.argv[3] == "made"))
