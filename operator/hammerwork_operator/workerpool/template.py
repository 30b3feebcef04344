"""Completes the Pod template of a WorkerPool, in which users may set what the operator leaves free. Pure.

Where a template has null, the operator's default is left out, too, and nothing takes its place.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from hammerwork.working import variables
from hammerwork_operator.api import names
from hammerwork_operator.workerpool.vacant import is_mounted, vacant_name, vacant_port

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hammerwork_operator.api.common import Manifest

_WORKER = f"spec.template.spec.containers[{names.WORKER_CONTAINER}]"
_TMP_PATH = "/tmp"  # noqa: S108 (a mount point in the container)
_TMP_VOLUME = "hammerwork-tmp"
_EVICTABLE_VOLUMES = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
_PROBE_ACTIONS = {"exec", "grpc", "httpGet", "tcpSocket"}


class InvalidTemplateError(ValueError):
    """spec.template has a part of the wrong type; the message names it."""


def complete_template(
    template: Manifest,
    *,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    grace_seconds: int,
    image: str,
    environment: Sequence[Manifest],
    occupied: Collection[int] = (),
) -> Manifest:
    """Return the template with what the operator sets in any case, and with defaults where users set nothing.

    `occupied` are ports of the Pod that the worker leaves alone, beside those that the template names.

    Raises:
        InvalidTemplateError: It has a part of the wrong type.
    """
    template = copy.deepcopy(template)
    metadata = part(template, "metadata", dict, "spec.template")
    part(metadata, "labels", dict, "spec.template.metadata").update(labels)
    part(metadata, "annotations", dict, "spec.template.metadata").update(annotations)
    pod = part(template, "spec", dict, "spec.template")
    pod["terminationGracePeriodSeconds"] = grace_seconds
    pod.setdefault("automountServiceAccountToken", False)
    pod.setdefault("enableServiceLinks", False)
    _secure(pod, "spec.template.spec", runAsNonRoot=True, seccompProfile={"type": "RuntimeDefault"})
    worker = _worker_container(pod)
    _complete_container(worker, image, environment)
    port = _open_port(worker, pod, occupied)
    _complete_probe(worker, "livenessProbe", "/healthz", port, period=5, failures=6)
    _complete_probe(worker, "readinessProbe", "/readyz", port, period=2, failures=5)
    if (volume := _mount_tmp(worker, pod)) is not None:
        allow_eviction(template, volume)
    completed: Manifest = _without_nulls(template)
    return completed


def allow_eviction(template: Manifest, volume: str) -> None:
    """Tell cluster autoscalers that a volume holds nothing for which they have to keep a node."""
    annotations = template["metadata"]["annotations"]
    theirs = annotations.get(_EVICTABLE_VOLUMES)
    annotations[_EVICTABLE_VOLUMES] = f"{theirs},{volume}" if theirs else volume


def _worker_container(pod: Manifest) -> Manifest:
    containers = part(pod, "containers", list, "spec.template.spec")
    for container in containers:
        if container.get("name") == names.WORKER_CONTAINER:
            found: Manifest = container
            return found
    container = {"name": names.WORKER_CONTAINER}
    containers.insert(0, container)
    return container


def _complete_container(container: Manifest, image: str, environment: Sequence[Manifest]) -> None:
    container.setdefault("image", image)
    taken = {variables.PORT, *(entry["name"] for entry in environment)}
    theirs = part(container, "env", list, _WORKER)
    container["env"] = [*environment, *(entry for entry in theirs if entry.get("name") not in taken)]
    # What a worker says last becomes part of the Pod's status, and so of the pool's.
    container.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
    _secure(
        container, _WORKER, allowPrivilegeEscalation=False, readOnlyRootFilesystem=True, capabilities={"drop": ["ALL"]}
    )


def _open_port(container: Manifest, pod: Manifest, occupied: Collection[int]) -> int:
    """Have the worker listen on a port and tell it which, and return the number."""
    ports = part(container, "ports", list, _WORKER)
    port = _own_port(ports)
    if port is None:
        port = vacant_port(pod, container, names.WORKER_PORT, occupied)
        ports.append({"name": names.METRICS_PORT_NAME, "containerPort": port, "protocol": "TCP"})
    container["env"].append({"name": variables.PORT, "value": str(port)})
    return port


def _own_port(ports: Sequence[Manifest]) -> int | None:
    """Return the port that users have chosen for the worker's probes and metrics."""
    chosen = (port.get("containerPort") for port in ports if port.get("name") == names.METRICS_PORT_NAME)
    return next((port for port in chosen if isinstance(port, int)), None)


def _complete_probe(container: Manifest, key: str, path: str, port: int, *, period: int, failures: int) -> None:
    ours = {
        "httpGet": {"path": path, "port": port},
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }
    theirs = container.setdefault(key, ours)
    if isinstance(theirs, dict) and not _PROBE_ACTIONS & theirs.keys():
        container[key] = {**ours, **theirs}


def _secure(parent: Manifest, where: str, **defaults: Any) -> None:
    if parent.get("securityContext", {}) is None:
        return
    security = part(parent, "securityContext", dict, where)
    for key, value in defaults.items():
        security.setdefault(key, value)


def _mount_tmp(container: Manifest, pod: Manifest) -> str | None:
    """Mount an emptyDir at /tmp and return the name of the volume, or None where users mount one."""
    mounts = part(container, "volumeMounts", list, _WORKER)
    if is_mounted(container, _TMP_PATH):
        return None
    volumes = part(pod, "volumes", list, "spec.template.spec")
    name = vacant_name(_TMP_VOLUME, [volume.get("name") for volume in volumes])
    volumes.append({"name": name, "emptyDir": {}})
    mounts.append({"name": name, "mountPath": _TMP_PATH})
    return name


def _without_nulls(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_nulls(value) for key, value in node.items() if value is not None}
    return [_without_nulls(entry) for entry in node] if isinstance(node, list) else node


def part(parent: Manifest, key: str, kind: type, where: str) -> Any:
    """Return parent[key], an object or a list of objects, made empty where it is missing."""
    if parent.get(key) is None:
        parent[key] = kind()
    if not isinstance(parent[key], kind):
        wanted = "a list" if kind is list else "an object"
        raise InvalidTemplateError(f"{where}.{key} must be {wanted}, not {parent[key]!r:.100}")
    for position, entry in enumerate(parent[key] if kind is list else ()):
        if not isinstance(entry, dict):
            raise InvalidTemplateError(f"{where}.{key}[{position}] must be an object, not {entry!r:.100}")
    return parent[key]
