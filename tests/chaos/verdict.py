"""What must hold after a run, whatever was done to it. No I/O."""

from __future__ import annotations

import signal
from itertools import pairwise
from typing import TYPE_CHECKING

from hammerwork import BatchState, JobStatus, PartialFailureMode
from hammerwork.timing import RECOVER_SECONDS
from tests.chaos.evidence import NOTICE_SECONDS
from tests.chaos.plan import Deed
from tests.chaos.worker import NO_DATABASE
from tests.harness.ledger import JobKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hammerwork import JobRecord
    from tests.chaos.evidence import Evidence
    from tests.chaos.places import Exit
    from tests.chaos.plan import BatchPlan
    from tests.harness.ledger import Run

_FAILED_OUTCOMES = {"fail", "cut"}
"""Of an attempt that may be followed by the next; a handler is cut at its timeout too."""
_FAILING_DEEDS = {Deed.FAIL, Deed.REFUSE, Deed.HANG, Deed.POISON, Deed.SHOUT}


def judge(evidence: Evidence) -> list[str]:
    """Return everything that went wrong, one sentence each."""
    return [
        *(fault for end in evidence.exits.values() for fault in _exit(evidence, end)),
        *_repetitions(evidence),
        *_late_starts(evidence),
        *_claims(evidence),
        *(fault for batch in evidence.plan.batches for fault in _batch(evidence, batch)),
    ]


def _exit(evidence: Evidence, end: Exit) -> Iterator[str]:
    """A process ends because it was killed, was asked to, or found no database."""
    name = end.process
    if end.code == -9 and evidence.death(name) is not None:
        return
    if end.code in {0, -signal.SIGTERM, -signal.SIGUSR1} and end.terminated_at is not None:
        if end.code == 0:
            yield from (
                f"worker {name}: ended well, but never ended its run of {_name(run.job)}, attempt {run.attempt}"
                for run in evidence.unended_runs
                if run.process == name
            )
        return
    if end.code == NO_DATABASE and evidence.troubled(name, end.at - 15, end.at):
        return
    yield f"worker {name}: ended with {end.code} by itself"


def _repetitions(evidence: Evidence) -> Iterator[str]:
    """An attempt is repeated only if its worker vanished; the next attempt begins only after the last one failed."""
    for job, runs in evidence.runs.items():
        by_attempt: dict[int, list[Run]] = {}
        for run in runs:
            by_attempt.setdefault(run.attempt, []).append(run)
        for attempt, same in by_attempt.items():
            for number, (earlier, later) in enumerate(pairwise(same), 1):
                if not (evidence.vanished(earlier, later.started) or evidence.late(later, earlier)):
                    yield (
                        f"{_name(job)}: run {number} of attempt {attempt} by {earlier.process} ({earlier.outcome}) was "
                        f"repeated by {later.process} after {later.started - earlier.started:.2f} s, though its worker "
                        "was there all the time"
                    )
            before = by_attempt.get(attempt - 1, [])
            first = same[0]
            if attempt > 1 and not any(
                run.outcome in _FAILED_OUTCOMES and run.ended is not None and run.ended < first.started
                for run in before
            ):
                yield f"{_name(job)}: attempt {attempt} began though attempt {attempt - 1} had not failed"


def _late_starts(evidence: Evidence) -> Iterator[str]:
    """What is stopped starts nothing more within a second, except where nobody could know."""
    for halt in evidence.halts:
        for run in evidence.runs_of_batch(halt.batch_id):
            if halt.start < run.started < halt.end:
                known = evidence.freed_from_trouble(run.process, halt.start)
                if run.started > known + NOTICE_SECONDS + evidence.slack:
                    yield (
                        f"{_name(run.job)}: started by {run.process} {run.started - halt.start:.2f} s after its batch "
                        f"was {halt.why}"
                    )


def _claims(evidence: Evidence) -> Iterator[str]:
    """A claim that its worker does not know of goes back with the first heartbeat that finds it old enough."""
    if evidence.claims_left:
        yield f"{evidence.claims_left} claims are left at the end"
    most = RECOVER_SECONDS + evidence.plan.lease_seconds + evidence.slack
    for seen in evidence.claims:
        unknown = evidence.unknown_seconds(seen)
        if unknown > most:
            yield (
                f"claim {seen.claim}: was there for {unknown:.1f} s though its worker, in process "
                f"{evidence.ledger.workers[seen.worker]}, lived and did not know of it"
            )


def _batch(evidence: Evidence, batch: BatchPlan) -> Iterator[str]:
    name = f"batch {batch.number} ({batch.batch_id})"
    status = evidence.statuses.get(batch.batch_id)
    if status is None:
        yield f"{name}: is not there"
        return
    records = evidence.jobs[batch.batch_id]
    if not status.finished:
        yield f"{name}: has not finished: {status}"
    if status.total_jobs != len(batch.deeds):
        yield f"{name}: has {status.total_jobs} jobs instead of {len(batch.deeds)}"
    numbers = sorted(record.payload["number"] for record in records)
    if numbers != list(range(len(batch.deeds))):
        yield f"{name}: the {len(records)} jobs stored are not the {len(batch.deeds)} that were enqueued"
    told = (status.completed_jobs, status.failed_jobs, status.cancelled_jobs)
    counts = evidence.counts(batch.batch_id)
    listed = tuple(counts[each] for each in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED))
    if sum(told) != status.total_jobs or told != listed:
        yield f"{name}: completed, failed, cancelled are counted {told}, but listed {listed} of {status.total_jobs}"
    yield from _state(batch, status.state, told, name)
    for record in records:
        yield from _job(evidence, batch, record, status.state)


def _state(batch: BatchPlan, state: BatchState, told: tuple[int, int, int], name: str) -> Iterator[str]:
    _, failed, cancelled = told
    if state is BatchState.CANCELLED and batch.cancel_after is not None:
        return
    if batch.mode is PartialFailureMode.FAIL_FAST:
        fits = state is (BatchState.FAILED if failed else BatchState.COMPLETED)
    else:
        fits = state is (BatchState.COMPLETED_WITH_ERRORS if failed else BatchState.COMPLETED) and not cancelled
    if not fits:
        yield f"{name}: {batch.mode.value}: is {state.value} with {failed} failed and {cancelled} cancelled jobs"


def _job(evidence: Evidence, batch: BatchPlan, record: JobRecord, state: BatchState) -> Iterator[str]:
    """Where the queue says that a job stands must be what the ledger says of its runs."""
    job = JobKey(record.batch_id, record.index)
    deed = Deed(record.payload["deed"])
    runs = evidence.runs.get(job, [])
    final = [run for run in runs if _is_final(batch, run, deed)]
    # One of the three lost workers may have been killed by the test just before it started the job.
    needed = 2 if deed is Deed.POISON else 3
    lost = record.error is not None and record.error.type == "WorkerLost" and evidence.losses(job) >= needed
    done = [run for run in runs if run.outcome == "done"]
    if record.status is JobStatus.COMPLETED:
        if not done:
            yield f"{_name(job)}: counted as completed, but no run came to its end: {_tell(runs)}"
    elif record.status is JobStatus.FAILED:
        if not final and not lost:
            yield f"{_name(job)}: counted as failed ({record.error}), but it had not: {_tell(runs)}"
        if deed not in _FAILING_DEEDS and not lost:
            yield f"{_name(job)}: counted as failed ({record.error}), though it does not fail"
    elif record.status is JobStatus.CANCELLED and state in {BatchState.CANCELLED, BatchState.FAILED}:
        yield from (
            f"{_name(job)}: counted as cancelled, but run by {run.process} to its end ({run.outcome})"
            for run in [*done, *final]
            if not evidence.vanished(run, evidence.end) and not any(evidence.late(run, other) for other in runs)
        )
    else:
        yield f"{_name(job)}: is {record.status.value} at the end"
    if deed in _FAILING_DEEDS and record.status is JobStatus.COMPLETED:
        yield f"{_name(job)}: counted as completed, though it cannot"


def _is_final(batch: BatchPlan, run: Run, deed: Deed) -> bool:
    last = run.attempt >= batch.max_attempts
    return run.outcome == "refuse" or (last and (run.outcome == "fail" or (deed is Deed.HANG and run.outcome == "cut")))


def _name(job: JobKey) -> str:
    return f"job {job.batch_id}/{job.index}"


def _tell(runs: list[Run]) -> str:
    return ", ".join(f"attempt {run.attempt} by {run.process}: {run.outcome}" for run in runs) or "it never ran"
