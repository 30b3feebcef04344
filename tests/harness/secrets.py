"""An API server that has nothing but Secrets with database URLs."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

from hammerwork_operator.kube.client import ApiError, ApiServer

if TYPE_CHECKING:
    from tests.harness.manifests import Manifest


class SecretServer(ApiServer):
    """Has the same Secret under each name, or none, and counts how often it is read."""

    def __init__(self) -> None:
        self.url: str | None = None
        self.error: ApiError | None = None
        """What each read ends in."""
        self.reads = 0
        self.at_once = 0
        """Most reads that were under way together."""
        self._under_way = 0

    async def get_secret(self, namespace: str, name: str) -> Manifest | None:
        self.reads += 1
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        await asyncio.sleep(0)
        self._under_way -= 1
        if self.error is not None:
            raise self.error
        if self.url is None:
            return None
        data = base64.b64encode(self.url.encode()).decode()
        metadata = {"namespace": namespace, "name": name, "uid": "uid", "resourceVersion": str(hash(self.url))}
        return {"metadata": metadata, "data": {"url": data}}
