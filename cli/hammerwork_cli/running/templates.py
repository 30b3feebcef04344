"""What `hammerwork run` takes from the Pod template of a WorkerPool: variables. All else is for a cluster."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET

from hammerwork_cli.running.decoding import convert

_CONTAINER = "worker"


class _Variable(msgspec.Struct):
    name: str
    value: Any = UNSET


class _Container(msgspec.Struct):
    name: str | None = None
    env: list[_Variable] | None = None


class _PodSpec(msgspec.Struct):
    containers: list[_Container] | None = None


class _Template(msgspec.Struct):
    spec: _PodSpec | None = None


def variables(template: dict[str, Any]) -> dict[str, str]:
    """Return the variables that a template gives the container `worker` by value.

    Raises:
        ManifestError: It has something else where they are looked for.
    """
    pod = convert(template, _Template, "spec.template").spec or _PodSpec()
    return {
        variable.name: str(variable.value)
        for container in pod.containers or ()
        if container.name == _CONTAINER
        for variable in container.env or ()
        if variable.value is not UNSET
    }
