from __future__ import annotations

from hammerwork_operator import names
from hammerwork_worker import environment

WORKER_VARIABLES = {
    "HAMMERWORK_DATABASE_URL",
    "HAMMERWORK_QUEUE",
    "HAMMERWORK_POOL",
    "HAMMERWORK_POD_UID",
    "HAMMERWORK_POD_NAME",
    "HAMMERWORK_CONCURRENCY",
    "HAMMERWORK_POLL_INTERVAL_MILLISECONDS",
    "HAMMERWORK_BATCH_PROCESSING",
    "HAMMERWORK_HANDLER",
    "HAMMERWORK_SHUTDOWN_GRACE_PERIOD_SECONDS",
    "HAMMERWORK_PORT",
}


def variables(module: object) -> set[str]:
    return {value for value in vars(module).values() if isinstance(value, str) and value in WORKER_VARIABLES}


def test_operator_and_worker_mean_the_same_variables() -> None:
    assert variables(names) == variables(environment) == WORKER_VARIABLES
