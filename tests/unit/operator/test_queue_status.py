from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hammerwork import QueueActivity, QueueDepth
from hammerwork_cli.running.documents import read_documents
from hammerwork_operator.api.autoscaling import Autoscaling, ScalingBehavior
from hammerwork_operator.api.workerpool import WorkerPoolSpec, WorkerPoolStatus
from hammerwork_operator.workerpool.queue_status import FIELDS, Scaled, queue_fields, two_digits

PAGE = (Path(__file__).parents[3] / "docs" / "autoscaling.md").read_text()
DEPTH = QueueDepth(queue="email", ready=5_120, scheduled=3, running=40, oldest_ready_seconds=137.9)


def activity(processed: int, failed: int = 0, milliseconds: float = 0.0) -> QueueActivity:
    return QueueActivity(
        queue="email", total_processed=processed, failed=failed, average_processing_time_ms=milliseconds
    )


@pytest.mark.parametrize(
    ("depth", "done", "fields"),
    [
        (None, activity(5), {}),
        (QueueDepth.none("email"), None, {"queueDepth": 0, "jobsProcessed": 0}),
        (
            DEPTH,
            activity(1_000, 1, 209.6),
            {
                "queueDepth": 5_120,
                "oldestJobAgeSeconds": 130,
                "jobsProcessed": 1_000,
                "successRate": "99.9%",
                "averageProcessingTimeMs": 210,
            },
        ),
    ],
)
def test_what_the_status_says_of_the_queue(
    depth: QueueDepth | None, done: QueueActivity | None, fields: dict[str, Any]
) -> None:
    assert queue_fields(depth, done) == fields
    assert fields.keys() <= FIELDS
    msgspec.convert(Scaled(workers=3, fields=fields).stated(), WorkerPoolStatus)


def test_a_job_that_waits_changes_the_status_ever_more_seldom() -> None:
    assert [two_digits(seconds) for seconds in (0.9, 9.9, 42, 99.9, 100, 137, 3_724)] == [0, 9, 42, 99, 100, 130, 3_700]
    week = {two_digits(float(second)) for second in range(0, 7 * 86_400, 5)}
    assert len(week) < 450
    assert len({two_digits(float(second)) for second in range(86_400, 2 * 86_400, 5)}) < 30


def test_the_example_of_the_page_spells_the_defaults_out() -> None:
    (manifest,) = read_documents(PAGE.split("```yaml\n")[1].split("```")[0].encode())
    spec = msgspec.convert(manifest["spec"], WorkerPoolSpec)
    assert isinstance(spec.autoscaling, Autoscaling)
    assert spec.autoscaling.behavior == ScalingBehavior()
    assert "behavior" in manifest["spec"]["autoscaling"]


def test_the_status_of_the_page_is_one() -> None:
    (shown,) = read_documents(PAGE.split("```yaml\n")[2].split("```")[0].encode())
    status = shown["status"]
    msgspec.convert(status, WorkerPoolStatus)
    assert FIELDS | {"desiredReplicas", "lastScaleTime"} <= status.keys()


@pytest.mark.parametrize(
    "autoscaling",
    [
        {"maxReplicas": 2},
        {"maxReplicas": 2, "targetJobsPerWorker": 1, "targetDrainSeconds": 1},
        {"maxReplicas": 2, "minReplicas": 3, "targetJobsPerWorker": 1},
    ],
)
def test_what_the_api_server_refuses_is_refused_without_it(autoscaling: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"exactly one of|must not be above"):
        msgspec.convert(autoscaling, Autoscaling)
