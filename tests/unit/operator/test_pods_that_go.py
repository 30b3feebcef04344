"""Worker Pods that go: whose claims are recovered, and which of them may go first."""

from __future__ import annotations

from typing import Any

import pytest

from hammerwork_operator.pods import costs
from hammerwork_operator.pods.observed import Loss, ObservedPod, observe
from hammerwork_operator.pods.watched import WatchedPods
from tests.unit.operator.pods import BACK_OFF, CREATING, RUNNING, container, of, pod, terminated

Manifest = dict[str, Any]
GOES = {"deletionTimestamp": "2026-05-01T12:00:00Z"}
KILLED = terminated(137)


@pytest.mark.parametrize(
    ("manifest", "deleted", "loss"),
    [
        (pod(container(RUNNING, ready=True)), False, None),
        (of(pod(container(RUNNING, ready=True)), **GOES), False, None),  # stopping, or on a node that does not answer
        (pod(container(RUNNING), phase="Unknown"), False, None),
        (pod(container(KILLED)), False, Loss("containerd://1", certain=False)),  # will be restarted
        (pod(container(BACK_OFF, KILLED)), False, Loss("containerd://1", certain=False)),
        (pod(container(RUNNING, KILLED)), False, None),  # is restarted
        (of(pod(container(KILLED)), **GOES), False, Loss("containerd://1", certain=True)),
        (pod(container(KILLED), phase="Failed"), False, Loss("containerd://1", certain=True)),
        (of(pod(container(BACK_OFF, KILLED)), **GOES), False, Loss("containerd://1", certain=False)),
        (of(pod(container(KILLED)), **GOES), True, Loss("containerd://1", certain=True)),
        (pod(container(KILLED)), True, Loss("containerd://1", certain=True)),
        (of(pod(container(RUNNING)), **GOES), True, Loss("containerd://2", certain=False)),  # deleted by force
        (pod(container(RUNNING), phase="Failed"), True, Loss("containerd://2", certain=False)),  # its node was removed
        (pod(container(RUNNING), phase="Failed"), False, None),
        (of(pod(container(terminated(0))), **GOES), True, None),  # ended by itself
        (pod(container(CREATING)), True, None),
        (pod(phase="Pending"), True, None),
        (pod(container(RUNNING), container(KILLED, name="side")), False, None),
    ],
)
def test_a_worker_is_lost_when_its_container_has_ended(manifest: Manifest, deleted: bool, loss: Loss | None) -> None:
    assert observe(manifest, deleted=deleted).loss == loss


def test_each_loss_is_told_once() -> None:
    pods = WatchedPods()
    key = ("mail", "mailers")

    def told(manifest: Manifest, *, deleted: bool = False) -> bool:
        change = pods.seen(manifest, deleted=deleted)
        assert change.pool == key
        return change.loss

    assert not told(pod(container(RUNNING)))
    assert told(pod(container(KILLED)))
    assert not told(pod(container(BACK_OFF, KILLED)))
    assert not told(pod(container(RUNNING, KILLED)))
    assert told(pod(container(BACK_OFF, terminated(1, container="containerd://2"))))
    assert told(of(pod(container(terminated(1, container="containerd://3"))), **GOES))
    assert len(pods.of(key)) == 1
    assert not told(of(pod(container(terminated(1, container="containerd://3"))), **GOES), deleted=True)
    assert pods.of(key) == []


def test_news_that_say_nothing_of_the_cause_are_none() -> None:
    pods = WatchedPods()
    assert not pods.seen(pod(container(RUNNING)), deleted=False).cause
    assert not pods.seen(pod(container(RUNNING, ready=True)), deleted=False).cause
    assert pods.seen(pod(container(KILLED)), deleted=False).cause
    assert not pods.seen(pod(container(BACK_OFF, KILLED)), deleted=False).cause
    assert pods.seen(of(pod(container(BACK_OFF, KILLED)), **GOES), deleted=False).cause
    assert not pods.seen(of(pod(container(BACK_OFF, KILLED)), **GOES), deleted=True).cause


def workers(count: int, **annotations: str) -> list[ObservedPod]:
    found = [pod(container(RUNNING, ready=True), name=f"p{number}") for number in range(count)]
    key = "controller.kubernetes.io/pod-deletion-cost"
    return [
        observe(
            of(each, annotations={key: annotations[name]} if (name := each["metadata"]["name"]) in annotations else {})
        )
        for each in found
    ]


@pytest.mark.parametrize(
    ("pods", "loads", "keep", "written"),
    [
        (workers(3), {"uid-p0": 5, "uid-p2": 9}, 2, {"p1": -1}),
        (workers(4), {"uid-p0": 5, "uid-p2": 9}, 1, {"p2": 1}),  # the one that stays is written to
        (workers(3), {}, 2, {}),  # all idle
        (workers(3), {"uid-p0": 5, "uid-p1": 5, "uid-p2": 5}, 1, {}),
        (workers(3), {"uid-p0": 5}, 3, {}),
        (workers(3), {"uid-p0": 5}, 0, {}),
        (workers(3, p0="-1"), {"uid-p0": 5}, 2, {"p0": 0, "p1": -1}),  # what was written before counts no more
        (workers(3, p1="-1"), {"uid-p0": 5, "uid-p2": 1}, 2, {}),
        (workers(2, p0="many"), {"uid-p0": 5}, 1, {"p1": -1}),
        ([*workers(2), observe(pod(container(CREATING), name="p9"))], {"uid-p0": 5}, 2, {}),  # it goes first anyway
    ],
)
def test_idle_pods_cost_less(
    pods: list[ObservedPod], loads: dict[str, int], keep: int, written: dict[str, int]
) -> None:
    assert costs.changes(pods, loads, keep=keep) == written


def test_the_writes_before_one_step_are_bounded() -> None:
    pods = workers(2_000)
    assert len(costs.changes(pods, {"uid-p7": 1}, keep=1_000)) == costs.MAX_WRITES
