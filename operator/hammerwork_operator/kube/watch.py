"""Lists the objects of a resource, then watches it, whatever becomes of the connection and whatever an object holds."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.kube.decoding import decode, decode_as

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from hammerwork_operator.api.common import Manifest
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.kube.workqueue import Key

PAGE_OBJECTS = 25
"""Objects that one answer lists: of the largest that the API server takes, that is 40 MiB."""
WATCH_SECONDS = 300
"""After this long at most the API server ends a watch; the next one goes on from there."""
SILENCE_SECONDS = 90.0
"""A watch that says nothing for so long is broken off: a bookmark comes about once a minute."""
LEAST_SECONDS = 1.0
"""A new request is begun at most this often, however soon the one before it ended."""
LONGEST_SECONDS = 30.0
"""The pause after a failure doubles up to this."""

_LOGGER = logging.getLogger(__name__)
_GONE = 410


@dataclass(frozen=True)
class Resource:
    """What is watched, and who is told."""

    group: str
    """Such as ``apis/apps/v1``."""
    plural: str
    seen: Callable[[Manifest, bool], None]
    """Takes an object as it is, or as it was when it was deleted."""
    selector: str = ""
    """Label selector."""
    missed: Callable[[Key, str], None] | None = None
    """Takes namespace and name, and uid, of an object that went while nobody watched."""

    def path(self, namespace: str | None) -> str:
        """Return the path of its objects, in one namespace or in all."""
        within = f"namespaces/{namespace}/" if namespace else ""
        return f"/{self.group}/{within}{self.plural}"


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    next_page: str = msgspec.field(name="continue", default="")


class _Page(msgspec.Struct):
    metadata: _Metadata
    items: list[msgspec.Raw]


class _WatchEndedError(Exception):
    """What the API server says in a watch instead of an object."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Watch:
    """The watch of one resource in one namespace, or in all. `run` goes on until it is cancelled."""

    def __init__(self, server: ApiServer, resource: Resource, namespace: str | None) -> None:
        self.listed = asyncio.Event()
        """All objects were listed once."""
        self._server = server
        self._resource = resource
        self._path = resource.path(namespace)
        self._version: str | None = None
        """Where the next watch begins; None: with a list."""
        self._uids: dict[Key, str] = {}
        self._failures = 0

    async def run(self) -> None:
        """List and watch, for ever: what fails is tried again, after 1 to 30 seconds or when the API server says."""
        clock = asyncio.get_running_loop().time
        while True:
            started = clock()
            pause = LEAST_SECONDS
            try:
                await self._go_on()
            except _WatchEndedError as error:
                self._version = None
                if error.code != _GONE:
                    pause = self._failed(error)
            except ApiError as error:
                if error.status == _GONE:
                    self._version = None
                pause = max(self._failed(error), error.retry_after or 0.0)
            except msgspec.MsgspecError as error:  # a line that was cut, or no answer of an API server
                self._version = None
                pause = self._failed(error)
            except Exception as error:
                _LOGGER.exception("watching %s failed", self._path)
                self._version = None
                pause = self._failed(error)
            await asyncio.sleep(started + pause - clock() if self._failures == 0 else pause)

    async def _go_on(self) -> None:
        if self._version is None:
            self._version = await self._list()
            self.listed.set()
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(random.randint(WATCH_SECONDS * 4 // 5, WATCH_SECONDS)),  # noqa: S311 (not a secret)
            **self._selector(),
        }
        async for line in self._server.lines(self._path, query, silence_seconds=SILENCE_SECONDS):
            self._event(decode(line))
            self._failures = 0
        self._failures = 0

    def _event(self, event: Any) -> None:
        kind, manifest = event["type"], event["object"]
        if kind == "ERROR":
            raise _WatchEndedError(manifest.get("code", 0), manifest.get("message", ""))
        metadata = manifest["metadata"]
        self._version = metadata["resourceVersion"]
        if kind == "BOOKMARK":
            return
        key = (metadata["namespace"], metadata["name"])
        if kind == "DELETED":
            self._uids.pop(key, None)
        else:
            self._uids[key] = metadata["uid"]
        self._tell(manifest, deleted=kind == "DELETED")

    async def _list(self) -> str:
        """Tell of every object that there is, and of those that have gone; return the version of the list."""
        found: dict[Key, str] = {}
        version = ""
        async for page in self._pages():
            version = page.metadata.resource_version
            for item in page.items:
                manifest = decode(bytes(item))
                metadata = manifest["metadata"]
                found[metadata["namespace"], metadata["name"]] = metadata["uid"]
                self._tell(manifest, deleted=False)
                await asyncio.sleep(0)
        gone = {key: uid for key, uid in self._uids.items() if key not in found}
        self._uids = found
        if self._resource.missed is not None:
            for key, uid in gone.items():
                self._resource.missed(key, uid)
        return version

    async def _pages(self) -> AsyncIterator[_Page]:
        query = {"limit": str(PAGE_OBJECTS), **self._selector()}
        while True:
            page: _Page = decode_as(await self._server.read("GET", self._path, query=query), _Page)
            yield page
            if not page.metadata.next_page:
                return
            query["continue"] = page.metadata.next_page

    def _selector(self) -> dict[str, str]:
        return {"labelSelector": self._resource.selector} if self._resource.selector else {}

    def _tell(self, manifest: Manifest, *, deleted: bool) -> None:
        try:
            self._resource.seen(manifest, deleted)
        except Exception:
            metadata = manifest["metadata"]
            what = f"{self._resource.plural} {metadata.get('namespace')}/{metadata.get('name')}"
            _LOGGER.exception("%s cannot be read, and is left alone", what)

    def _failed(self, error: Exception) -> float:
        """Say so; return the seconds until the next try."""
        pause = min(LEAST_SECONDS * 2.0 ** min(self._failures, 16), LONGEST_SECONDS)
        self._failures += 1
        _LOGGER.warning("watching %s: %s; trying again in %g s", self._path, str(error) or type(error).__name__, pause)
        return pause * random.uniform(0.8, 1.2)  # noqa: S311 (not a secret)
