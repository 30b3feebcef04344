"""What a run does and when, drawn from a seed before anything starts. No I/O."""

from __future__ import annotations

import enum
import random
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from hammerwork import Job, JobBatch, PartialFailureMode, Priority, RetryPolicy
from hammerwork.ids import batch_id_for

if TYPE_CHECKING:
    from collections.abc import Iterator

QUEUE = "chaos"
_LARGE_JOBS = 12_000
"""More than one slice of an enqueue."""


class Deed(enum.Enum):
    """What a job does to its worker."""

    OK = "ok"
    SLOW = "slow"
    FLAKY = "flaky"
    """Fails once, then completes."""
    FAIL = "fail"
    """Fails at each attempt."""
    REFUSE = "refuse"
    """Fails for good at once."""
    HANG = "hang"
    """Runs into its timeout at each attempt."""
    POISON = "poison"
    """Kills the process that runs it."""
    BLOCK = "block"
    """Holds the event loop of its worker."""
    SHOUT = "shout"
    """Fails at each attempt, with a long text."""


class Enqueue(enum.Enum):
    """Who enqueues a batch."""

    ONCE = "once"
    TWICE = "twice"
    """Two programs at the same time."""
    KILLED = "killed"
    """A process that is killed meanwhile, and another that repeats it."""


class Chaos(enum.Enum):
    """What is done to the queue's surroundings."""

    KILL = "kill a worker"
    TERMINATE = "SIGTERM to all workers"
    CANCEL = "cancel the run of a worker"
    STOP = "stop a worker"
    RESTART = "restart the database"
    CRASH = "crash the database"
    FORGET = "let the database forget its last commits, and crash"
    CUT = "lose the packets of a moment, and cut"
    PARTITION = "hold all packets, then cut"
    DELAY = "hold all packets, then deliver"
    SILENCE = "connections fall silent for ever"
    SNAPSHOT = "hold a snapshot"


class BatchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One batch."""

    number: int
    batch_id: UUID
    at: float
    """Seconds from the start of the run, as in all that follows."""
    deeds: tuple[Deed, ...]
    mode: PartialFailureMode
    max_attempts: int
    batch_size: int
    enqueue: Enqueue = Enqueue.ONCE
    job_seconds: float = 0.05
    timeout: float | None = None
    cancel_after: float | None = None
    """From its enqueueing on."""
    suspend_after: float | None = None
    suspend_seconds: float = 0.0

    def settings(self) -> JobBatch:
        """Return the batch without its jobs."""
        batch = (
            JobBatch(f"chaos-{self.number}", queue=QUEUE)
            .with_partial_failure_handling(self.mode)
            .with_max_attempts(self.max_attempts)
            .with_batch_size(self.batch_size)
            .with_retry_policy(RetryPolicy(initial_seconds=0.3, max_seconds=1.0))
        )
        return batch if self.timeout is None else batch.with_timeout(self.timeout)

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs, the same each time."""
        for number, deed in enumerate(self.deeds):
            payload = {"number": number, "deed": deed.value, "seconds": self.job_seconds}
            priority = Priority.HIGH if number % 3 == 0 else Priority.LOW
            yield Job(QUEUE, payload, priority)


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One blow."""

    at: float
    chaos: Chaos
    seconds: float = 0.0
    worker: int = 0


class WorkerPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One place that a worker process runs in; a new one takes the place of one that ended."""

    number: int
    lanes: int
    batch_processing: bool
    named: bool
    """Whether a new process here frees at once what its predecessor held."""
    clock_hours: float
    """How wrong the wall clock is there; it jumps between this and its negative."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    seed: int
    seconds: float
    lease_seconds: float
    batches: tuple[BatchPlan, ...]
    acts: tuple[Act, ...]
    workers: tuple[WorkerPlan, ...]


_SHORT_ACTS = (
    Chaos.KILL,
    Chaos.STOP,
    Chaos.CUT,
    Chaos.CRASH,
    Chaos.SNAPSHOT,
    Chaos.TERMINATE,
    Chaos.PARTITION,
    Chaos.CUT,
    Chaos.KILL,
    Chaos.RESTART,
    Chaos.DELAY,
    Chaos.CANCEL,
)
_LONG_ACTS = (*_SHORT_ACTS, Chaos.KILL, Chaos.STOP, Chaos.KILL, Chaos.SILENCE, Chaos.CUT, Chaos.FORGET)
_LONG_SECONDS = 60.0
"""Runs of this length have what takes a server's or a driver's timeouts, or the age of lost claims, to get over."""
_BLOCK_SECONDS = 4.0
"""Longer than the lease."""
_LOUD_JOBS = 300
"""Their failures have more text than one report keeps."""


def make_plan(seed: int, *, seconds: float, jobs: int, lease_seconds: float = 3.0) -> Plan:
    """Draw a run: about `jobs` jobs within `seconds` seconds of chaos."""
    draw = random.Random(seed)
    return Plan(
        seed=seed,
        seconds=seconds,
        lease_seconds=lease_seconds,
        batches=tuple(_batches(draw, seed, seconds, jobs)),
        acts=tuple(sorted(_acts(draw, seconds, lease_seconds), key=lambda act: act.at)),
        workers=tuple(
            WorkerPlan(
                number=number,
                lanes=draw.choice((4, 8, 12)),
                batch_processing=number != 2,
                named=number != 0,
                clock_hours=(0.0, 5.0, -30.0, 0.0)[number],
            )
            for number in range(4)
        ),
    )


def _acts(draw: random.Random, seconds: float, lease: float) -> Iterator[Act]:
    kinds = _LONG_ACTS if seconds >= _LONG_SECONDS else _SHORT_ACTS
    # Each kind once in a short run, and again and again in a long one; never two at the same moment by design,
    # and often one within the other.
    count = max(len(kinds), round(seconds / 1.5))
    order = [kind for _ in range(count // len(kinds) + 1) for kind in draw.sample(kinds, len(kinds))][:count]
    for number, chaos in enumerate(order):
        lengths = {
            Chaos.STOP: (lease * 1.3, lease * 2),
            Chaos.RESTART: (0.0, 1.0),
            Chaos.CRASH: (0.0, lease * 1.5),
            Chaos.FORGET: (0.3, 1.5),
            Chaos.CUT: (0.02, 0.2),
            Chaos.PARTITION: (0.5, lease * 1.5),
            Chaos.DELAY: (0.3, lease),
            Chaos.SNAPSHOT: (3.0, 10.0),
        }.get(chaos, (0.0, 0.0))
        at = (number + draw.random()) * seconds / count
        yield Act(at=at, chaos=chaos, seconds=draw.uniform(*lengths), worker=draw.randrange(4))


def _batches(draw: random.Random, seed: int, seconds: float, jobs: int) -> Iterator[BatchPlan]:
    modes = list(PartialFailureMode)
    kinds = ["plain", "mixed", "fail_fast", "cancelled", "suspended", "poison", "retried", "large", "blocking", "loud"]
    rounds = max(1, round(seconds / 12))
    each = max(20, jobs // (rounds * len(kinds)))
    number = 0
    for turn in range(rounds):
        for kind in draw.sample(kinds, len(kinds)):
            at = min(0.8 * seconds, (turn + draw.random() * 0.8) * seconds / rounds)
            mode = modes[number % len(modes)]
            plan = BatchPlan(
                number=number,
                batch_id=batch_id_for("chaos", str(seed), str(number)),
                at=at,
                deeds=(),
                mode=PartialFailureMode.COLLECT_ERRORS if mode is PartialFailureMode.FAIL_FAST else mode,
                max_attempts=3,
                batch_size=draw.choice((7, 30, 100, 1000)),
                enqueue=draw.choice((Enqueue.ONCE, Enqueue.TWICE)),
                job_seconds=draw.choice((0.02, 0.1, 0.3)),
            )
            size = _LARGE_JOBS if kind == "large" and turn % 3 == 0 else each
            yield msgspec.structs.replace(plan, **_kind(draw, kind, size))
            number += 1


def _kind(draw: random.Random, kind: str, each: int) -> dict[str, object]:
    """Return what is special about a kind of batch of `each` jobs."""

    def deeds(weights: dict[Deed, int]) -> tuple[Deed, ...]:
        return tuple(draw.choices(list(weights), list(weights.values()), k=each))

    def one_of(deed: Deed, others: tuple[Deed, ...]) -> tuple[Deed, ...]:
        place = draw.randrange(len(others))
        return (*others[:place], deed, *others[place + 1 :])

    slow = {Deed.OK: 5, Deed.SLOW: 5}
    mixed = {Deed.OK: 10, Deed.SLOW: 3, Deed.FLAKY: 3, Deed.FAIL: 1, Deed.REFUSE: 1, Deed.HANG: 1}
    fail_fast = PartialFailureMode.FAIL_FAST
    culprit = draw.choice((Deed.FAIL, Deed.REFUSE))
    special: dict[str, dict[str, object]] = {
        "plain": {"deeds": deeds({Deed.OK: 8, Deed.SLOW: 1})},
        "large": {"deeds": (Deed.OK,) * each, "enqueue": Enqueue.KILLED, "batch_size": 1_000},
        "mixed": {"deeds": deeds(mixed), "timeout": 1.0},
        "retried": {"deeds": deeds({Deed.FLAKY: 3, Deed.SLOW: 1}), "mode": fail_fast},
        "fail_fast": {"deeds": one_of(culprit, deeds(slow)), "mode": fail_fast, "max_attempts": draw.choice((1, 2))},
        "cancelled": {"deeds": deeds(slow), "cancel_after": draw.uniform(0.2, 2.0)},
        "suspended": {
            "deeds": deeds({**slow, Deed.FLAKY: 5}),  # due retries are in front of the others then
            "suspend_after": draw.uniform(0.1, 1.0),
            "suspend_seconds": draw.uniform(2.0, 4.0),
        },
        "poison": {"deeds": one_of(Deed.POISON, (Deed.OK,) * 8), "batch_size": 4, "max_attempts": 2},
        "blocking": {"deeds": one_of(Deed.BLOCK, (Deed.OK,) * 20), "batch_size": 4, "job_seconds": _BLOCK_SECONDS},
        "loud": {
            "deeds": (Deed.SHOUT,) * _LOUD_JOBS,
            "mode": PartialFailureMode.COLLECT_ERRORS,
            "batch_size": 1_000,
            "max_attempts": 2,
        },
    }
    return special[kind]
