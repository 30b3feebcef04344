"""What a Pod template leaves vacant for the operator: a port, the name of a volume, a mount path. Pure."""

from __future__ import annotations

import itertools
import posixpath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from hammerwork_operator.api.common import Manifest


def vacant_port(pod: Manifest, worker: Manifest, first: int, occupied: Collection[int]) -> int:
    """Return the lowest port from `first` on that no container names: those of a Pod share their ports.

    Of the container `worker` only its ports count. A probe there may well mean the operator's own port. `occupied` are
    ports that something in the Pod listens on, whatever its containers say.
    """
    others = [
        container
        for key in ("containers", "initContainers")
        for container in _objects(pod.get(key))
        if container is not worker
    ]
    taken = {*occupied, *_ports_named(others), *_ports_named(worker.get("ports"))}
    return next(port for port in itertools.count(first) if port not in taken)


def vacant_name(wanted: str, taken: Collection[object]) -> str:
    """Return `wanted`, or with the lowest number that makes it a name which is not taken: ``tmp-2``."""
    return next(name for name in _numbered(wanted) if name not in taken)


def vacant_folder(wanted: str, container: Mapping[str, Any]) -> str:
    """Return the path `wanted`, or one with a number, so that the container mounts nothing there or below."""
    mounted = [f"{_normalized(mount.get('mountPath'))}/" for mount in container.get("volumeMounts") or ()]
    return next(folder for folder in _numbered(wanted) if not any(path.startswith(f"{folder}/") for path in mounted))


def _numbered(wanted: str) -> Iterator[str]:
    yield wanted
    for number in itertools.count(2):
        yield f"{wanted}-{number}"


def is_mounted(container: Mapping[str, Any], path: str) -> bool:
    """Return whether the container mounts a volume at this very path, however that is spelled."""
    return any(_normalized(mount.get("mountPath")) == path for mount in container.get("volumeMounts") or ())


def _normalized(path: object) -> str:
    return posixpath.normpath("/" + path.lstrip("/")) if isinstance(path, str) else ""


def _objects(value: object) -> list[Manifest]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _ports_named(node: object) -> Iterator[int]:
    """Yield the ports of containers, of their probes and of their lifecycle hooks."""
    if isinstance(node, list):
        for entry in node:
            yield from _ports_named(entry)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in {"containerPort", "port"} and isinstance(value, int):
                yield value
            else:
                yield from _ports_named(value)


def local_port(url: str) -> int | None:
    """Return the port of a URL that leads to something in the same Pod, else None."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        return None
    return port or (443 if parts.scheme == "https" else 80)
