"""What a run came to: exit codes, figures, and how they are shown."""

from __future__ import annotations

import io
import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from hammerwork import BatchState, BatchStatus, ErrorGroup, PartialFailureMode
from hammerwork_cli.output.json import encode
from hammerwork_cli.output.summary import Ending, RunReport, report_batch
from hammerwork_cli.output.tables import print_tables

CREATED = datetime(2024, 1, 15, 12, 0, tzinfo=UTC)
ERRORS = [ErrorGroup(type="ValueError", count=30, index=12, message="[bold] is no markup")]


def status(state: BatchState = BatchState.COMPLETED, failed: int = 0, seconds: float | None = 4.0) -> BatchStatus:
    return BatchStatus(
        batch_id=uuid.UUID(int=1),
        name="default/mails",
        queue="q",
        state=state,
        suspended=False,
        failure_mode=PartialFailureMode.CONTINUE_ON_ERROR,
        total_jobs=100,
        pending_jobs=0,
        running_jobs=0,
        completed_jobs=100 - failed,
        failed_jobs=failed,
        cancelled_jobs=0,
        metadata={"source": "test"},
        fingerprint=None,
        created_at=CREATED,
        started_at=CREATED,
        finished_at=None if seconds is None else CREATED + timedelta(seconds=seconds),
    )


def run_report(*states: BatchState, ending: Ending = Ending.FINISHED) -> RunReport:
    batches = [report_batch(status(state), []) for state in states]
    return RunReport(ending=ending, duration_seconds=5.0, batches=batches, skipped=[])


@pytest.mark.parametrize(
    ("states", "ending", "code"),
    [
        ([BatchState.COMPLETED, BatchState.COMPLETED], Ending.FINISHED, 0),
        ([BatchState.COMPLETED, BatchState.COMPLETED_WITH_ERRORS], Ending.FINISHED, 1),
        ([BatchState.FAILED], Ending.FINISHED, 1),
        ([BatchState.CANCELLED], Ending.FINISHED, 1),
        ([BatchState.CANCELLED], Ending.TIMED_OUT, 1),
        ([BatchState.COMPLETED], Ending.TIMED_OUT, 1),
        ([BatchState.CANCELLED], Ending.INTERRUPTED, 130),
        ([BatchState.CANCELLED], Ending.TERMINATED, 143),
    ],
)
def test_the_exit_code_tells_how_it_went(states: list[BatchState], ending: Ending, code: int) -> None:
    assert run_report(*states, ending=ending).exit_code() == code


def test_figures_of_a_batch() -> None:
    report = report_batch(status(BatchState.COMPLETED_WITH_ERRORS, failed=25), ERRORS)
    assert (report.success_rate, report.duration_seconds, report.jobs_per_second) == (0.75, 4.0, 25.0)
    unfinished = report_batch(status(BatchState.RUNNING, seconds=None), [])
    assert (unfinished.duration_seconds, unfinished.jobs_per_second) == (None, None)


def test_json_has_the_names_that_the_status_in_kubernetes_has() -> None:
    shown = json.loads(encode(run_report(BatchState.COMPLETED)))
    assert shown["ending"] == "Finished"
    assert shown["batches"][0] | {"errors": None} == {
        "name": "default/mails",
        "queue": "q",
        "batchId": "00000000-0000-0000-0000-000000000001",
        "state": "Completed",
        "suspended": False,
        "totalJobs": 100,
        "pendingJobs": 0,
        "completedJobs": 100,
        "failedJobs": 0,
        "cancelledJobs": 0,
        "successRate": 1.0,
        "durationSeconds": 4.0,
        "jobsPerSecond": 25.0,
        "errors": None,
        "metadata": {"source": "test"},
        "deadlineExceeded": False,
        "dependencyFailed": False,
    }


@pytest.mark.parametrize("width", [80, 140])
def test_the_summary_tells_everything_at_any_width(width: int) -> None:
    sheet = io.StringIO()
    print_tables(
        Console(file=sheet, width=width),
        [report_batch(status(BatchState.COMPLETED_WITH_ERRORS, failed=25), ERRORS)],
    )
    shown = " ".join(sheet.getvalue().split())
    for part in ("default/mails", "CompletedWithErrors", "100", "75", "25", "75.0%", "4.0 s", "25.0"):
        assert part in shown, shown
    for part in ("ValueError", "30", "12", "[bold] is no markup"):
        assert part in shown, shown
