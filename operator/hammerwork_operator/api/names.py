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

WORKER_NAME = "hammerwork-worker"
MANAGED_BY = FIELD_MANAGER

ANNOTATION_SECRET_VERSION = f"{GROUP}/database-secret-version"
"""On the Pod template: changes when the Secret does, so that the Deployment rolls."""

WORKER_CONTAINER = "worker"
WORKER_PORT = 8080
METRICS_PORT_NAME = "http"

# What the worker's container reads; hammerwork_worker/environment.py has the same names.
ENV_DATABASE_URL = "HAMMERWORK_DATABASE_URL"
ENV_QUEUE = "HAMMERWORK_QUEUE"
ENV_POOL = "HAMMERWORK_POOL"
ENV_POD_UID = "HAMMERWORK_POD_UID"
ENV_POD_NAME = "HAMMERWORK_POD_NAME"
ENV_CONCURRENCY = "HAMMERWORK_CONCURRENCY"
ENV_POLL_INTERVAL_MILLISECONDS = "HAMMERWORK_POLL_INTERVAL_MILLISECONDS"
ENV_BATCH_PROCESSING = "HAMMERWORK_BATCH_PROCESSING"
ENV_HANDLER = "HAMMERWORK_HANDLER"
ENV_SHUTDOWN_GRACE_PERIOD_SECONDS = "HAMMERWORK_SHUTDOWN_GRACE_PERIOD_SECONDS"
ENV_PORT = "HAMMERWORK_PORT"

# What the operator's container reads.
ENV_OPERATOR_PORT = "HAMMERWORK_OPERATOR_PORT"
ENV_WATCH_NAMESPACES = "HAMMERWORK_WATCH_NAMESPACES"
ENV_WORKER_IMAGE = "HAMMERWORK_WORKER_IMAGE"
ENV_LOG_LEVEL = "HAMMERWORK_LOG_LEVEL"
ENV_LOG_FORMAT = "HAMMERWORK_LOG_FORMAT"
