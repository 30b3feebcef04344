"""Completes the Pod template of a WorkerPool, in which users may set what the operator leaves free. Pure."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from hammerwork_operator.api import names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hammerwork_operator.api.common import Manifest

_TMP_PATH = "/tmp"  # noqa: S108 (a mount point in the container)
_TMP_VOLUME = "tmp"


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
) -> Manifest:
    """Return the template with what the operator sets in any case, and with defaults where users set nothing.

    Raises:
        InvalidTemplateError: It has a part of the wrong type.
    """
    template = copy.deepcopy(template)
    metadata = _part(template, "metadata", dict, "spec.template")
    _part(metadata, "labels", dict, "spec.template.metadata").update(labels)
    _part(metadata, "annotations", dict, "spec.template.metadata").update(annotations)
    pod = _part(template, "spec", dict, "spec.template")
    pod["terminationGracePeriodSeconds"] = grace_seconds
    pod.setdefault("automountServiceAccountToken", False)
    pod.setdefault("enableServiceLinks", False)
    security = _part(pod, "securityContext", dict, "spec.template.spec")
    security.setdefault("runAsNonRoot", True)
    security.setdefault("seccompProfile", {"type": "RuntimeDefault"})
    _complete_container(_worker_container(pod), pod, image, environment)
    return template


def _worker_container(pod: Manifest) -> Manifest:
    containers = _part(pod, "containers", list, "spec.template.spec")
    for container in containers:
        if container.get("name") == names.WORKER_CONTAINER:
            found: Manifest = container
            return found
    container = {"name": names.WORKER_CONTAINER}
    containers.insert(0, container)
    return container


def _complete_container(container: Manifest, pod: Manifest, image: str, environment: Sequence[Manifest]) -> None:
    where = f"spec.template.spec.containers[{names.WORKER_CONTAINER}]"
    container.setdefault("image", image)
    theirs = _part(container, "env", list, where)
    taken = {entry["name"] for entry in environment}
    container["env"] = [*environment, *(entry for entry in theirs if entry.get("name") not in taken)]
    ports = _part(container, "ports", list, where)
    if not any(port.get("name") == names.METRICS_PORT_NAME for port in ports):
        ports.append({"name": names.METRICS_PORT_NAME, "containerPort": names.WORKER_PORT, "protocol": "TCP"})
    container.setdefault("livenessProbe", _probe("/healthz", failures=6))
    container.setdefault("readinessProbe", _probe("/readyz", failures=2))
    security = _part(container, "securityContext", dict, where)
    security.setdefault("allowPrivilegeEscalation", False)
    security.setdefault("readOnlyRootFilesystem", True)
    security.setdefault("capabilities", {"drop": ["ALL"]})
    _mount_tmp(container, pod, where)


def _mount_tmp(container: Manifest, pod: Manifest, where: str) -> None:
    mounts = _part(container, "volumeMounts", list, where)
    if any(mount.get("mountPath") == _TMP_PATH for mount in mounts):
        return
    mounts.append({"name": _TMP_VOLUME, "mountPath": _TMP_PATH})
    volumes = _part(pod, "volumes", list, "spec.template.spec")
    if not any(volume.get("name") == _TMP_VOLUME for volume in volumes):
        volumes.append({"name": _TMP_VOLUME, "emptyDir": {}})


def _probe(path: str, *, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": names.METRICS_PORT_NAME},
        "periodSeconds": 5,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    }


def _part(parent: Manifest, key: str, kind: type, where: str) -> Any:
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
