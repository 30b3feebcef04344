"""Why worker Pods do not work, as their pool tells it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube.client import ApiServer
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.pods import causes
from hammerwork_operator.pods.events import explained
from hammerwork_operator.pods.observed import ObservedPod, observe
from hammerwork_operator.workerpool import status
from hammerwork_operator.workerpool.queue_status import Scaled
from tests.unit.operator.builders import NOW, ago, pool
from tests.unit.operator.pods import BACK_OFF, CREATING, RUNNING, container, of, pod, terminated, waiting

Manifest = dict[str, Any]

UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available: 1 Insufficient cpu.",
}
NO_IMAGE = 'failed to pull and unpack image "x:1": failed to resolve reference "x:1": x:1: not found'
NO_REGISTRY = 'failed to do request: Head "https://r.io/v2/": dial tcp 10.0.0.1:443: connect: connection refused'
LOG = "2026-05-01T11:59:59.000Z INFO hammerwork_worker: starting\n"
IMPORT = LOG + "2026-05-01T12:00:00.000Z ERROR hammerwork_worker: handlers: No module named 'x'\n"
TRACEBACK = "Traceback (most recent call last):\n  File …\nRuntimeError: no luck\n"


@pytest.mark.parametrize(
    ("manifest", "reason", "passing", "message"),
    [
        (pod(container(RUNNING, ready=True)), None, None, ""),
        (pod(container(RUNNING)), None, None, ""),
        (pod(container(CREATING)), None, None, ""),
        (pod(), None, None, ""),
        (pod(phase="Pending", conditions=[UNSCHEDULABLE]), "Unschedulable", True, UNSCHEDULABLE["message"]),
        (pod(container(waiting("ErrImagePull", NO_IMAGE))), "ImagePullBackOff", False, f"container worker: {NO_IMAGE}"),
        (
            pod(container(waiting("ImagePullBackOff", f'Back-off pulling image "x:1": ErrImagePull: {NO_IMAGE}'))),
            "ImagePullBackOff",
            False,
            f"container worker: {NO_IMAGE}",
        ),
        (
            pod(container(waiting("ImagePullBackOff", 'Back-off pulling image "x:1"'))),
            "ImagePullBackOff",
            False,
            'container worker: Back-off pulling image "x:1"',
        ),
        (
            pod(container(waiting("ErrImagePull", NO_REGISTRY))),
            "ImagePullBackOff",
            True,
            f"container worker: {NO_REGISTRY}",
        ),
        (pod(container(waiting("InvalidImageName", "bad"))), "InvalidImageName", False, "container worker: bad"),
        (pod(container(waiting("ErrImageNeverPull", "no"))), "ErrImageNeverPull", False, "container worker: no"),
        (
            pod(container(waiting("CreateContainerConfigError", 'configmap "settings" not found'))),
            "CreateContainerConfigError",
            False,
            'container worker: configmap "settings" not found',
        ),
        (
            pod(container(waiting("PostStartHookError", "it\nfailed"))),
            "CreateContainerError",
            True,
            "container worker: PostStartHookError: it failed",
        ),
        (
            pod(container(BACK_OFF, terminated(128, reason="StartError", message='exec: "x": not found'))),
            "RunContainerError",
            False,
            'container worker: exec: "x": not found',
        ),
        (
            pod(container(terminated(137, reason="OOMKilled"))),
            "OOMKilled",
            True,
            "container worker was killed as it used more memory than its limit",
        ),
        (
            pod(container(BACK_OFF, terminated(2, message=IMPORT))),
            "CrashLoopBackOff",
            False,
            "container worker ended with exit code 2: handlers: No module named 'x'",
        ),
        (
            pod(container(RUNNING, terminated(1, message=TRACEBACK))),  # started again, not ready yet
            "CrashLoopBackOff",
            True,
            "container worker ended with exit code 1: RuntimeError: no luck",
        ),
        (
            pod(container(RUNNING, terminated(1, message=TRACEBACK), ready=True)),  # and it works again
            None,
            None,
            "",
        ),
        (
            pod(
                container(RUNNING, ready=True),
                container(terminated(2, message='{"level": "error", "message": "no"}'), name="side"),
            ),
            "CrashLoopBackOff",
            True,
            "container side ended with exit code 2: no",
        ),
        (
            pod(container(BACK_OFF, terminated(0, reason="Completed"), name="side")),
            "CrashLoopBackOff",
            True,
            "container side ended with exit code 0",
        ),
        (pod(container(terminated(0, reason="Completed"))), None, None, ""),
        (
            pod(
                container(CREATING), initContainerStatuses=[container(waiting("ErrImageNeverPull", "no"), name="copy")]
            ),
            "ErrImageNeverPull",
            False,
            "container copy: no",
        ),
    ],
)
def test_a_pod_tells_why_it_does_not_work(
    manifest: Manifest, reason: str | None, passing: bool | None, message: str
) -> None:
    found = causes.of_pod(manifest)
    if reason is None:
        assert found is None
    else:
        assert found == Obstacle(Reason(reason), message, passing is True)


def event(reason: str, message: str, at: int) -> Manifest:
    return {"reason": reason, "message": message, "lastTimestamp": f"2026-05-01T12:00:{at:02}Z"}


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ([], None),
        ([event("Unhealthy", "readiness probe failed", 1)], None),
        (
            [
                event("FailedMount", 'MountVolume.SetUp failed for volume "h" : configmap "h" not found', 1),
                event("FailedMount", "Unable to attach or mount volumes: timed out", 2),
            ],
            Obstacle(Reason.FAILED_MOUNT, 'MountVolume.SetUp failed for volume "h" : configmap "h" not found'),
        ),
        (
            [event("FailedAttachVolume", "Multi-Attach error", 1), event("FailedMount", "timed out", 2)],
            Obstacle(Reason.FAILED_MOUNT, "timed out", passing=True),
        ),
        (
            [event("FailedCreatePodSandBox", "no network", 1)],
            Obstacle(Reason.FAILED_CREATE_POD_SANDBOX, "no network", passing=True),
        ),
    ],
)
def test_events_tell_why_containers_are_not_created(events: list[Manifest], found: Obstacle | None) -> None:
    assert causes.of_events(events) == found


def test_only_pods_that_are_being_created_are_asked_about() -> None:
    assert observe(pod(container(CREATING))).creating
    assert observe(pod(initContainerStatuses=[container(waiting("PodInitializing", ""))])).creating
    assert not observe(pod(container(RUNNING))).creating
    assert not observe(pod(container(waiting("ErrImageNeverPull", "")))).creating
    assert not observe(of(pod(container(CREATING)), deletionTimestamp="2026-05-01T12:00:00Z")).creating


def crashed(name: str, code: int, *, template: str = "1", created: str = "2026-05-01T11:00:00Z") -> ObservedPod:
    manifest = pod(container(BACK_OFF, terminated(code)), name=name)
    return observe(of(manifest, labels={"pod-template-hash": template}, creationTimestamp=created))


def test_a_pool_tells_what_a_person_has_to_cure_and_else_what_is_frequent() -> None:
    oom = observe(pod(container(terminated(137, reason="OOMKilled")), name="c"))
    works = observe(pod(container(RUNNING, ready=True), name="d"))
    found = causes.of_pool([oom, works, crashed("b", 1), crashed("a", 1)])
    assert found == Obstacle(
        Reason.CRASH_LOOP_BACK_OFF, "Pod a (and 1 more): container worker ended with exit code 1", passing=True
    )
    found = causes.of_pool([crashed("a", 1), crashed("b", 1), crashed("c", 2)])
    assert found is not None
    assert not found.passing
    assert found.message.startswith("Pod c (and 2 more): ")
    assert causes.of_pool([]) is None


def test_events_are_read_of_one_pod_and_only_where_no_other_tells_a_cause() -> None:
    first, second = (observe(pod(container(CREATING), name=name)) for name in ("a", "b"))
    assert causes.unexplained([second, first]) == first
    assert causes.unexplained([first, crashed("x", 2, created=first.created)]) is None
    assert causes.unexplained([first, crashed("x", 2, template="0")]) == first, "an earlier template's Pod hides it"
    assert causes.unexplained([observe(pod(container(RUNNING)))]) is None


class NoEvents(ApiServer):
    """Has no Event of any Pod."""

    def __init__(self) -> None:
        """Connect to nothing."""

    async def warnings_about(self, namespace: str, uid: str) -> list[Manifest]:  # noqa: ARG002
        return []


@pytest.mark.parametrize(("age", "again"), [(1, 2.0), (8, 2.0), (60, 15.0)])
async def test_a_pod_whose_containers_take_long_is_looked_at_ever_more_seldom(age: float, again: float) -> None:
    created = ago(age).strftime("%Y-%m-%dT%H:%M:%SZ")
    creating = observe(of(pod(container(CREATING)), creationTimestamp=created))
    assert (await explained(NoEvents(), "mail", [creating], NOW))[1] == again


AWAY = Obstacle(Reason.DATABASE_UNAVAILABLE, "no answer", passing=True)


@pytest.mark.parametrize(
    ("pods", "found"),
    [
        ([pod(container(RUNNING))], AWAY),
        ([pod(container(RUNNING, ready=True))], None),
        ([pod(container(RUNNING, ready=True)), pod(container(RUNNING), name="b")], AWAY),
        ([pod(container(CREATING), phase="Pending")], None),
        ([], None),
    ],
)
def test_a_database_that_is_away_is_the_cause_of_workers_that_wait(
    pods: list[Manifest], found: Obstacle | None
) -> None:
    assert causes.of_pool(map(observe, pods), database=AWAY) == found
    assert causes.of_pool(map(observe, pods)) is None
    crash = causes.of_pool([*map(observe, pods), crashed("x", 2, created="2026-05-01T11:59:00Z")], database=AWAY)
    assert crash is not None
    assert crash.reason == "CrashLoopBackOff"


def test_pods_of_an_earlier_template_are_no_cause() -> None:
    new = observe(of(pod(container(CREATING)), labels={"pod-template-hash": "2"}))
    assert causes.of_pool([crashed("a", 2), new]) is None


DEPLOYMENT: Manifest = {
    "metadata": {"generation": 4},
    "status": {"observedGeneration": 4, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 1},
}
LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
TWO = Scaled(workers=2)
LASTING = Obstacle(Reason.IMAGE_PULL_BACK_OFF, "Pod a: no such image")
PASSING = Obstacle(Reason.OOM_KILLED, "Pod a: too big", passing=True)


@pytest.mark.parametrize(
    ("state", "cause", "reason", "reconciling", "message"),
    [
        ({}, None, "Progressing", "True", "1 of 2 workers available"),
        ({}, PASSING, "OOMKilled", "True", "1 of 2 workers available; Pod a: too big"),
        ({}, LASTING, "ImagePullBackOff", "False", "1 of 2 workers available; Pod a: no such image"),
        ({"conditions": [LATE]}, PASSING, "OOMKilled", "False", "timed out; Pod a: too big"),
        ({"observedGeneration": 3}, LASTING, "Progressing", "True", "1 of 2 workers available, 2 up to date"),
        ({"updatedReplicas": 0}, LASTING, "Progressing", "True", "1 of 2 workers available, 0 up to date"),
        ({"availableReplicas": 2}, LASTING, "Available", "False", "2 of 2 workers available"),
    ],
)
def test_the_cause_is_in_the_pools_conditions(
    state: Manifest, cause: Obstacle | None, reason: str, reconciling: str, message: str
) -> None:
    deployment = {**DEPLOYMENT, "status": {**DEPLOYMENT["status"], **state}}
    computed = status.compute(pool({"replicas": 2}), deployment, None, NOW, scaled=TWO, cause=cause)
    ready, moving, stalled = computed["conditions"]
    assert (ready["reason"], ready["message"], moving["status"]) == (reason, message, reconciling)
    assert stalled["status"] == ("False" if reconciling == "True" or reason == "Available" else "True")
    later = status.compute(
        pool({"replicas": 2}, computed), deployment, None, NOW + timedelta(hours=1), scaled=TWO, cause=cause
    )
    assert later == computed, "what does not change is written again"
