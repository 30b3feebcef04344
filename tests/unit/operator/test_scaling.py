"""How many workers a pool is to have: single decisions, and what holds for whole stories."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hammerwork import QueueDepth
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.workerpool.history import History
from hammerwork_operator.workerpool.scaling import Backlog, Decision, capacity, decide
from tests.unit.operator.builders import pool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hammerwork_operator.api.workerpool import WorkerPoolSpec

AWAY = Obstacle(Reason.DATABASE_UNAVAILABLE, "the database cannot be used now: away", passing=True)
AT_ONCE = {"scaleDown": {"stabilizationWindowSeconds": 0}}


def spec(concurrency: int = 10, **autoscaling: Any) -> WorkerPoolSpec:
    target = {} if "targetDrainSeconds" in autoscaling else {"targetJobsPerWorker": 100}
    return pool(
        {"concurrency": concurrency, "autoscaling": {"minReplicas": 0, "maxReplicas": 20, **target, **autoscaling}}
    ).spec


def backlog(ready: int = 0, *, share: float = 1.0, job_seconds: float | None = None, **depth: Any) -> Backlog:
    fields = {"running": 0, "scheduled": 0, "oldest_ready_seconds": None, **depth}
    return Backlog(depth=QueueDepth(queue="email", ready=ready, **fields), share=share, job_seconds=job_seconds)


def said(decision: Decision) -> list[str]:
    return [f"{each['type']} {each['status']} {each['reason']}" for each in decision.conditions]


class Story:
    """A pool whose decisions are carried out at once."""

    def __init__(self, of: WorkerPoolSpec, workers: int | None = 0) -> None:
        self.spec = of
        self.workers = workers
        self.now = 1_000.0
        self.history = History()
        self.sizes: list[tuple[float, int]] = []

    def step(self, known: Backlog | Obstacle, seconds: float = 1.0) -> Decision:
        self.now += seconds
        decision = decide(self.spec, known, self.workers, self.history, self.now)
        self.history = decision.history
        if self.workers is not None and decision.workers != self.workers:
            rules = self.spec.autoscaling
            assert not isinstance(rules, msgspec.UnsetType)
            self.history = self.history.rescaled(self.now, decision.workers - self.workers, rules.behavior)
        self.workers = decision.workers
        self.sizes.append((self.now, self.workers))
        return decision

    def run(self, known: Iterable[Backlog | Obstacle], seconds: float = 1.0) -> list[int]:
        return [self.step(each, seconds).workers for each in known]


@pytest.mark.parametrize(
    ("rules", "known", "current", "workers", "limited"),
    [
        # HPA: ceil, and 10 % of tolerance around what the workers are there for.
        ({}, backlog(250), 5, 5, "DesiredWithinRange False"),
        ({"behavior": AT_ONCE}, backlog(250), 5, 3, "DesiredWithinRange False"),
        ({"behavior": AT_ONCE}, backlog(451), 5, 5, "DesiredWithinRange False"),
        ({"behavior": AT_ONCE}, backlog(549), 5, 5, "DesiredWithinRange False"),
        ({}, backlog(551), 5, 6, "DesiredWithinRange False"),
        ({}, backlog(501, running=100), 5, 7, "DesiredWithinRange False"),
        # Policies and limits, with the words of HPA.
        ({}, backlog(10_000), 2, 6, "ScaleUpLimit True"),
        ({}, backlog(10_000), 15, 20, "TooManyReplicas True"),
        ({"behavior": AT_ONCE, "minReplicas": 2}, backlog(), 2, 2, "TooFewReplicas True"),
        (
            {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0, "policies": [
                {"type": "Pods", "value": 2, "periodSeconds": 60}
            ]}}},
            backlog(100), 9, 7, "ScaleDownLimit True",
        ),
        ({"behavior": {"scaleUp": {"selectPolicy": "Disabled"}}}, backlog(900), 0, 0, "ScaleUpLimit True"),
        (
            {"behavior": {"scaleUp": {"selectPolicy": "Min"}}}, backlog(10_000), 2, 4, "ScaleUpLimit True",
        ),
        # From zero at once, whatever the policies and windows are; for a share of a job, too.
        ({}, backlog(1), 0, 1, "DesiredWithinRange False"),
        ({}, backlog(1, share=0.01), 0, 1, "DesiredWithinRange False"),
        ({"behavior": {"scaleUp": {"stabilizationWindowSeconds": 600, "policies": [
            {"type": "Percent", "value": 50, "periodSeconds": 60}]}}}, backlog(900), 0, 1, "DesiredWithinRange False"),
        ({}, backlog(10_000), 0, 4, "ScaleUpLimit True"),
        # At zero: what others run, what is not due and what is paused brings no worker.
        ({}, backlog(running=500), 0, 0, "DesiredWithinRange False"),
        ({}, backlog(scheduled=5, next_scheduled_seconds=0.5), 0, 0, "DesiredWithinRange False"),
        ({}, backlog(900, paused=True), 0, 0, "DesiredWithinRange False"),
        # To zero only if there is nothing to do, and nothing soon.
        ({"behavior": AT_ONCE}, backlog(), 3, 0, "DesiredWithinRange False"),
        ({"behavior": AT_ONCE}, backlog(running=1), 3, 1, "DesiredWithinRange False"),
        # Limits that were changed count at once.
        ({"maxReplicas": 3}, AWAY, 9, 3, "DesiredWithinRange False"),
        ({"minReplicas": 4}, AWAY, 1, 4, "DesiredWithinRange False"),
        # A share of the queue.
        ({}, backlog(1_000, share=0.25), 1, 3, "DesiredWithinRange False"),
        # 6,000 jobs of 2 s in 60 s by workers with 10 lanes.
        ({"targetDrainSeconds": 60}, backlog(6_000, job_seconds=2.0), 18, 20, "DesiredWithinRange False"),
        ({"targetDrainSeconds": 60, "maxReplicas": 30}, backlog(6_000, job_seconds=3.0), 25, 30,
         "DesiredWithinRange False"),
        ({"targetDrainSeconds": 60}, backlog(6_000), 0, 1, "DesiredWithinRange False"),
        ({"targetDrainSeconds": 60, "behavior": AT_ONCE}, backlog(6_000), 3, 3, "DesiredWithinRange False"),
        ({"targetDrainSeconds": 60, "behavior": AT_ONCE}, backlog(), 3, 0, "DesiredWithinRange False"),
    ],
)  # fmt: skip
def test_one_decision(
    rules: dict[str, Any], known: Backlog | Obstacle, current: int, workers: int, limited: str
) -> None:
    decision = decide(spec(**rules), known, current, History(), 1_000.0)
    assert decision.workers == workers
    reason, status = limited.split()
    assert said(decision)[1] == f"ScalingLimited {status} {reason}"


@pytest.mark.parametrize(
    ("rules", "known", "active"),
    [
        ({}, backlog(5), "True ValidMetricFound"),
        ({}, AWAY, "False DatabaseUnavailable"),
        ({}, Obstacle(Reason.SECRET_NOT_FOUND, "none"), "False SecretNotFound"),
        ({"targetDrainSeconds": 60}, backlog(5, job_seconds=1.0), "True ValidMetricFound"),
        ({"targetDrainSeconds": 60}, backlog(), "True ValidMetricFound"),
        ({"targetDrainSeconds": 60}, backlog(5), "False DurationsUnknown"),
    ],
)
def test_whether_scaling_is_active(rules: dict[str, Any], known: Backlog | Obstacle, active: str) -> None:
    decision = decide(spec(**rules), known, 2, History(), 1_000.0)
    assert said(decision)[0] == f"ScalingActive {active}"


def test_a_pool_without_autoscaling_has_the_replicas_of_its_spec() -> None:
    decision = decide(pool({"replicas": 7}).spec, backlog(9_000), 3, History(), 1_000.0)
    assert (decision.workers, said(decision)) == (7, ["ScalingActive False ScalingDisabled"])


@pytest.mark.parametrize(
    ("rules", "current", "known", "cause"),
    [
        ({}, 2, backlog(500), "jobs of queue email above target"),
        ({"behavior": AT_ONCE}, 2, backlog(), "All metrics below target"),
        ({"maxReplicas": 3}, 9, backlog(2_000), "Current number of replicas above Spec.MaxReplicas"),
        ({"minReplicas": 4}, 2, backlog(), "Current number of replicas below Spec.MinReplicas"),
        ({}, 5, backlog(500), ""),
        ({}, None, backlog(500), ""),
    ],
)
def test_the_cause_of_a_change(rules: dict[str, Any], current: int | None, known: Backlog, cause: str) -> None:
    assert decide(spec(**rules), known, current, History(), 1_000.0).cause == cause


def test_pools_share_by_what_they_can_run() -> None:
    assert capacity(spec(concurrency=4)) == 80
    assert capacity(pool({"replicas": 3, "concurrency": 5}).spec) == 15
    assert capacity(pool({"replicas": 3, "concurrency": 5, "processes": 2}).spec) == 30


@pytest.mark.parametrize(
    ("container", "processes"),
    [
        ({"resources": {"limits": {"cpu": "1500m"}}}, 2),
        ({"resources": {"limits": {"cpu": 4}}}, 4),
        ({"resources": {"limits": {"cpu": "100m"}}}, 1),
        ({"resources": {"requests": {"cpu": 4}}}, 1),
        ({"resources": {"limits": {"cpu": "lots"}}}, 1),
        ({"resources": {"limits": {"cpu": None}}}, 1),
        ({"resources": {"limits": {"cpu": "nan"}}}, 1),
        ({"resources": {"limits": {"cpu": "1e99999999"}}}, 256),  # as a whole number, it would take hours
        ({"resources": "small"}, 1),
    ],
)
def test_a_pod_has_as_many_processes_as_its_cpu_limit_asks_for(container: dict[str, Any], processes: int) -> None:
    template = {"spec": {"containers": [{"name": "sidecar"}, {"name": "worker", **container}]}}
    assert capacity(pool({"concurrency": 1, "processes": "auto", "template": template}).spec) == processes


@pytest.mark.parametrize("template", [{}, {"spec": None}, {"spec": {"containers": [7]}}, {"spec": {"containers": 7}}])
def test_without_a_limit_that_is_one_process(template: dict[str, Any]) -> None:
    assert capacity(pool({"concurrency": 1, "processes": "auto", "template": template}).spec) == 1


def test_what_is_there_is_the_first_recommendation() -> None:
    story = Story(spec(), 8)
    assert set(story.run([backlog()] * 300)) == {8}
    assert story.step(backlog()).workers == 0


def test_a_window_keeps_the_highest_of_the_last_five_minutes() -> None:
    story = Story(spec(), 1)
    story.run([backlog(600)] * 60)
    assert story.workers == 6
    story.run([backlog(300)] * 200)
    assert story.workers == 6
    story.run([backlog(100)] * 101)
    assert story.workers == 3
    story.run([backlog()] * 300)
    assert story.workers == 0


def test_a_window_for_up_waits_for_the_lowest() -> None:
    story = Story(spec(behavior={"scaleUp": {"stabilizationWindowSeconds": 60}}), 1)
    assert set(story.run([backlog(900)] * 60)) == {1}
    assert story.step(backlog(400)).workers == 4


def test_a_burst_goes_up_by_the_default_policies_and_comes_down_to_zero() -> None:
    story = Story(spec(), 0)
    sizes = story.run([backlog(10_000)] * 60)
    assert [(second, later) for second, (size, later) in enumerate(pairwise([0, *sizes])) if size != later] == [
        (0, 4),
        (15, 8),
        (30, 16),
        (45, 20),
    ]
    story.run([backlog(running=1)] * 400)
    assert story.workers == 1
    assert story.run([backlog()] * 299)[-1] == 1
    assert story.run([backlog()] * 2)[-1] == 0


def test_a_retry_within_the_window_keeps_the_last_worker() -> None:
    story = Story(spec(), 1)
    waiting = (backlog(scheduled=1, next_scheduled_seconds=float(left)) for left in range(900, -1, -1))
    assert story.run(waiting, seconds=1.0)[299:302] == [1, 0, 0]
    story = Story(spec(), 1)
    due = (backlog(scheduled=1, next_scheduled_seconds=float(left)) for left in range(299, -1, -1))
    assert set(story.run(due)) == {1}


def test_an_outage_begins_the_window_anew() -> None:
    story = Story(spec(), 6)
    story.run([AWAY] * 3_000)
    assert story.workers == 6
    assert set(story.run([backlog()] * 299)) == {6}
    assert story.run([backlog()] * 2)[-1] == 0


def test_what_others_changed_within_a_period_counts() -> None:
    """Two Pods a minute: what went up and came down again is no change."""
    slow = {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}], "stabilizationWindowSeconds": 0}
    story = Story(spec(behavior={"scaleUp": slow, "scaleDown": slow}), 5)
    assert story.run([backlog(2_000)] * 60) == [7] * 60
    assert story.step(backlog(2_000)).workers == 9
    assert story.step(backlog()).workers == 5
    assert set(story.run([backlog()] * 58)) == {5}


# What holds for whole stories.

policies = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Pods", "Percent"]),
            "value": st.integers(1, 150),
            "periodSeconds": st.sampled_from([1, 10, 15, 60]),
        }
    ),
    min_size=1,
    max_size=3,
)
direction = st.fixed_dictionaries(
    {"stabilizationWindowSeconds": st.sampled_from([0, 5, 30, 300])},
    optional={
        "selectPolicy": st.sampled_from(["Max", "Min", "Disabled"]),
        "policies": policies,
    },
)
rules = st.fixed_dictionaries(
    {"minReplicas": st.integers(0, 5), "maxReplicas": st.integers(5, 40)},
    optional={
        "targetDrainSeconds": st.integers(1, 300),
        "behavior": st.fixed_dictionaries({}, optional={"scaleUp": direction, "scaleDown": direction}),
    },
)
backlogs = st.builds(
    backlog,
    st.one_of(st.just(0), st.integers(0, 2_000), st.integers(1_000, 100_000)),
    running=st.one_of(st.just(0), st.integers(0, 400)),
    scheduled=st.integers(0, 5),
    next_scheduled_seconds=st.one_of(st.none(), st.floats(-1, 1_000)),
    paused=st.sampled_from([False, False, False, True]),
    share=st.sampled_from([1.0, 0.5, 1 / 3, 0.01]),
    job_seconds=st.sampled_from([None, 0.0, 0.01, 1.0, 60.0]),
)
stories = st.lists(
    st.tuples(st.one_of(backlogs, backlogs, st.just(AWAY)), st.sampled_from([0.5, 1, 4, 20, 60])),
    min_size=1,
    max_size=40,
)
few = settings(max_examples=100)


@few
@given(rules, st.one_of(st.none(), st.integers(0, 60)), stories)
def test_always_between_the_limits(of: dict[str, Any], start: int | None, events: list[tuple[Any, float]]) -> None:
    story = Story(spec(**of), start)
    for known, seconds in events:
        assert of["minReplicas"] <= story.step(known, seconds).workers <= of["maxReplicas"]


@few
@given(rules, stories)
def test_the_unknown_changes_nothing(of: dict[str, Any], events: list[tuple[Any, float]]) -> None:
    story = Story(spec(**of), of["maxReplicas"])
    for known, seconds in events:
        before = story.workers
        story.step(known, seconds)
        if isinstance(known, Obstacle):
            assert story.workers == before


@few
@given(rules, stories, backlogs, st.integers(0, 100_000), st.integers(0, 400))
def test_more_jobs_never_mean_fewer_workers(
    of: dict[str, Any], events: list[tuple[Any, float]], known: Backlog, ready: int, running: int
) -> None:
    story = Story(spec(**of), of["minReplicas"])
    story.run([each for each, _ in events])
    depth = known.depth
    more = msgspec.structs.replace(depth, ready=depth.ready + ready, running=depth.running + running)
    one, other = (
        decide(story.spec, each, story.workers, story.history, story.now + 1.0).workers
        for each in (known, msgspec.structs.replace(known, depth=more))
    )
    assert one <= other


@few
@given(rules, stories, backlogs)
def test_what_stays_the_same_comes_to_rest(of: dict[str, Any], events: list[tuple[Any, float]], known: Backlog) -> None:
    story = Story(spec(**of), of["minReplicas"])
    for each, seconds in events:
        story.step(each, seconds)
    before = story.workers
    assert before is not None
    sizes = [before, *story.run([known] * 200, 10.0)]
    steps = [later - earlier for earlier, later in pairwise(sizes) if earlier != later]
    # It may first fall to what a window remembers and then go its way, but it never swings.
    turns = sum((one > 0) != (two > 0) for one, two in pairwise(steps))
    assert turns <= 1, sizes


@few
@given(rules, st.integers(0, 40), stories)
def test_no_period_sees_more_than_its_policies_allow(
    of: dict[str, Any], start: int, events: list[tuple[Any, float]]
) -> None:
    story = Story(spec(**of), max(of["minReplicas"], min(start, of["maxReplicas"])))
    behavior = story.spec.autoscaling.behavior  # type: ignore[union-attr]
    sizes = [(story.now, story.workers)]
    for known, seconds in events:
        story.step(known, seconds)
        sizes.append((story.now, story.workers))
    for now, size in sizes:
        for up, bounds in ((True, behavior.scale_up), (False, behavior.scale_down)):
            allowed = []
            for policy in bounds.policies:
                begin = [at for at, _ in sizes if at <= now - policy.period_seconds]
                first = next(was for at, was in sizes if at == (begin[-1] if begin else sizes[0][0])) or 0
                part = policy.value if policy.type == "Pods" else first * policy.value / 100
                allowed.append((first + part + 1) if up else (first - part - 1))
            least_change = bounds.select_policy == "Min"
            limit = (min if up == least_change else max)(allowed)
            assert size is not None
            assert size <= max(limit, 1) if up else size >= limit


@few
@given(rules, stories)
def test_the_history_stays_small(of: dict[str, Any], events: list[tuple[Any, float]]) -> None:
    story = Story(spec(**of), of["minReplicas"])
    for known, seconds in events * 5:
        story.step(known, seconds)
        values = [each.workers for each in story.history.highest]
        assert values == sorted(set(values), reverse=True)
