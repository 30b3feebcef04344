"""Brings the worker into a container of another image: any image is a worker. Pure.

An init container of the worker's image copies a worker that needs nothing of the image around it into a volume, and the
container starts it from there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hammerwork.working.portable import python_command
from hammerwork_operator.api import names
from hammerwork_operator.workerpool.template import InvalidTemplateError, allow_eviction, part
from hammerwork_operator.workerpool.vacant import vacant_folder, vacant_name

if TYPE_CHECKING:
    from hammerwork_operator.api.common import Manifest

_POD = "spec.template.spec"
_VOLUME = "hammerwork-worker"
_INIT_CONTAINER = "hammerwork-worker-copy"
_FOLDER = "/hammerwork"
_AMOUNTS = ("cpu", "memory", "ephemeral-storage")
_IDENTITY = ("runAsUser", "runAsGroup", "runAsNonRoot", "seccompProfile", "seLinuxOptions")


def bring_worker(template: Manifest, *, worker_image: str) -> None:
    """Have the container `worker` of a completed template start the worker, if it has an image of its own.

    Raises:
        InvalidTemplateError: It has a command, too, or a part of the Pod has the wrong type.
    """
    pod = template["spec"]
    container = next(entry for entry in pod["containers"] if entry.get("name") == names.WORKER_CONTAINER)
    if container.get("image", worker_image) == worker_image:
        return
    for key in ("command", "args"):
        if container.get(key):
            raise InvalidTemplateError(
                f"{_POD}.containers[{names.WORKER_CONTAINER}].{key} must not be set: whatever its image, the container "
                "runs Hammerwork's worker, which does with each job what spec.handler says"
            )
    volumes = part(pod, "volumes", list, _POD)
    volume = vacant_name(_VOLUME, [entry.get("name") for entry in volumes])
    volumes.append({"name": volume, "emptyDir": {}})
    allow_eviction(template, volume)
    folder = vacant_folder(_FOLDER, container)
    container.setdefault("volumeMounts", []).append({"name": volume, "mountPath": folder, "readOnly": True})
    container["command"] = [*python_command(folder), "-m", "hammerwork_worker.portable"]
    initial = part(pod, "initContainers", list, _POD)
    name = vacant_name(_INIT_CONTAINER, [entry.get("name") for entry in (*initial, *pod["containers"])])
    copying = {
        "name": name,
        "image": worker_image,
        "command": ["hammerwork-worker-copy", folder],
        "resources": _resources(container),
        "securityContext": _security(container),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": volume, "mountPath": folder}],
    }
    initial.insert(0, copying)


def _resources(container: Manifest) -> Manifest:
    """Return what the container has, since quotas want it of each one. A Pod needs the larger of both, not the sum."""
    theirs = _object(container.get("resources"))
    kinds = {kind: _object(theirs.get(kind)) for kind in ("requests", "limits")}
    return {kind: {name: given[name] for name in _AMOUNTS if name in given} for kind, given in kinds.items() if given}


def _security(container: Manifest) -> Manifest:
    """Return what the restricted Pod security standard wants, and whom the container runs as."""
    theirs = _object(container.get("securityContext"))
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        **{key: theirs[key] for key in _IDENTITY if key in theirs},
    }


def _object(value: Any) -> Manifest:
    return value if isinstance(value, dict) else {}  # of what else it is, the API server tells
