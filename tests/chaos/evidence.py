"""What is known of a run once it is over, and what of it excuses a job that ran again. No I/O."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from hammerwork import JobStatus
from tests.chaos.plan import Chaos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from hammerwork import BatchStatus, JobRecord
    from tests.chaos.places import Exit
    from tests.chaos.plan import Plan
    from tests.harness.ledger import JobKey, Ledger, Run

RECOVERY_SECONDS = 6.0
"""After trouble with the database, a worker's pause before it tries again can be 5 s long."""
FLUSH_SECONDS = 1.0
"""What ended longer ago than this has been reported, as long as the database is there."""
LOSS_NOTICE_SECONDS = 2.0
"""Within this time a worker that the database hears of again learns what it has lost."""
NOTICE_SECONDS = 1.0
"""Within this time a worker starts nothing more of a batch that has been stopped."""


class Trouble(NamedTuple):
    """A span of time in which the database was not there for the workers, or not for all."""

    chaos: Chaos
    start: float
    end: float


class Halt(NamedTuple):
    """A span of time in which nothing of a batch may start."""

    batch_id: UUID
    why: str
    start: float
    end: float


class Sighting(NamedTuple):
    """A claim that was seen in the database, again and again between two moments."""

    claim: int
    worker: UUID
    first: float
    last: float


class Evidence:
    """Everything that a verdict is drawn from. Times are seconds on the monotonic clock."""

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        *,
        exits: list[Exit],
        troubles: list[Trouble],
        halts: list[Halt],
        statuses: dict[UUID, BatchStatus],
        jobs: dict[UUID, list[JobRecord]],
        claims: list[Sighting],
        claims_left: int,
        slack: float,
        end: float,
    ) -> None:
        self.plan = plan
        self.ledger = ledger
        self.exits = {end.process: end for end in exits}
        self.troubles = troubles
        self.halts = halts
        self.statuses = statuses
        self.jobs = jobs
        self.claims = claims
        self.claims_left = claims_left
        """Those that are there once all workers have ended."""
        self.slack = slack
        """How late anything may be because the machine is busy, as measured during the run."""
        self.end = end

    @cached_property
    def runs(self) -> dict[JobKey, list[Run]]:
        """The runs of each job, in the order in which they began."""
        runs = defaultdict(list)
        for run in self.ledger.runs:
            runs[run.job].append(run)
        return dict(runs)

    def runs_of_batch(self, batch_id: UUID) -> list[Run]:
        """Return the runs of a batch's jobs, in the order in which they began."""
        return self._by_batch.get(batch_id, [])

    @cached_property
    def _by_batch(self) -> dict[UUID, list[Run]]:
        runs = defaultdict(list)
        for run in self.ledger.runs:
            runs[run.job.batch_id].append(run)
        return dict(runs)

    @cached_property
    def unended_runs(self) -> list[Run]:
        """The runs whose end nobody saw."""
        return [run for run in self.ledger.runs if run.outcome is None]

    @cached_property
    def _deaths(self) -> dict[str, float]:
        """When each process was killed, by the test or by a job."""
        deaths = {name: end.killed_at for name, end in self.exits.items() if end.killed_at is not None}
        for run in self.ledger.runs:
            if run.outcome == "die" and run.ended is not None:
                deaths[run.process] = min(run.ended, deaths.get(run.process, run.ended))
        return deaths

    def death(self, process: str) -> float | None:
        """Return when the process was killed, None if it was not."""
        return self._deaths.get(process)

    def vanished(self, run: Run, before: float) -> bool:
        """Whether the run's worker was lost to the queue, so that it could not know of this run, before some moment."""
        return (
            self._given_back(run)
            or self._died(run, before)
            or self._left_in_trouble(run, before)
            or self._lease_ended(run, before)
            or self.forgotten(run)
        )

    def forgotten(self, run: Run) -> bool:
        """Whether the database may have forgotten the run's claim or report, and its worker not know that yet."""
        return any(
            run.started < trouble.end + RECOVERY_SECONDS + self.slack
            and (run.ended is None or run.ended > trouble.start - FLUSH_SECONDS - self.slack)
            for trouble in self.troubles
            if trouble.chaos is Chaos.FORGET
        )

    def unknown_seconds(self, seen: Sighting) -> float:
        """Return for how long a claim was there that its living worker did not know of, though it could have."""
        process = self.ledger.workers.get(seen.worker)
        if process is None:
            return 0.0
        end = min(seen.last, self._gone(process))
        known = [beat.sent for beat in self.ledger.heartbeats[process] if seen.claim in beat.held and beat.sent <= end]
        freed = [free for start, free in self._hindrances(process) if start < end and free > seen.first]
        return end - max([seen.first, *known, *freed])

    def _given_back(self, run: Run) -> bool:
        """Whether the run was cut short because its worker was shutting down; any other was cut at its timeout."""
        end = self.exits.get(run.process)
        asked = end.terminated_at if end is not None else None
        return run.outcome == "cut" and run.ended is not None and asked is not None and run.ended > asked

    def _died(self, run: Run, before: float) -> bool:
        death = self.death(run.process)
        if death is None or death > before:
            return False
        if run.ended is None or run.ended > death - FLUSH_SECONDS - self.slack:
            return True
        return self.troubled(run.process, run.ended, death)

    def _left_in_trouble(self, run: Run, before: float) -> bool:
        """Whether the process shut down while it could not report."""
        end = self.exits.get(run.process)
        asked = end.terminated_at if end is not None else None
        return end is not None and asked is not None and asked < before and self.troubled(run.process, asked, end.at)

    def _lease_ended(self, run: Run, before: float) -> bool:
        """Whether the worker was not heard of for longer than its lease, by its own books."""
        return any(over < min(end, before) and end > run.started for over, end in self._leases(run.process))

    def late(self, run: Run, other: Run) -> bool:
        """Whether a run began after another of the same attempt, but by a worker that had lost the job before that.

        A worker that was stopped goes on with what it holds, until its next report tells it that this was given away.
        """
        return self.forgotten(run) or any(
            over < min(end, other.started) and run.started < end + LOSS_NOTICE_SECONDS + self.slack
            for over, end in self._leases(run.process)
        )

    def _leases(self, process: str) -> Iterator[tuple[float, float]]:
        """Yield for each heartbeat when its lease was over, and when the next one came; both by the worker's books."""
        heard = self.ledger.heartbeats[process]  # a worker runs nothing before the first one
        ends = [beat.confirmed for beat in heard[1:]] + [self._gone(process)]
        for beat, end in zip(heard, ends, strict=True):
            yield beat.sent + self.plan.lease_seconds, end

    def _gone(self, process: str) -> float:
        exited = self.exits.get(process)
        return self._deaths.get(process, exited.at if exited is not None else self.end)

    def troubled(self, process: str, start: float, end: float) -> bool:
        """Whether the database was away, or the process stood still, within this span or shortly before."""
        return any(s < end and start < e for s, e in self._hindrances(process))

    def freed_from_trouble(self, process: str, since: float) -> float:
        """Return when the process could do what it should have done at `since`."""
        for start, end in sorted(self._hindrances(process)):
            if start <= since + NOTICE_SECONDS + self.slack:
                since = max(since, end)
        return since

    def _hindrances(self, process: str) -> list[tuple[float, float]]:
        away = [(trouble.start, trouble.end + RECOVERY_SECONDS) for trouble in self.troubles]
        return away + self.ledger.standstills.get(process, [])

    def losses(self, job: JobKey) -> int:
        """Return how many workers vanished while they ran this job."""
        return sum(self.vanished(run, self.end) for run in self.runs.get(job, []))

    def counts(self, batch_id: UUID) -> dict[JobStatus, int]:
        """Return how many jobs of a batch are listed with each status."""
        counts = dict.fromkeys(JobStatus, 0)
        for record in self.jobs[batch_id]:
            counts[record.status] += 1
        return counts
