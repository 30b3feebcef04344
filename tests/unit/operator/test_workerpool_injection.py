"""Any image is a worker: what the operator adds to a template whose container has an image of its own."""

from __future__ import annotations

from typing import Any

import pytest

from hammerwork.working.portable import python_command
from hammerwork_operator.workerpool.deployment import build_deployment
from hammerwork_operator.workerpool.template import InvalidTemplateError
from tests.unit.operator.builders import pool

WORKER_IMAGE = "registry/worker:1"
COMMAND = {"exec": {"command": ["convert", "-resize", "{{ payload.size }}"]}}
PYTHON = {"python": {"function": "handlers:send"}}
EVICTABLE = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"


def build(container: dict[str, Any], *, handler: dict[str, Any] = COMMAND, **pod: Any) -> dict[str, Any]:
    """The Pod template of a pool whose container `worker` is this one."""
    template = {"spec": {**pod, "containers": [{"name": "worker", **container}]}}
    observed = pool({"handler": handler, "template": template})
    deployment = build_deployment(observed, default_image=WORKER_IMAGE, secret_version="1", workers=1)
    built: dict[str, Any] = deployment["spec"]["template"]
    return built


def test_an_image_of_its_own_gets_the_worker_from_a_volume() -> None:
    built = build({"image": "alpine:3"})
    pod = built["spec"]
    assert pod["initContainers"] == [
        {
            "name": "hammerwork-worker-copy",
            "image": WORKER_IMAGE,
            "command": ["hammerwork-worker-copy", "/hammerwork"],
            "resources": {},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": [{"name": "hammerwork-worker", "mountPath": "/hammerwork"}],
        }
    ]
    (worker,) = pod["containers"]
    assert worker["image"] == "alpine:3"
    assert worker["command"] == [*python_command("/hammerwork"), "-m", "hammerwork_worker.portable"]
    assert worker["volumeMounts"][-1] == {"name": "hammerwork-worker", "mountPath": "/hammerwork", "readOnly": True}
    assert {"name": "hammerwork-worker", "emptyDir": {}} in pod["volumes"]
    assert "hammerwork-worker" in built["metadata"]["annotations"][EVICTABLE].split(",")


@pytest.mark.parametrize(
    ("container", "handler"),
    [
        ({}, COMMAND),
        ({"image": WORKER_IMAGE}, COMMAND),
        ({"image": None}, COMMAND),
        ({"image": "registry/mine:2", "command": ["my-worker"]}, PYTHON),
    ],
    ids=["no image", "the worker's image", "null", "Python"],
)
def test_all_else_stays_as_it_is(container: dict[str, Any], handler: dict[str, Any]) -> None:
    pod = build(container, handler=handler)["spec"]
    assert "initContainers" not in pod
    assert pod["containers"][0].get("command") == container.get("command")
    assert [volume["name"] for volume in pod["volumes"]] == ["hammerwork-tmp"]


@pytest.mark.parametrize("key", ["command", "args"])
def test_a_command_beside_an_image_is_refused(key: str) -> None:
    with pytest.raises(InvalidTemplateError, match=rf"containers\[worker\]\.{key} must not be set: .* spec\.handler"):
        build({"image": "alpine:3", key: ["sh"]})


def test_nothing_of_the_users_is_in_the_way() -> None:
    mounts = [{"name": "a", "mountPath": "/hammerwork/data/"}, {"name": "b", "mountPath": "hammerwork-2"}]
    theirs = {"name": "hammerwork-worker", "configMap": {"name": "c"}}
    initial = {"name": "hammerwork-worker-copy", "image": "prepare:1"}
    pod = build({"image": "alpine:3", "volumeMounts": mounts}, volumes=[theirs], initContainers=[initial])["spec"]
    copy, second = pod["initContainers"]
    assert (copy["name"], second) == ("hammerwork-worker-copy-2", initial)
    assert copy["volumeMounts"] == [{"name": "hammerwork-worker-2", "mountPath": "/hammerwork-3"}]
    (worker,) = pod["containers"]
    assert worker["command"][0] == "/hammerwork-3/ld.so"
    assert worker["volumeMounts"][:2] == mounts
    assert pod["volumes"][0] == theirs


def test_the_init_container_runs_as_the_worker_does_and_has_what_quotas_want() -> None:
    container = {
        "image": "alpine:3",
        "securityContext": {"runAsUser": 1234, "readOnlyRootFilesystem": False, "capabilities": {"add": ["SYS_NICE"]}},
        "resources": {
            "requests": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": 1},
            "limits": {"memory": "2Gi"},
            "claims": [{"name": "gpu"}],
        },
    }
    (copy,) = build(container)["spec"]["initContainers"]
    assert copy["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "runAsUser": 1234,
    }
    assert copy["resources"] == {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}


def test_a_template_of_the_wrong_shape_is_named() -> None:
    with pytest.raises(InvalidTemplateError, match=r"spec\.template\.spec\.initContainers must be a list"):
        build({"image": "alpine:3"}, initContainers={})
    pod = build({"image": "alpine:3", "resources": "small"})["spec"]
    assert pod["initContainers"][0]["resources"] == {}
    assert pod["containers"][0]["resources"] == "small", "which the API server refuses in its own words"
