"""Decides how many workers a pool is to have, with the arithmetic of a HorizontalPodAutoscaler. Pure.

What is added to that: a pool at zero gets its first worker at once, and an unknown backlog keeps what is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET

from hammerwork import QueueDepth
from hammerwork_operator.api.reasons import Reason, Type
from hammerwork_operator.kube.conditions import ConditionDict, condition
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.workerpool.history import History
from hammerwork_operator.workerpool.processes import processes

if TYPE_CHECKING:
    from hammerwork_operator.api.autoscaling import Autoscaling, ScaleDownRules, ScaleUpRules, ScalingPolicy
    from hammerwork_operator.api.workerpool import WorkerPoolSpec

TOLERANCE = 0.1
"""A backlog that differs from what the workers are there for by no more than this share changes nothing."""

FIXED = "spec.autoscaling is not set; spec.replicas is the number of workers"
ABOVE_MAX = "Current number of replicas above Spec.MaxReplicas"
BELOW_MIN = "Current number of replicas below Spec.MinReplicas"
BELOW_TARGET = "All metrics below target"

NOT_ASKED = Obstacle(Reason.DATABASE_UNAVAILABLE, "the database has not answered yet", passing=True)
"""The backlog before the first answer."""

_ROUNDING = 1e-9


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers of a pool are there for."""

    depth: QueueDepth
    """Of the pool's queue."""
    share: float = 1.0
    """The part of the queue's jobs that this pool is to do; the rest is for other pools."""
    job_seconds: float | None = None
    """Mean duration of a job, None while no job has ended."""

    @property
    def ready(self) -> int:
        """Jobs of the queue that a worker could take now."""
        return 0 if self.depth.paused else self.depth.ready

    @property
    def jobs(self) -> float:
        """Jobs of this pool, ready or running."""
        return self.share * (self.ready + self.depth.running)

    def any_within(self, seconds: float) -> bool:
        """Return whether anything is ready or running, or will be within `seconds`."""
        due = self.depth.next_scheduled_seconds
        soon = due is not None and due < seconds and not self.depth.paused
        return self.ready > 0 or self.depth.running > 0 or soon


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """How many workers there are to be, and why."""

    workers: int
    history: History
    """What to remember until the next decision."""
    conditions: list[ConditionDict]
    """ScalingActive, and ScalingLimited of a pool that is scaled automatically."""
    cause: str = ""
    """Why the number changes."""


def capacity(spec: WorkerPoolSpec) -> int:
    """Return how many jobs the pool runs at a time at most: pools of one queue share its jobs in this proportion."""
    return lanes(spec) * (spec.replicas if spec.autoscaling is UNSET else spec.autoscaling.max_replicas)


def lanes(spec: WorkerPoolSpec) -> int:
    """Return how many jobs a worker Pod runs at a time."""
    return spec.concurrency * processes(spec)


def decide(
    spec: WorkerPoolSpec, backlog: Backlog | Obstacle, current: int | None, history: History, now: float
) -> Decision:
    """Return how many workers there are to be.

    Args:
        spec: The pool's.
        backlog: Its jobs, or why they are not known.
        current: How many workers there are to be as of now; None before there is a Deployment.
        history: What was decided and carried out before; empty at first.
        now: The clock, in seconds.
    """
    rules = spec.autoscaling
    if rules is UNSET:
        return Decision(
            workers=spec.replicas,
            history=History(),
            conditions=[condition(Type.SCALING_ACTIVE, False, Reason.SCALING_DISABLED, FIXED)],
        )
    base = max(rules.min_replicas, min(current or 0, rules.max_replicas))
    if history.empty:  # after a start of the operator, what is there is the first recommendation
        history = history.recommended(now, base, rules.behavior)
    wanted, active = _recommend(spec, rules, backlog, base)
    remembered = history.recommended(now, wanted, rules.behavior)
    wanted = _stabilized(base, remembered)
    at_once = base == 0 and isinstance(backlog, Backlog) and backlog.ready > 0
    if at_once:
        wanted = max(wanted, 1)
    workers, limited = _limited(rules, base, wanted, history, now, at_once=at_once)
    return Decision(
        workers=workers,
        history=remembered,
        conditions=[active, limited],
        cause=_cause(spec, rules, current, base, workers),
    )


def _recommend(
    spec: WorkerPoolSpec, rules: Autoscaling, backlog: Backlog | Obstacle, base: int
) -> tuple[int, ConditionDict]:
    """Return how many workers the jobs ask for, whatever the limits are, and the condition ScalingActive."""
    if isinstance(backlog, Obstacle):
        return base, condition(Type.SCALING_ACTIVE, False, backlog.reason, f"{backlog.message}; the number is kept")
    least = 1 if backlog.any_within(rules.behavior.scale_down.stabilization_window_seconds if base else 0) else 0
    if base == 0 and backlog.ready == 0:
        least = 0  # what runs is in the hands of others, and what is not due yet can wait
    load = _load(spec, rules, backlog)
    if load is None:
        message = f"no job of queue {spec.queue} has ended lately; the number is kept until one has"
        return max(base, least), condition(Type.SCALING_ACTIVE, False, Reason.DURATIONS_UNKNOWN, message)
    found = f"the number of workers follows the jobs of queue {spec.queue}"
    active = condition(Type.SCALING_ACTIVE, True, Reason.VALID_METRIC_FOUND, found)
    if least == 0:
        return 0, active
    if base and abs(load / base - 1) <= TOLERANCE:
        return base, active
    return max(least, math.ceil(load - _ROUNDING)), active


def _load(spec: WorkerPoolSpec, rules: Autoscaling, backlog: Backlog) -> float | None:
    """Return the jobs in workers; None if their durations are needed and not known."""
    if rules.target_jobs_per_worker is not UNSET:
        return backlog.jobs / rules.target_jobs_per_worker
    assert rules.target_drain_seconds is not UNSET
    if backlog.jobs == 0:
        return 0.0
    if backlog.job_seconds is None:
        return None
    return backlog.jobs * backlog.job_seconds / (lanes(spec) * rules.target_drain_seconds)


def _stabilized(base: int, history: History) -> int:
    """Return the number that is nearest to the present one among those that were recommended within the windows."""
    at_least, at_most = history.lowest[0].workers, history.highest[0].workers
    return min(max(base, at_least), at_most)


def _limited(
    rules: Autoscaling, base: int, wanted: int, history: History, now: float, *, at_once: bool
) -> tuple[int, ConditionDict]:
    """Return the number that limits and policies allow, and the condition ScalingLimited."""
    if wanted > base:
        up = rules.behavior.scale_up
        limit = max(base, _rise(up, base, history, now))
        if at_once and up.select_policy != "Disabled":
            limit = max(limit, 1)
        most = min(limit, rules.max_replicas)
        if wanted > most:
            if limit < rules.max_replicas:
                return most, _limit(
                    Reason.SCALE_UP_LIMIT,
                    "the desired replica count is increasing faster than the maximum scale rate",
                )
            return most, _limit(
                Reason.TOO_MANY_REPLICAS, "the desired replica count is more than the maximum replica count"
            )
    elif wanted < base:
        limit = min(base, _fall(rules.behavior.scale_down, base, history, now))
        fewest = max(limit, rules.min_replicas)
        if wanted < fewest:
            if limit > rules.min_replicas:
                return fewest, _limit(
                    Reason.SCALE_DOWN_LIMIT,
                    "the desired replica count is decreasing faster than the maximum scale rate",
                )
            return fewest, _limit(
                Reason.TOO_FEW_REPLICAS, "the desired replica count is less than the minimum replica count"
            )
    message = "the desired count is within the acceptable range"
    return wanted, condition(Type.SCALING_LIMITED, False, Reason.DESIRED_WITHIN_RANGE, message)


def _limit(reason: Reason, message: str) -> ConditionDict:
    return condition(Type.SCALING_LIMITED, True, reason, message)


def _rise(rules: ScaleUpRules, base: int, history: History, now: float) -> int:
    """Return the most workers that the policies allow now."""
    if rules.select_policy == "Disabled":
        return base
    choose = min if rules.select_policy == "Min" else max
    return choose(_risen(policy, base, history, now) for policy in rules.policies)


def _risen(policy: ScalingPolicy, base: int, history: History, now: float) -> int:
    start = base - history.change_since(now - policy.period_seconds)
    if policy.type == "Pods":
        return start + policy.value
    return math.ceil(start * (1 + policy.value / 100) - _ROUNDING)


def _fall(rules: ScaleDownRules, base: int, history: History, now: float) -> int:
    """Return the fewest workers that the policies allow now."""
    if rules.select_policy == "Disabled":
        return base
    choose = max if rules.select_policy == "Min" else min
    return choose(_fallen(policy, base, history, now) for policy in rules.policies)


def _fallen(policy: ScalingPolicy, base: int, history: History, now: float) -> int:
    start = base - history.change_since(now - policy.period_seconds)
    if policy.type == "Pods":
        return start - policy.value
    return math.floor(start * (1 - policy.value / 100) + _ROUNDING)


def _cause(spec: WorkerPoolSpec, rules: Autoscaling, current: int | None, base: int, workers: int) -> str:
    if current is None or workers == current:
        return ""
    if workers == base:
        return ABOVE_MAX if current > rules.max_replicas else BELOW_MIN
    return f"jobs of queue {spec.queue} above target" if workers > current else BELOW_TARGET
