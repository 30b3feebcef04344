"""An API server's client that is not the product's."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import yaml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.harness.manifests import Manifest


class Client:
    """The API server, for an administrator."""

    def __init__(self, kubeconfig: Path) -> None:
        content = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        cluster = content["clusters"][0]["cluster"]
        trusted = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._session = aiohttp.ClientSession(
            cluster["server"],
            headers={"Authorization": f"Bearer {content['users'][0]['user']['token']}"},
            connector=aiohttp.TCPConnector(ssl=trusted),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=30),
            read_bufsize=2**22,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def text(self, path: str) -> str:
        """Return what a path holds."""
        async with self._session.get(path, raise_for_status=True) as answer:
            return await answer.text()

    async def request(
        self, method: str, path: str, body: object = None, *, content_type: str = "application/json"
    ) -> Manifest:
        """Make a request, and return the decoded answer."""
        content = msgspec.json.encode(body)
        async with self._session.request(
            method, path, data=content, headers={"Content-Type": content_type}, raise_for_status=True
        ) as answer:
            found: Manifest = msgspec.json.decode(await answer.read())
            return found

    async def watch(self, path: str) -> AsyncIterator[bytes]:
        """Yield what happens to the objects of a path, until the API server ends the watch."""
        query = {"watch": "true", "timeoutSeconds": "3000"}
        async with self._session.get(path, params=query, raise_for_status=True) as answer:
            async for line in answer.content:
                yield line
