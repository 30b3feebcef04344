"""The handler of the data-processing example: reads a file's records, transforms them and keeps the result."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import random
import statistics
from pathlib import Path
from typing import Any

from hammerwork import Job, JobFailedError

RECORDS_PER_FILE = 500
SECONDS_TO_FETCH = 0.1

log = logging.getLogger("data_processing")


async def transform(job: Job) -> None:
    """Transform the file that the payload names; with OUTPUT_DIR set, leave the result there as FILE_ID.json."""
    operation = job.payload.get("operation")
    if operation != "transform":
        raise JobFailedError(f"payload.operation: {operation!r}, must be 'transform'")
    file_id = job.payload.get("file_id")
    if not isinstance(file_id, str) or not file_id.isidentifier():
        raise JobFailedError(f"payload.file_id: {file_id!r}, must be a name such as file_7")
    records = await fetch_records(file_id)
    result = summarize(file_id, records)
    log.info("%s: mean %.3f, digest %s", file_id, result["mean"], result["sha256"][:12])
    if folder := os.environ.get("OUTPUT_DIR"):
        store(Path(folder), file_id, result)


async def fetch_records(file_id: str) -> list[float]:
    """Stand in for a slow object store: the same file always has the same records."""
    await asyncio.sleep(SECONDS_TO_FETCH)
    source = random.Random(file_id)
    return [source.gauss(100.0, 15.0) for _ in range(RECORDS_PER_FILE)]


def summarize(file_id: str, records: list[float]) -> dict[str, Any]:
    """Return the records' statistics and the digest of their standardized values."""
    mean = statistics.fmean(records)
    deviation = statistics.pstdev(records, mean)
    standardized = [round((value - mean) / deviation, 9) for value in records]
    return {
        "file_id": file_id,
        "records": len(records),
        "mean": mean,
        "standard_deviation": deviation,
        "sha256": hashlib.sha256(json.dumps(standardized).encode()).hexdigest(),
    }


def store(folder: Path, file_id: str, result: dict[str, Any]) -> None:
    """Write the result whole or not at all, so that a job that runs twice does no harm."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{file_id}.{os.getpid()}"
    unfinished.write_text(json.dumps(result) + "\n")
    unfinished.replace(folder / f"{file_id}.json")
