"""Labels, annotation keys, environment names and other spellings that manifests, charts and Pods share."""

from __future__ import annotations

from hammerwork_operator.api.common import GROUP

FIELD_MANAGER = "hammerwork-operator"
FINALIZER = f"{GROUP}/batch-rows"

LABEL_NAME = "app.kubernetes.io/name"
LABEL_INSTANCE = "app.kubernetes.io/instance"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_POOL = f"{GROUP}/pool"
LABEL_QUEUE = f"{GROUP}/queue"
LABEL_SCHEDULE = f"{GROUP}/schedule"
"""On each JobBatch of a JobBatchSchedule: its name."""

WORKER_NAME = "hammerwork-worker"
MANAGED_BY = FIELD_MANAGER

ANNOTATION_SECRET_VERSION = f"{GROUP}/database-secret-version"
"""On the Pod template: changes when the Secret does, so that the Deployment rolls."""

ANNOTATION_CONFIGMAP_CHECKSUM = f"{GROUP}/configmap-checksum"
"""The same for the ConfigMaps of a pool with restartOnConfigMapChange."""
LABEL_TEMPLATE_HASH = "pod-template-hash"
"""Kubernetes' own: what tells the Pods of a Deployment's revisions apart."""
ANNOTATION_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""Kubernetes' own: of a smaller ReplicaSet, Pods of a low cost go first."""

ANNOTATION_SCHEDULED_TIME = f"{GROUP}/scheduled-time"
"""On each JobBatch of a JobBatchSchedule: the time that it was made for, RFC 3339 in the zone of the schedule."""

WORKER_CONTAINER = "worker"
WORKER_PORT = 8080
"""Where a worker serves probes and metrics, unless a container of its Pod uses that port; then the next vacant one."""
METRICS_PORT_NAME = "hammerwork"
"""No common name, since the port must not be taken for one of the user's."""

# What the operator's container reads.
ENV_OPERATOR_PORT = "HAMMERWORK_OPERATOR_PORT"
ENV_WATCH_NAMESPACES = "HAMMERWORK_WATCH_NAMESPACES"
ENV_CLUSTER_ID = "HAMMERWORK_CLUSTER_ID"
ENV_WORKER_IMAGE = "HAMMERWORK_WORKER_IMAGE"
ENV_DATABASE_HOSTS = "HAMMERWORK_DATABASE_HOSTS"
ENV_CERTIFICATES = "HAMMERWORK_CERTIFICATES"
ENV_ALLOW_QUERY_SOURCE = "HAMMERWORK_ALLOW_QUERY_SOURCE"
ENV_LOG_LEVEL = "HAMMERWORK_LOG_LEVEL"
ENV_LOG_FORMAT = "HAMMERWORK_LOG_FORMAT"
