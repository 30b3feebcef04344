"""The verdict finds each kind of fault, and excuses what the chaos explains."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from hammerwork import BatchState, BatchStatus, Job, JobError, JobRecord, JobStatus, PartialFailureMode, Priority
from tests.chaos.evidence import Evidence, Halt, Sighting, Trouble
from tests.chaos.places import Exit
from tests.chaos.plan import BatchPlan, Chaos, Deed, Plan
from tests.chaos.verdict import judge
from tests.harness.ledger import Heartbeat, JobKey, Ledger, LedgerWriter, Run, read_ledger

if TYPE_CHECKING:
    from pathlib import Path

ID = uuid.UUID(int=1)
WORKER = uuid.UUID(int=2)
NOW = datetime(2024, 1, 1, tzinfo=UTC)
END = 100.0


def beats(start: float, end: float) -> list[Heartbeat]:
    """One heartbeat a second."""
    return [Heartbeat(start + n, start + n + 0.1) for n in range(int(end - start) + 1)]


class Case:
    """A run of one batch of two jobs in which all went well, to be spoilt. Workers a and b are there all the time."""

    def __init__(self, deeds: tuple[Deed, ...] = (Deed.OK, Deed.OK)) -> None:
        self.batch = BatchPlan(
            number=0,
            batch_id=ID,
            at=0.0,
            deeds=deeds,
            mode=PartialFailureMode.CONTINUE_ON_ERROR,
            max_attempts=2,
            batch_size=10,
        )
        self.runs = [self.run(n) for n in range(len(deeds))]
        self.beats = {"a": beats(0, END), "b": beats(0, END)}
        self.standstills: dict[str, list[tuple[float, float]]] = {}
        self.exits = [self.exit("a"), self.exit("b")]
        self.troubles: list[Trouble] = []
        self.halts: list[Halt] = []
        self.state = BatchState.COMPLETED
        self.ends = [JobStatus.COMPLETED] * len(deeds)
        self.error: str | None = None
        self.counts: dict[str, int] = {}
        self.stored = len(deeds)
        self.claims: list[Sighting] = []
        self.claims_left = 0

    @staticmethod
    def run(
        index: int = 0,
        *,
        process: str = "a",
        started: float = 10.0,
        ended: float | None = 10.5,
        outcome: str | None = "done",
        attempt: int = 1,
    ) -> Run:
        return Run(JobKey(ID, index), attempt, process, started, ended, outcome)

    @staticmethod
    def exit(process: str, *, code: int = 0, killed: float | None = None, terminated: float | None = END - 1) -> Exit:
        at = (killed if killed is not None else END - 1) + 0.5
        return Exit(process=process, code=code, at=at, killed_at=killed, terminated_at=terminated)

    def kill(self, process: str, at: float) -> None:
        self.exits = [end for end in self.exits if end.process != process]
        self.exits.append(self.exit(process, code=-9, killed=at, terminated=None))
        self.beats[process] = [beat for beat in self.beats[process] if beat.confirmed < at]

    def silence(self, process: str, start: float, end: float) -> None:
        self.beats[process] = [beat for beat in self.beats[process] if not start < beat.sent < end]

    def faults(self) -> list[str]:
        plan = Plan(seed=0, seconds=END, lease_seconds=3.0, batches=(self.batch,), acts=(), workers=())
        told = {
            name: self.counts.get(name, self.ends.count(status))
            for name, status in (
                ("completed", JobStatus.COMPLETED),
                ("failed", JobStatus.FAILED),
                ("cancelled", JobStatus.CANCELLED),
            )
        }
        status = BatchStatus(
            batch_id=ID,
            name="chaos-0",
            queue="chaos",
            state=self.state,
            suspended=False,
            failure_mode=self.batch.mode,
            total_jobs=self.stored,
            pending_jobs=0,
            running_jobs=0,
            completed_jobs=told["completed"],
            failed_jobs=told["failed"],
            cancelled_jobs=told["cancelled"],
            metadata={},
            fingerprint=None,
            created_at=NOW,
            started_at=NOW,
            finished_at=NOW,
        )
        records = [
            JobRecord(
                batch_id=ID,
                index=index,
                queue="chaos",
                payload={"number": index, "deed": deed.value},
                priority=Priority.LOW,
                status=end,
                attempts=1,
                error=self._error(index) if end is JobStatus.FAILED else None,
            )
            for index, (deed, end) in enumerate(zip(self.batch.deeds, self.ends, strict=True))
        ]
        evidence = Evidence(
            plan,
            Ledger(sorted(self.runs, key=lambda run: run.started), self.beats, self.standstills, {WORKER: "a"}),
            exits=self.exits,
            troubles=self.troubles,
            halts=self.halts,
            statuses={ID: status},
            jobs={ID: records[: self.stored]},
            claims=self.claims,
            claims_left=self.claims_left,
            slack=1.0,
            end=END,
        )
        return judge(evidence)

    def _error(self, index: int) -> JobError:
        return JobError(
            index=index, attempt=1, type=self.error or "ValueError", message="", traceback=None, failed_at=NOW
        )

    def fault(self) -> str:
        """Return the only fault."""
        (fault,) = self.faults()
        return fault


def test_nothing_to_complain_of() -> None:
    assert Case().faults() == []


def test_a_job_that_never_ran() -> None:
    case = Case()
    del case.runs[0]
    assert "no run came to its end: it never ran" in case.fault()


def test_a_job_that_is_missing() -> None:
    case = Case()
    case.stored = 1
    case.counts = {"completed": 1}
    assert any("has 1 jobs instead of 2" in fault for fault in case.faults())


def test_an_outcome_that_counted_twice() -> None:
    case = Case()
    case.counts = {"completed": 3}
    assert "are counted (3, 0, 0), but listed (2, 0, 0) of 2" in case.fault()


def test_a_repetition_without_a_reason() -> None:
    case = Case()
    case.runs.append(case.run(process="b", started=12.0, ended=12.5))
    assert "run 1 of attempt 1 by a (done) was repeated by b after 2.00 s" in case.fault()


def test_a_repetition_after_a_kill() -> None:
    case = Case()
    case.runs.append(case.run(process="b", started=12.0, ended=12.5))
    case.kill("a", 11.0)
    assert case.faults() == []


def test_a_repetition_before_the_kill() -> None:
    case = Case()
    case.runs.append(case.run(process="b", started=12.0, ended=12.5))
    case.kill("a", 13.0)
    assert "was repeated" in case.fault()


def test_a_repetition_of_what_was_reported_long_before_the_kill() -> None:
    case = Case()
    case.kill("a", 20.0)
    case.runs.append(case.run(process="b", started=22.0, ended=22.5))
    assert "was repeated" in case.fault()
    case.troubles.append(Trouble(Chaos.RESTART, 8.0, 19.0))
    assert case.faults() == []


def test_a_repetition_after_the_lease() -> None:
    case = Case()
    case.silence("a", 9.5, 16.5)
    case.runs.append(case.run(process="b", started=14.0, ended=14.5))
    assert case.faults() == []


def test_a_repetition_within_the_lease() -> None:
    case = Case()
    case.silence("a", 9.5, 16.5)
    case.runs.append(case.run(process="b", started=11.0, ended=11.5))
    assert "was repeated" in case.fault()


def test_a_repetition_of_what_was_forgotten() -> None:
    case = Case()
    case.runs.append(case.run(process="b", started=35.0, ended=35.5))
    assert "was repeated" in case.fault()
    case.troubles.append(Trouble(Chaos.CRASH, 10.2, 12.0))
    assert "was repeated" in case.fault()
    case.troubles[0] = Trouble(Chaos.FORGET, 10.2, 12.0)
    assert case.faults() == []
    case.troubles[0] = Trouble(Chaos.FORGET, 15.0, 16.0)
    assert "was repeated" in case.fault(), "its report had been kept long before"


def test_a_claim_that_its_worker_does_not_know_of() -> None:
    case = Case()
    case.claims.append(Sighting(7, WORKER, 10.0, 30.0))
    assert case.faults() == [], "it is old enough only after 20 s"
    case.claims[0] = Sighting(7, WORKER, 10.0, 40.0)
    assert "claim 7: was there for 30.0 s though its worker, in process a, lived and did not know of it" in case.fault()
    known = [beat._replace(held=frozenset({7})) if 20 < beat.sent < 22 else beat for beat in case.beats["a"]]
    case.beats["a"] = known
    assert case.faults() == []
    case.beats["a"] = beats(0, END)
    case.troubles.append(Trouble(Chaos.CUT, 12.0, 14.0))
    assert case.faults() == []
    case.troubles.clear()
    case.kill("a", 20.0)
    assert case.faults() == []


def test_a_claim_that_is_left() -> None:
    case = Case()
    case.claims_left = 1
    assert "1 claims are left at the end" in case.fault()


def test_a_worker_that_comes_back_late() -> None:
    case = Case()
    case.silence("b", 5.5, 14.5)
    case.runs.append(case.run(process="b", started=15.0, ended=15.5))
    assert case.faults() == []
    case.runs[-1] = case.run(process="b", started=30.0, ended=30.5)
    assert "was repeated" in case.fault()


def test_an_attempt_that_nothing_led_to() -> None:
    case = Case()
    case.runs.append(case.run(attempt=2, started=12.0))
    assert "attempt 2 began though attempt 1 had not failed" in case.fault()


def test_a_failed_job_that_had_an_attempt_left() -> None:
    case = Case((Deed.FAIL, Deed.OK))
    case.runs[0] = case.run(outcome="fail")
    case.ends[0] = JobStatus.FAILED
    case.state = BatchState.COMPLETED_WITH_ERRORS
    assert "counted as failed" in case.fault()
    case.runs.append(case.run(attempt=2, started=12.0, ended=12.5, outcome="fail"))
    assert case.faults() == []


def test_a_healthy_job_that_counts_as_failed() -> None:
    case = Case()
    case.ends[0] = JobStatus.FAILED
    case.state = BatchState.COMPLETED_WITH_ERRORS
    assert any("though it does not fail" in fault for fault in case.faults())


def test_worker_lost_needs_lost_workers() -> None:
    case = Case((Deed.POISON, Deed.OK))
    del case.runs[0]
    case.error = "WorkerLost"
    case.ends[0] = JobStatus.FAILED
    case.state = BatchState.COMPLETED_WITH_ERRORS
    for number, name in enumerate(("x", "y")):
        assert any("it had not" in fault for fault in case.faults())
        at = 20.0 + number
        case.runs.append(case.run(process=name, started=at, ended=at + 0.1, outcome="die"))
        case.beats[name] = [Heartbeat(at - 0.5, at - 0.4)]
        case.exits.append(case.exit(name, code=-9, killed=None, terminated=None))
    assert case.faults() == []


def test_a_completed_job_that_was_counted_as_cancelled() -> None:
    case = Case()
    case.batch = msgspec.structs.replace(case.batch, cancel_after=1.0)
    case.state = BatchState.CANCELLED
    case.ends[0] = JobStatus.CANCELLED
    assert "counted as cancelled, but run by a to its end (done)" in case.fault()


def test_a_cancelled_job_in_a_batch_that_was_not() -> None:
    case = Case()
    case.state = BatchState.CANCELLED
    case.ends[0] = JobStatus.CANCELLED
    del case.runs[0]
    assert "is Cancelled with 0 failed and 1 cancelled jobs" in case.fault()


def test_a_start_after_the_batch_was_stopped() -> None:
    case = Case()
    case.halts.append(Halt(ID, "failed", 7.0, float("inf")))
    assert len(case.faults()) == 2  # 3 s later; 1 s and the slack are allowed
    case.standstills["a"] = [(6.0, 9.5)]
    assert case.faults() == []
    case.halts[0] = Halt(ID, "suspended", 5.0, 9.0)
    assert case.faults() == []


def test_processes_that_ended_by_themselves() -> None:
    case = Case()
    case.exits[0] = case.exit("a", code=1)
    assert "worker a: ended with 1 by itself" in case.fault()
    case.exits[0] = case.exit("a", code=0, terminated=None)
    assert "worker a: ended with 0 by itself" in case.fault()
    case.exits[0] = case.exit("a", code=-9, terminated=None)
    assert "worker a: ended with -9 by itself" in case.fault()


def test_a_run_that_a_graceful_end_has_left() -> None:
    case = Case()
    case.runs.append(case.run(index=1, started=9.0, ended=None, outcome=None))
    assert any("never ended its run" in fault for fault in case.faults())


def test_the_ledger_reads_what_was_written(tmp_path: Path) -> None:
    pen = LedgerWriter(tmp_path / "ledger", "a")
    job = Job("q", None, batch_id=ID, index=7, attempt=2)
    pen.heartbeat(1.0, WORKER, [3, 4])
    first, second = pen.start(job), pen.start(job)
    pen.end(first, "done")
    pen.standstill(2.0)
    ledger = read_ledger(tmp_path / "ledger")
    assert [(run.job, run.attempt, run.process, run.outcome) for run in ledger.runs] == [
        (JobKey(ID, 7), 2, "a", "done"),
        (JobKey(ID, 7), 2, "a", None),
    ]
    assert second == 1
    assert [(beat.sent, beat.held) for beat in ledger.heartbeats["a"]] == [(1.0, frozenset({3, 4}))]
    assert ledger.workers == {WORKER: "a"}
    assert [start for start, _ in ledger.standstills["a"]] == [2.0]
