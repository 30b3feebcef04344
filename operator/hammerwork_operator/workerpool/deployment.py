"""Builds the Deployment of a WorkerPool. Pure."""

from __future__ import annotations

import copy
import hashlib
from typing import TYPE_CHECKING, Any

from hammerwork_operator.api import names
from hammerwork_operator.api.common import API_VERSION
from hammerwork_operator.api.workerpool import KIND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hammerwork_operator.api.common import Manifest
    from hammerwork_operator.workerpool.observed import ObservedPool

EXTRA_GRACE_SECONDS = 10
"""Between the end of the worker's own grace period and the kill: time to hand back jobs and to close connections."""

_TMP_PATH = "/tmp"  # noqa: S108 (a mount point in the container)
_TMP_VOLUME = "tmp"


class InvalidTemplateError(ValueError):
    """spec.template has a part of the wrong type; the message names it."""


def secret_version(secret: Mapping[str, Any]) -> str:
    """Return a text that changes whenever the Secret does, and that tells nothing of its content."""
    metadata = secret["metadata"]
    return hashlib.sha256(f"{metadata['uid']}/{metadata['resourceVersion']}".encode()).hexdigest()[:16]


def selector_labels(pool: ObservedPool) -> dict[str, str]:
    """Return the labels that tell the pool's Pods from all others; a Deployment's selector cannot be changed."""
    return {names.LABEL_NAME: names.WORKER_NAME, names.LABEL_INSTANCE: pool.name}


def labels(pool: ObservedPool) -> dict[str, str]:
    """Return all labels of the Deployment and its Pods."""
    return {
        **selector_labels(pool),
        names.LABEL_MANAGED_BY: names.MANAGED_BY,
        names.LABEL_POOL: pool.name,
        names.LABEL_QUEUE: pool.spec.queue,
    }


def build_deployment(pool: ObservedPool, *, default_image: str, secret: Mapping[str, Any]) -> Manifest:
    """Return the manifest to apply.

    Raises:
        InvalidTemplateError: spec.template has a part of the wrong type.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": pool.deployment_name,
            "namespace": pool.namespace,
            "labels": labels(pool),
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": KIND,
                    "name": pool.name,
                    "uid": pool.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "replicas": pool.spec.replicas,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selector_labels(pool)},
            "template": _pod_template(pool, default_image, secret_version(secret)),
        },
    }


def _pod_template(pool: ObservedPool, default_image: str, version: str) -> Manifest:
    template = copy.deepcopy(pool.spec.template)
    metadata = _part(template, "metadata", dict, "spec.template")
    _part(metadata, "labels", dict, "spec.template.metadata").update(labels(pool))
    _part(metadata, "annotations", dict, "spec.template.metadata")[names.ANNOTATION_SECRET_VERSION] = version
    pod = _part(template, "spec", dict, "spec.template")
    pod["terminationGracePeriodSeconds"] = pool.spec.shutdown_grace_period_seconds + EXTRA_GRACE_SECONDS
    pod.setdefault("automountServiceAccountToken", False)
    pod.setdefault("enableServiceLinks", False)
    security = _part(pod, "securityContext", dict, "spec.template.spec")
    security.setdefault("runAsNonRoot", True)
    security.setdefault("seccompProfile", {"type": "RuntimeDefault"})
    _complete_container(_worker_container(pod), pod, pool, default_image)
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


def _complete_container(container: Manifest, pod: Manifest, pool: ObservedPool, default_image: str) -> None:
    where = f"spec.template.spec.containers[{names.WORKER_CONTAINER}]"
    container.setdefault("image", default_image)
    ours = _environment(pool)
    theirs = _part(container, "env", list, where)
    taken = {entry["name"] for entry in ours}
    container["env"] = [*ours, *(entry for entry in theirs if entry.get("name") not in taken)]
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


def _environment(pool: ObservedPool) -> list[Manifest]:
    spec = pool.spec
    plain = {
        names.ENV_QUEUE: spec.queue,
        names.ENV_POOL: pool.name,
        names.ENV_HANDLER: spec.handler.python.function,
        names.ENV_CONCURRENCY: str(spec.concurrency),
        names.ENV_POLL_INTERVAL_MILLISECONDS: str(spec.poll_interval_milliseconds),
        names.ENV_BATCH_PROCESSING: "true" if spec.batch_processing else "false",
        names.ENV_SHUTDOWN_GRACE_PERIOD_SECONDS: str(spec.shutdown_grace_period_seconds),
        names.ENV_PORT: str(names.WORKER_PORT),
    }
    ref = spec.database_secret_ref
    return [
        {
            "name": names.ENV_DATABASE_URL,
            "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}},
        },
        {"name": names.ENV_POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": names.ENV_POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        *({"name": name, "value": value} for name, value in plain.items()),
    ]


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
