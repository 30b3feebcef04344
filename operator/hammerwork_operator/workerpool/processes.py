"""How many processes the Pods of a pool have, as far as the pool itself tells. Pure."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from kubernetes.utils.quantity import parse_quantity

from hammerwork.working.settings import MAX_PROCESSES
from hammerwork_operator.api import names

if TYPE_CHECKING:
    from hammerwork_operator.api.workerpool import WorkerPoolSpec


def processes(spec: WorkerPoolSpec) -> int:
    """Return the worker processes of a Pod; for ``auto``, as many as its CPU limit has a use for.

    A limit that the template does not state, such as one of a LimitRange, counts as none: 1.
    """
    if isinstance(spec.processes, int):
        return spec.processes
    try:
        limit: Decimal = parse_quantity(_cpu_limit(spec.template))  # type: ignore[no-untyped-call]
        return math.ceil(min(max(limit, Decimal(1)), Decimal(MAX_PROCESSES)))
    except (ValueError, ArithmeticError):
        return 1


def _cpu_limit(template: Any) -> Any:
    containers = _at(template, "spec", "containers")
    for container in containers if isinstance(containers, list) else ():
        if _at(container, "name") == names.WORKER_CONTAINER:
            return _at(container, "resources", "limits", "cpu") or 0
    return 0


def _at(node: Any, *path: str) -> Any:
    """Return what is there, None where the template has another shape."""
    for key in path:
        node = node.get(key) if isinstance(node, dict) else None
    return node
