"""Builds the Deployment of a WorkerPool. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hammerwork.handlers import HandlerReference, python
from hammerwork.timing import POD_END_SECONDS
from hammerwork.working import variables
from hammerwork_operator.api import names
from hammerwork_operator.api.common import API_VERSION
from hammerwork_operator.api.workerpool import KIND
from hammerwork_operator.workerpool.injection import bring_worker
from hammerwork_operator.workerpool.template import complete_template
from hammerwork_operator.workerpool.vacant import local_port

if TYPE_CHECKING:
    from hammerwork_operator.api.common import Manifest
    from hammerwork_operator.workerpool.observed import ObservedPool


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


def metadata(pool: ObservedPool) -> Manifest:
    """Return the metadata of the pool's own objects, which go with it."""
    owner = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": pool.name,
        "uid": pool.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "name": pool.deployment_name,
        "namespace": pool.namespace,
        "labels": labels(pool),
        "ownerReferences": [owner],
    }


def build_deployment(
    pool: ObservedPool, *, default_image: str, secret_version: str, workers: int, configmap_checksum: str = ""
) -> Manifest:
    """Return the manifest to apply.

    Raises:
        InvalidTemplateError: spec.template has a part of the wrong type, or one that cannot be carried out.
    """
    handler = HandlerReference.from_manifest(msgspec.to_builtins(pool.spec.handler))
    template = complete_template(
        pool.spec.template,
        labels=labels(pool),
        annotations=_annotations(secret_version, configmap_checksum),
        grace_seconds=pool.spec.shutdown_grace_period_seconds + round(POD_END_SECONDS),
        image=default_image,
        environment=_environment(pool, handler),
        occupied=[port for text in handler.fields.values() if (port := local_port(text)) is not None],
    )
    if handler.kind != python.KIND.name:
        bring_worker(template, worker_image=default_image)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(pool),
        "spec": {
            "replicas": workers,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": selector_labels(pool)},
            "template": template,
        },
    }


def _annotations(secret_version: str, configmap_checksum: str) -> dict[str, str]:
    given = {
        names.ANNOTATION_SECRET_VERSION: secret_version,
        names.ANNOTATION_CONFIGMAP_CHECKSUM: configmap_checksum,
    }
    return {name: text for name, text in given.items() if text}


def _environment(pool: ObservedPool, handler: HandlerReference) -> list[Manifest]:
    spec = pool.spec
    plain = {
        variables.QUEUE: spec.queue,
        variables.POOL: pool.name,
        **handler.environment(),
        variables.PROCESSES: str(spec.processes),
        variables.CONCURRENCY: str(spec.concurrency),
        variables.POLL_INTERVAL_MILLISECONDS: str(spec.poll_interval_milliseconds),
        variables.BATCH_PROCESSING: "true" if spec.batch_processing else "false",
        variables.SHUTDOWN_GRACE_PERIOD_SECONDS: str(spec.shutdown_grace_period_seconds),
    }
    ref = spec.database_secret_ref
    return [
        {
            "name": variables.DATABASE_URL,
            "valueFrom": {"secretKeyRef": {"name": ref.name, "key": ref.key}},
        },
        {"name": variables.POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": variables.POD_NAME, "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        # The kubelet would take $(NAME) for the value of another variable.
        *({"name": name, "value": value.replace("$", "$$")} for name, value in plain.items()),
    ]
