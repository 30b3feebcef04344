"""Gathers the facts of a WorkerPool from the API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.databases.secrets import SecretProblemError
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.workerpool.adoption import may_be_adopted
from hammerwork_operator.workerpool.configmaps import configmap_checksum, referenced_configmaps
from hammerwork_operator.workerpool.facts import Facts, is_owned, secret_version

if TYPE_CHECKING:
    from hammerwork_operator.databases.secrets import Secrets
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.workerpool.observed import ObservedPool


async def gather(server: ApiServer, secrets: Secrets, pool: ObservedPool) -> Facts:
    """Return what is known now. The Secret is not read where a Deployment cannot be applied whatever it holds.

    Raises:
        ApiError: The API server does not answer.
    """
    deployment = await server.get_deployment(pool.namespace, pool.deployment_name)
    if deployment is not None and not (is_owned(deployment, pool) or may_be_adopted(deployment, pool)):
        return Facts(name_taken=True)
    if pool.problem is not None:
        return Facts(deployment=deployment)
    try:
        secret, _ = await secrets.read(pool.namespace, pool.spec.database_secret_ref)
    except SecretProblemError as error:
        return Facts(deployment=deployment, obstacle=error.obstacle)
    version = secret_version(secret)
    if not pool.spec.restart_on_config_map_change:
        return Facts(deployment=deployment, secret_version=version)
    configmaps = {}
    for name in referenced_configmaps(pool.spec.template):
        try:
            configmaps[name] = await server.get_configmap(pool.namespace, name)
        except ApiError as error:
            if not error.refused:
                raise
            message = f"ConfigMap {pool.namespace}/{name} cannot be read: {error.message}"
            return Facts(deployment=deployment, obstacle=Obstacle(Reason.CONFIG_MAP_FORBIDDEN, message))
    return Facts(deployment=deployment, secret_version=version, configmap_checksum=configmap_checksum(configmaps))
