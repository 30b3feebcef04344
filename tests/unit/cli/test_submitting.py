"""From manifests to jobs; every fault names the file and the batch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hammerwork import PartialFailureMode, Priority
from hammerwork_cli.running.decoding import ManifestError
from hammerwork_cli.running.manifests import BatchManifest
from hammerwork_cli.running.submitting import expand
from hammerwork_operator.api.jobbatch import JobBatchSpec


def manifest(**spec: Any) -> BatchManifest:
    return BatchManifest(
        path=Path("batch.yaml"),
        namespace="shop",
        name="mails",
        spec=msgspec.convert({"queue": "q", **spec}, JobBatchSpec),
    )


def test_a_generated_batch_has_the_manifests_settings_and_its_jobs_in_order() -> None:
    batch, jobs = expand(
        manifest(
            generate={"count": 3, "payload": {"file": "file_{{ index }}"}},
            batchSize=25,
            partialFailureMode="CollectErrors",
            backoffLimit=2,
            metadata={"source": "pipeline"},
        )
    )
    assert (batch.name, batch.queue, batch.batch_size, batch.max_attempts) == ("shop/mails", "q", 25, 3)
    assert batch.failure_mode is PartialFailureMode.COLLECT_ERRORS
    assert batch.metadata == {"source": "pipeline"}
    assert not isinstance(jobs, AsyncIterator)
    assert [job.payload for job in jobs] == [{"file": "file_0"}, {"file": "file_1"}, {"file": "file_2"}]


def test_listed_jobs_keep_their_own_priority() -> None:
    _, jobs = expand(manifest(priority="Low", jobs=[{"payload": 1}, {"payload": 2, "priority": "Critical"}]))
    assert not isinstance(jobs, AsyncIterator)
    assert [(job.payload, job.priority) for job in jobs] == [(1, Priority.LOW), (2, Priority.CRITICAL)]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"generate": {"payload": 1}},
            (
                "batch.yaml: JobBatch shop/mails: spec.generate: none given, "
                "must be exactly one of count, items and matrix"
            ),
        ),
        (
            {"metadata": {"a": "b", "k" * 200: "v"}, "generate": {"count": 1, "payload": 1}},
            (
                f"batch.yaml: JobBatch shop/mails: spec.metadata: key '{'k' * 100}' has 200 characters, must be a "
                "string of 1 to 63 characters"
            ),
        ),
        (
            {"generate": {"count": 1, "payload": "{{ number }}"}},
            (
                "batch.yaml: JobBatch shop/mails: spec.generate.payload: unknown placeholder '{{ number }}'; "
                "the only one is '{{ index }}'"
            ),
        ),
        (
            {"jobs": [{"payload": 1}, {"payload": 2, "queue": "other"}]},
            (
                "batch.yaml: JobBatch shop/mails: spec.jobs[1].queue: 'other', but spec.queue is 'q'; "
                "all jobs of a batch go to one queue: leave out the queue of jobs, or make one JobBatch per queue"
            ),
        ),
    ],
)
def test_a_fault_in_the_source_names_file_batch_and_field(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        expand(manifest(**spec))
    assert str(caught.value) == message
