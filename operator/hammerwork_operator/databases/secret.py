"""Reads the Secret that holds a database URL: by name, when it is needed; Secrets are never listed or watched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube.client import ApiError, secret_value
from hammerwork_operator.kube.situation import Obstacle

if TYPE_CHECKING:
    from hammerwork_operator.api.common import DatabaseSecretRef, Manifest
    from hammerwork_operator.kube.client import ApiServer


class SecretProblemError(Exception):
    """The Secret does not lead to a database, and only its owner can cure that."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.obstacle = Obstacle(reason, message)


async def read_database_secret(server: ApiServer, namespace: str, ref: DatabaseSecretRef) -> tuple[Manifest, str]:
    """Return the Secret and the database URL in it.

    Raises:
        SecretProblemError: There is no such Secret or key, or the operator may not read it.
        ApiError: The API server did not answer.
    """
    where = f"Secret {namespace}/{ref.name}"
    try:
        secret = await server.get_secret(namespace, ref.name)
    except ApiError as error:
        if error.status == 403:
            raise SecretProblemError(Reason.SECRET_FORBIDDEN, f"{where}: {error.message}") from error
        raise
    if secret is None:
        raise SecretProblemError(
            Reason.SECRET_NOT_FOUND, f"{where} does not exist; create it with the database URL under {ref.key!r}"
        )
    url = secret_value(secret, ref.key)
    if not url:
        raise SecretProblemError(
            Reason.SECRET_KEY_NOT_FOUND, f"{where} has no value under {ref.key!r}; put the database URL there"
        )
    return secret, url
